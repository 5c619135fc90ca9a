package mcpserver

import (
	"cmp"
	"context"
	"iter"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
)

// fakeEngine is an engine with one loop, for what a real one does not do on
// demand.
type fakeEngine struct {
	state   loops.State
	heads   []loops.Head // in lists
	events  []loops.Event
	err     error                        // of every method
	panics  any                          // of List
	changes func(yield func(loops.Head)) // during Wait
	said    []loops.LiveLine             // by another process
	started loops.StartRequest
	asked   loops.Request
}

func (f *fakeEngine) Start(_ context.Context, r loops.StartRequest) (loops.Outcome, error) {
	f.started = r
	return loops.Outcome{State: f.state}, f.err
}

func (f *fakeEngine) DryRun(_ context.Context, r loops.StartRequest) (loops.Spec, []string, error) {
	return r.Spec, nil, f.err
}

func (f *fakeEngine) Fork(context.Context, loops.ForkRequest) (loops.Outcome, error) {
	return loops.Outcome{State: f.state}, f.err
}

func (f *fakeEngine) Do(_ context.Context, _ loops.ID, r loops.Request) (loops.Outcome, error) {
	f.asked = r
	return loops.Outcome{State: f.state}, f.err
}

func (f *fakeEngine) Get(context.Context, loops.ID) (loops.State, error) { return f.state, f.err }

func (f *fakeEngine) History(context.Context, loops.ID) (loops.Loop, error) {
	return loops.Loop{State: f.state, Events: f.events}, f.err
}

func (f *fakeEngine) Output(_ context.Context, _ loops.ID, t loops.Text) (string, error) {
	return t.Text, f.err
}

func (f *fakeEngine) Transcript(context.Context, loops.ID, int) iter.Seq2[loops.Utterance, error] {
	return func(yield func(loops.Utterance, error) bool) {
		if f.err != nil {
			yield(loops.Utterance{}, f.err)
		}
	}
}

func (f *fakeEngine) List(context.Context, loops.Filter) ([]loops.Head, string, error) {
	if f.panics != nil {
		panic(f.panics)
	}
	return f.heads, "", f.err
}

func (f *fakeEngine) Scan(_ context.Context, each func(*loops.Head)) error {
	if f.err == nil && f.state.ID != "" {
		h := f.state.Head()
		each(&h)
	}
	return f.err
}

func (f *fakeEngine) Watch(ctx context.Context, _ loops.ID) iter.Seq2[loops.Head, error] {
	return func(yield func(loops.Head, error) bool) { yield(loops.Head{}, cmp.Or(f.err, ctx.Err())) }
}

func (f *fakeEngine) Wait(_ context.Context, _ loops.ID, _ uint64, _ loops.WaitFor, _ time.Duration, onChange func(loops.Head)) (loops.State, bool, error) {
	if f.changes != nil && onChange != nil {
		f.changes(onChange)
	}
	return f.state, true, f.err
}

func (f *fakeEngine) Live(loops.ID) (loops.Live, time.Time, bool) {
	return loops.Live{}, time.Time{}, false
}

func (f *fakeEngine) Recent(context.Context, loops.ID) ([]loops.LiveLine, error) {
	return f.said, f.err
}

func (f *fakeEngine) RunsWhile(loops.State) string { return "the test runs" }

// countingEngine is an engine whose watches are counted and can break, and
// whose loops can go.
type countingEngine struct {
	engineAPI
	add func(all, open int)

	mu     sync.Mutex
	err    error
	broken context.CancelCauseFunc
	hidden loops.ID
}

// fail ends the watch and lets no other begin while err is not nil.
func (e *countingEngine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
	if e.broken != nil {
		e.broken(err)
	}
}

func (e *countingEngine) hide(id loops.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hidden = id
}

func (e *countingEngine) Scan(ctx context.Context, each func(*loops.Head)) error {
	e.mu.Lock()
	err, hidden := e.err, e.hidden
	e.mu.Unlock()
	if err != nil {
		return err
	}
	return e.engineAPI.Scan(ctx, func(h *loops.Head) {
		if h.ID != hidden {
			each(h)
		}
	})
}

func (e *countingEngine) Watch(ctx context.Context, id loops.ID) iter.Seq2[loops.Head, error] {
	return func(yield func(loops.Head, error) bool) {
		e.add(1, 1)
		defer e.add(0, -1)
		breaking, broken := context.WithCancelCause(ctx)
		defer broken(nil)
		e.mu.Lock()
		e.broken = broken
		e.mu.Unlock()
		for h, err := range e.engineAPI.Watch(breaking, id) {
			e.mu.Lock()
			hidden := h.ID == e.hidden
			e.mu.Unlock()
			if !hidden && !yield(h, err) {
				return
			}
		}
		if ctx.Err() == nil {
			yield(loops.Head{}, context.Cause(breaking))
		}
	}
}

func (f *fakeEngine) Key(context.Context, string) ([]byte, error) { return []byte("fake"), f.err }
