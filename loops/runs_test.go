package loops_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// The first hand-out of the loop finds out late that it is out of date.
func TestACancelReachesTheBodyBesideAnOlderHandOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		body := loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
			select {
			case <-ctx.Done():
				return loops.Result{}, context.Cause(ctx)
			case <-time.After(time.Minute * 9):
				return loops.Result{Output: "ok", Done: true}, nil
			}
		})
		first := make(chan struct{})
		w := live(t, loopstest.NewMemory(), body, &loops.Options{Workers: 2, Accept: func(s loops.State) error {
			if s.Rev == 0 { // of Start
				return nil
			}
			if asked.Add(1) == 1 {
				close(first)
				<-release
			}
			return nil
		}})
		id := w.start(nil)
		<-first
		w.do(id, loops.Request{Action: loops.SteerIt, Message: "x"})
		time.Sleep(time.Second) // the second run works
		close(release)
		time.Sleep(time.Second)
		before := time.Now()
		w.do(id, loops.Request{Action: loops.CancelIt})
		w.settled(id, loops.Cancelled, loops.CancelClient)
		if took := time.Since(before); took > 0 {
			t.Errorf("the cancel took %s", took)
		}
	})
}

// rester counts how often it was to let rest what a start was using.
type rester struct {
	loops.BodyFunc
	working *atomic.Int32
	hurt    *atomic.Int32
}

func (b rester) Rest(loops.ID, loops.Status) {
	if b.working.Load() > 0 {
		b.hurt.Add(1)
	}
}

// slowAfter takes its time to return after it has stored a commit that rests.
type slowAfter struct{ *loopstest.Memory }

func (s slowAfter) Commit(ctx context.Context, next loops.State) (loops.State, error) {
	got, err := s.Memory.Commit(ctx, next)
	if next.Status == loops.Waiting {
		time.Sleep(2 * time.Second) // stored, and its answer is on its way
	}
	return got, err
}

// The run before has stored that its loop waits, and returns when the next one is
// at work.
func TestToolsStayWhenTheRunBeforeReturnsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := rester{working: new(atomic.Int32), hurt: new(atomic.Int32)}
		var starts atomic.Int32
		body.BodyFunc = func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
			body.working.Add(1)
			defer body.working.Add(-1)
			if starts.Add(1) > 1 {
				time.Sleep(10 * time.Second)
				return loops.Result{Output: "ok", Done: true}, nil
			}
			return loops.Result{Output: "no"}, nil
		}
		w := live(t, slowAfter{loopstest.NewMemory()}, body, &loops.Options{Workers: 1})
		id := w.start(func(s *loops.Spec) { s.Delay = loops.Duration(time.Millisecond) })
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if body.hurt.Load() > 0 {
			t.Errorf("Rest was called %d times while a start of the loop was under way", body.hurt.Load())
		}
	})
}

// A commit that settles a loop or lets it wait releases its claim; that it landed
// shows all the same.
func TestALostAnswerToTheLastCommitOfAClaimChargesOnce(t *testing.T) {
	for name, delay := range map[string]time.Duration{"settles": 0, "waits": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := loopstest.NewMemory()
				var n atomic.Int32
				body := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
					if n.Add(1) == 1 {
						store.FailNext(turn.Loop, loopstest.Fault{After: errors.New("no answer")})
						return loops.Result{Output: "ok", Done: delay == 0, Usage: loops.Usage{InputTokens: 100, TotalTokens: 100, CostUSD: 1000}}, nil
					}
					return loops.Result{Output: "ok", Done: true}, nil
				})
				w := live(t, store, body, &loops.Options{Workers: 2})
				i := w.start(func(s *loops.Spec) { s.Delay = loops.Duration(delay) })
				time.Sleep(time.Minute)
				s := w.settled(i, loops.Completed, loops.GoalPredicate)
				if s.Ledger.CostUSD != 1000 || s.Ledger.TotalTokens != 100 {
					t.Errorf("one start spent 1000/100 tokens; the ledger says %+v", s.Ledger)
				}
			})
		})
	}
}

// A worker that was taken for dead, and comes back with a start that another one
// has repeated: what both spent counts.
func TestAStartThatWasTakenFromItsWorkerIsStillPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, release := loopstest.NewMemory(), make(chan struct{})
		body := loops.BodyFunc(func(_ context.Context, turn loops.Turn) (loops.Result, error) {
			if turn.Ledger.Starts == 1 {
				<-release
			}
			return loops.Result{Output: "ok", Done: turn.Ledger.Starts > 1, Usage: loops.Usage{InputTokens: 100, TotalTokens: 100}}, nil
		})
		id := live(t, store, body, nil).start(func(s *loops.Spec) { s.Delay = loops.Duration(time.Second) }) // for which its claim would be released
		synctest.Wait()
		store.Kill(store.Runner())
		w := live(t, store.As("another"), body, nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		store.As(store.Runner())
		close(release)
		time.Sleep(time.Minute)
		after, err := w.Get(t.Context(), id)
		if err != nil || s.Ledger.TotalTokens != 100 || after.Ledger.TotalTokens != 200 || after.Ledger.Starts != 2 {
			t.Errorf("two starts of 100 tokens: the ledger says %+v, before the first came back %+v, %v", after.Ledger, s.Ledger, err)
		}
	})
}
