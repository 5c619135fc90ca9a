package mcpserver

import (
	"context"
	"errors"

	"example.com/loop-mcp/loops"
)

// content is what a resource is as JSON.
func (t *tools) content(ctx context.Context, uri string) (any, error) {
	r, ok := parseURI(uri)
	if !ok {
		return nil, &unknownResourceError{uri}
	}
	e, err := t.peek(ctx)
	switch {
	case errors.Is(err, errNoLoops) && r.kind == kindRecent:
		return listOf(nil, "", false), nil
	case errors.Is(err, errNoLoops):
		return nil, &notFoundError{id: r.id}
	case err != nil:
		return nil, err
	case r.kind == kindRecent:
		heads, next, err := e.List(ctx, loops.Filter{})
		return listOf(heads, next, false), err
	}
	s, err := t.get(ctx, e, string(r.id))
	if err != nil {
		return nil, err
	}
	switch r.kind {
	case kindIteration:
		return iterationContent(ctx, e, r)
	case kindTranscript:
		return transcriptContent(ctx, e, r.id)
	}
	return t.snapshot(e, s, SnapshotOptions{Limits: true}), nil
}

// iterationRecord is an iteration as a resource.
type iterationRecord struct {
	LoopID loops.ID `json:"loop_id"`
	iterationItem
}

func iterationContent(ctx context.Context, e engineAPI, r resource) (any, error) {
	l, err := e.History(ctx, r.id)
	if err != nil {
		return nil, err
	}
	it, err := iterationOf(l, r.iteration)
	if err != nil {
		return nil, &noResourceError{err}
	}
	return iterationRecord{r.id, iterationItemOf(it, 2*mostChars)}, nil
}

// transcriptRecord is a transcript as a resource: the end of it when it is
// long, because the newest counts.
type transcriptRecord struct {
	LoopID  loops.ID         `json:"loop_id"`
	Dropped int              `json:"items_dropped"` // older items that are left out
	Items   []transcriptItem `json:"items"`
}

// The size of a transcript as a resource, in bytes of text, and of one item.
const (
	transcriptSize = 4 * mostChars
	utteranceSize  = mostChars / 5
)

func transcriptContent(ctx context.Context, e engineAPI, id loops.ID) (any, error) {
	out := transcriptRecord{LoopID: id, Items: []transcriptItem{}}
	size := 0
	for u, err := range e.Transcript(ctx, id, 1) {
		if err != nil {
			return nil, err
		}
		u.Text, _ = clipMiddle(u.Text, utteranceSize)
		out.Items, size = append(out.Items, u), size+len(u.Text)+itemSize
		for size > transcriptSize {
			size -= len(out.Items[0].Text) + itemSize
			out.Items, out.Dropped = out.Items[1:], out.Dropped+1
		}
	}
	return out, nil
}

// itemSize is about what an item takes besides its text.
const itemSize = 60

// noResourceError is an argument of a tool that is part of a URI here.
type noResourceError struct{ err error }

func (e *noResourceError) Error() string { return loops.FieldErrors(e.err)[0].Problem }
func (e *noResourceError) Unwrap() error { return loops.ErrNotFound }
