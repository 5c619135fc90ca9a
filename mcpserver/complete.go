package mcpserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
)

// maxCompletions is how many values the protocol lets an answer have.
const maxCompletions = 100

// completion is the answer with those values that fit, of total.
func completion(values []string, total int) *mcp.Completion {
	values = values[:min(len(values), maxCompletions)]
	return &mcp.Completion{Values: values, Total: total, HasMore: total > len(values)}
}

// matching completes typed from a short list.
func matching(all []string, typed string) *mcp.Completion {
	values := []string{}
	for _, v := range all {
		if strings.HasPrefix(v, typed) {
			values = append(values, v)
		}
	}
	return completion(values, len(values))
}

// CompleteResourceArgument implements [server.ResourceCompletionProvider].
func (t *tools) CompleteResourceArgument(ctx context.Context, uri string, arg mcp.CompleteArgument, known mcp.CompleteContext) (*mcp.Completion, error) {
	c, err := t.completeResource(ctx, uri, arg, known)
	if err != nil {
		return nil, t.fail(ctx, "complete the argument", err, nil)
	}
	return c, nil
}

func (t *tools) completeResource(ctx context.Context, uri string, arg mcp.CompleteArgument, known mcp.CompleteContext) (*mcp.Completion, error) {
	templates := []string{loopTemplate, iterationTemplate, transcriptTemplate}
	var p problems
	switch {
	case !slices.Contains(templates, uri):
		p.add("ref.uri", "must be one of %s, got %q", strings.Join(templates, ", "), clip(uri, 60))
	case arg.Name == "id":
		return t.completeID(ctx, arg.Value)
	case arg.Name == "n" && uri == iterationTemplate:
		return t.completeIteration(ctx, loops.ID(known.Arguments["id"]), arg.Value)
	default:
		p.add("argument.name", "must be a variable of %s, got %q", uri, clip(arg.Name, 60))
	}
	return nil, p.err()
}

// completeID offers the ids that begin as typed, the newest first. An id begins
// with its loop's name.
func (t *tools) completeID(ctx context.Context, typed string) (*mcp.Completion, error) {
	e, err := t.peek(ctx)
	if errors.Is(err, errNoLoops) {
		return completion([]string{}, 0), nil
	}
	if err != nil {
		return nil, err
	}
	type candidate struct {
		id      string
		updated int64
	}
	var all []candidate
	typed = strings.ToLower(typed)
	err = e.Scan(ctx, func(h *loops.Head) {
		if strings.HasPrefix(string(h.ID), typed) {
			all = append(all, candidate{string(h.ID), h.UpdatedAt.UnixNano()})
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.updated, a.updated), cmp.Compare(a.id, b.id)) })
	values := []string{}
	for _, c := range all[:min(len(all), maxCompletions)] {
		values = append(values, c.id)
	}
	return completion(values, len(all)), nil
}

// completeIteration offers the numbers of the committed iterations that begin
// as typed, the newest first.
func (t *tools) completeIteration(ctx context.Context, id loops.ID, typed string) (*mcp.Completion, error) {
	values, total := []string{}, 0
	e, err := t.peek(ctx)
	if errors.Is(err, errNoLoops) || id == "" {
		return completion(values, 0), nil
	}
	if err != nil {
		return nil, err
	}
	s, err := e.Get(ctx, id)
	if errors.Is(err, loops.ErrNotFound) || len(loops.FieldErrors(err)) > 0 {
		return completion(values, 0), nil // still being typed
	}
	if err != nil {
		return nil, err
	}
	for n := s.Iteration; n > 0; n-- {
		text := itoa(n)
		if !strings.HasPrefix(text, typed) {
			continue
		}
		if total++; len(values) < maxCompletions {
			values = append(values, text)
		}
	}
	return completion(values, total), nil
}

// CompletePromptArgument implements [server.PromptCompletionProvider].
func (t *tools) CompletePromptArgument(ctx context.Context, name string, arg mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	c, err := t.completePrompt(ctx, name, arg)
	if err != nil {
		return nil, t.fail(ctx, "complete the argument", err, nil)
	}
	return c, nil
}

func (t *tools) completePrompt(ctx context.Context, name string, arg mcp.CompleteArgument) (*mcp.Completion, error) {
	for _, p := range builtin() {
		if p.Name == name {
			return t.completeBuiltin(ctx, p, arg)
		}
	}
	f, err := t.findPrompt(ctx, name)
	if err != nil { // loop files come and go; there is nothing to complete
		return completion([]string{}, 0), nil //nolint:nilerr // no file, no values
	}
	in, ok := f.Spec.Inputs[arg.Name]
	if !ok {
		return nil, unknownArgument(promptOf(f), arg.Name)
	}
	return matching(in.Texts(), arg.Value), nil
}

func (t *tools) completeBuiltin(ctx context.Context, p mcp.Prompt, arg mcp.CompleteArgument) (*mcp.Completion, error) {
	switch {
	case !slices.ContainsFunc(p.Arguments, func(a mcp.PromptArgument) bool { return a.Name == arg.Name }):
		return nil, unknownArgument(p, arg.Name)
	case arg.Name == "loop_id":
		return t.completeID(ctx, arg.Value)
	case arg.Name == "worker":
		return matching(workers, arg.Value), nil
	}
	return completion([]string{}, 0), nil
}

func unknownArgument(p mcp.Prompt, name string) error {
	var names []string
	for _, a := range p.Arguments {
		names = append(names, a.Name)
	}
	return &loops.FieldError{Field: "argument.name", Problem: fmt.Sprintf("%q is no argument of the prompt %s%s", clip(name, 60), p.Name, oneOfThese(name, names))}
}
