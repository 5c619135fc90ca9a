package mcpserver

import (
	"cmp"
	"context"
	"iter"
	"time"

	"example.com/loop-mcp/loops"
)

// fakeEngine is an engine with one loop, for what a real one does not do on
// demand.
type fakeEngine struct {
	state   loops.State
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
	return nil, "", f.err
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

func (f *fakeEngine) Key(context.Context, string) ([]byte, error) { return []byte("fake"), f.err }
