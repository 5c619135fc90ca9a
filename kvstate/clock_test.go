package kvstate_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// TestADelayOfASecondAfterTheClockWentBack: a loop waits, its process ends, the
// clock is set back or ahead, and the next process goes on with it: after a
// second and not after a year, with the time counted that it had used up.
func TestADelayOfASecondAfterTheClockWentBack(t *testing.T) {
	for _, back := range []time.Duration{time.Second, 2 * time.Hour, 365 * 24 * time.Hour, 56 * 365 * 24 * time.Hour, -time.Hour} {
		t.Run(fmt.Sprint("by ", back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := open(t, stream(t, host(t, t.TempDir(), embed.Process)), &kvstate.Options{Runner: "one"})
				body := loops.BodyFunc(func(_ context.Context, turn loops.Turn) (loops.Result, error) {
					return loops.Result{Output: fmt.Sprint(turn.Iteration), Done: turn.Iteration == 3}, nil
				})
				work := func() (e *loops.Engine, stop func()) {
					e = loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"count": body}}, nil)
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan error, 1)
					go func() { done <- e.Run(ctx) }()
					return e, func() { cancel(); <-done }
				}
				e, stop := work()
				s := must[loops.Outcome](t)(e.Start(t.Context(), loops.StartRequest{Spec: loops.Spec{Name: "count", Goal: "count", Delay: loops.Duration(10 * time.Second),
					Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "count"}}})).State
				time.Sleep(5 * time.Second)
				stop()
				s = must[loops.State](t)(store.Load(t.Context(), s.ID))
				if s.Status != loops.Waiting {
					t.Fatalf("it is %s", s.Status)
				}
				for _, at := range []*time.Time{&s.UpdatedAt, &s.WaitingSince, &s.WaitingUntil, &s.WakeAt} {
					*at = at.Add(back) // the record is of a future
				}
				must[loops.State](t)(store.Commit(t.Context(), s))
				began := time.Now()
				e, stop = work()
				defer stop()
				s, timedOut, err := e.Wait(t.Context(), s.ID, 0, loops.ForSettled, 50*365*24*time.Hour, nil)
				if err != nil || timedOut || s.Status != loops.Completed {
					t.Fatalf("ended as %s, %v", s.Status, err)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("two delays of 10 s took %s", took)
				}
				if s.Elapsed > loops.Duration(2*time.Hour) || s.Elapsed < loops.Duration(10*time.Second) {
					t.Errorf("counted are %s", s.Elapsed)
				}
			})
		})
	}
}
