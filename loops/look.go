package loops

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// load reads a checkpoint; a damaged loop becomes a failed one.
func (e *Engine) load(ctx context.Context, id ID) (State, error) {
	if !ValidID(id) {
		return State{}, invalidID(id)
	}
	s, err := e.store.Load(ctx, id)
	if errors.Is(err, ErrDamaged) {
		return quarantined(id, err), nil
	}
	if err != nil {
		return State{}, err
	}
	return s, nil
}

func quarantined(id ID, err error) State {
	s := State{ID: id, Status: Failed, Limits: DefaultLimits(), Origin: Origin{Spec: Spec{Name: string(id)}}}
	s.Stop = &Stop{Reason: FailQuarantined, Detail: err.Error(), DecidedBy: "engine"}
	s.Stop.Actions = s.actions()
	if errors.Is(err, ErrNewer) {
		s.Stop.Actions = []string{"update this program: a newer version has worked on this loop and can go on with it"}
	}
	return s
}

// Get returns the checkpoint of a loop. A damaged one is returned as Failed
// with the reason fail.quarantined.
func (e *Engine) Get(ctx context.Context, id ID) (State, error) {
	s, err := e.load(ctx, id)
	if err == nil && !s.Status.Settled() {
		s = e.asFound(s)
		s.Why = e.why(s)
	}
	return s, err
}

// whyQueued says what a queued loop waits for.
func (e *Engine) whyQueued(s State) string {
	if err := e.canServe(s); err != nil {
		return oneLine(err.Error())
	}
	if e.working.Load() == 0 {
		return "this process does not work on loops; another one has to"
	}
	if len(e.seats) >= e.opts.Workers {
		return fmt.Sprintf("all %d workers of this process are busy", e.opts.Workers)
	}
	return "about to be picked up by a worker"
}

// History returns a loop with its journal.
func (e *Engine) History(ctx context.Context, id ID) (Loop, error) {
	s, err := e.Get(ctx, id)
	if err != nil {
		return Loop{}, err
	}
	if s.Stop != nil && s.Stop.Reason == FailQuarantined {
		return Loop{State: s}, nil
	}
	l, err := e.store.History(ctx, id)
	if errors.Is(err, ErrDamaged) {
		return Loop{State: quarantined(id, err)}, nil
	}
	if err != nil {
		return Loop{}, err
	}
	if l.Rev == s.Rev {
		l.Status, l.Phase, l.Why = s.Status, s.Phase, s.Why
	}
	return l, nil
}

// Output returns the whole of a text of loop id.
func (e *Engine) Output(ctx context.Context, id ID, t Text) (string, error) {
	if t.Blob == "" {
		return t.Text, nil
	}
	whole, err := e.store.Blob(ctx, id, t.Blob)
	if err != nil {
		return "", fmt.Errorf("text of %s: %w", id, err)
	}
	return string(whole), nil
}

// inlineText is the size up to which a text is part of a record. It leaves room
// for the rest of a record below the store's own limit.
const inlineText = 256 << 10

// text stores a large text beside the record and keeps its head and tail.
func (e *Engine) text(ctx context.Context, id ID, whole string) (Text, error) {
	// As JSON would, here and not somewhere on the way; NUL is no text to many programs.
	whole = strings.ReplaceAll(strings.ToValidUTF8(whole, "\uFFFD"), "\x00", "\uFFFD")
	t := Text{Text: whole, Size: int64(len(whole))}
	if len(whole) <= inlineText {
		return t, nil
	}
	ref, err := e.store.PutBlob(ctx, id, []byte(whole))
	if err != nil {
		return Text{}, fmt.Errorf("store the output of %s: %w", id, err)
	}
	t.Blob, t.Text = ref, headTail(whole, 64<<10)
	return t, nil
}

// headTail keeps both ends of a text and says how much is missing.
func headTail(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	head := clip(text, limit/2)
	tail := text[len(text)-limit/2:]
	for len(tail) > 0 && tail[0]&0xC0 == 0x80 {
		tail = tail[1:]
	}
	return fmt.Sprintf("%s\n[%d bytes left out]\n%s", head, len(text)-len(head)-len(tail), tail)
}

// Watch yields heads as they change; see [Store.Watch].
func (e *Engine) Watch(ctx context.Context, id ID) iter.Seq2[Head, error] {
	return e.store.Watch(ctx, id, 0)
}

// Live returns the newest live text of a loop that this process works on, and
// when the body was last heard of. ok is false when it does not work on it.
func (e *Engine) Live(id ID) (l Live, heard time.Time, ok bool) {
	r := e.worker(id)
	if r == nil {
		return Live{}, time.Time{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live, r.heard, true
}
