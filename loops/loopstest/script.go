package loopstest

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
)

var _ loops.Body = (*ScriptedBody)(nil)

// Step is what a [ScriptedBody] does in one start, in the order of the fields:
// it waits, takes its time, panics, calls Do, or returns Result and Err.
type Step struct {
	Wait   <-chan struct{} // the start blocks until it closes; nil: at once
	Takes  time.Duration   // then it takes this long
	Deaf   bool            // neither wait ends with the context: a body that ignores cancels
	Panic  any             // not nil: the start panics with it
	Do     func(ctx context.Context, t loops.Turn) (loops.Result, error)
	Result loops.Result
	Err    error
}

// Done is a step whose output is the end of a pass.
func Done(output string) Step { return Step{Result: loops.Result{Output: output, Done: true}} }

// More is a step after which the pass goes on.
func More(output string) Step { return Step{Result: loops.Result{Output: output}} }

// Fails is a step that returns err.
func Fails(err error) Step { return Step{Err: err} }

// ScriptedBody does one step a start and remembers the turns that it was
// given. It is safe for concurrent use.
type ScriptedBody struct {
	steps []Step

	mu    sync.Mutex
	turns []loops.Turn
}

// Script returns a body that does the steps in order and then repeats the last
// one. Without steps it claims at once to be done, with no output.
func Script(steps ...Step) *ScriptedBody {
	if len(steps) == 0 {
		steps = []Step{Done("")}
	}
	return &ScriptedBody{steps: steps}
}

// Run implements [loops.Body].
func (b *ScriptedBody) Run(ctx context.Context, t loops.Turn) (loops.Result, error) {
	step := b.next(t)
	if err := step.pass(ctx); err != nil {
		return loops.Result{}, err
	}
	switch {
	case step.Panic != nil:
		panic(step.Panic)
	case step.Do != nil:
		return step.Do(ctx, t)
	}
	return step.Result, step.Err
}

// Turns returns what the starts so far were given, in order.
func (b *ScriptedBody) Turns() []loops.Turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.turns)
}

func (b *ScriptedBody) next(t loops.Turn) Step {
	b.mu.Lock()
	defer b.mu.Unlock()
	step := b.steps[min(len(b.turns), len(b.steps)-1)]
	b.turns = append(b.turns, t)
	return step
}

// pass lets the time of the step pass, or returns why the start was ended.
func (s Step) pass(ctx context.Context) error {
	ended := ctx.Done()
	if s.Deaf {
		ended = nil
	}
	if s.Wait != nil {
		select {
		case <-s.Wait:
		case <-ended:
			return context.Cause(ctx)
		}
	}
	if s.Takes > 0 {
		timer := time.NewTimer(s.Takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ended:
			return context.Cause(ctx)
		}
	}
	return nil
}
