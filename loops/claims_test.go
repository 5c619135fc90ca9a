package loops_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestTwoProcessesShareTheWork: no iteration runs twice, no cap is exceeded.
func TestTwoProcessesShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		var mu sync.Mutex
		ran := map[string]int{}
		body := loops.BodyFunc(func(_ context.Context, turn loops.Turn) (loops.Result, error) {
			mu.Lock()
			ran[fmt.Sprint(turn.Loop, turn.Iteration)]++
			mu.Unlock()
			time.Sleep(time.Duration(turn.Iteration) * time.Millisecond)
			return loops.Result{Output: fmt.Sprint(turn.Iteration), Done: true}, nil
		})
		one := live(t, store, body, &loops.Options{Workers: 3})
		live(t, store.As("runner-2"), body, &loops.Options{Workers: 3})
		var ids []loops.ID
		for range 20 {
			ids = append(ids, one.start(func(s *loops.Spec) { s.Limits.MaxIterations, s.Delay = 5, loops.Duration(time.Millisecond) }))
		}
		for _, id := range ids {
			one.ledger(one.settled(id, loops.Capped, loops.CapIterations), "5 starts, 5 iterations, 5 passes, 0 failures")
		}
		if len(ran) != 100 {
			t.Errorf("%d iterations ran", len(ran))
		}
		for what, times := range ran {
			if times != 1 {
				t.Errorf("%s ran %d times", what, times)
			}
		}
	})
}

// lateStore hands out a loop and lets time pass before it says so.
type lateStore struct {
	*loopstest.Memory
	late time.Duration
}

func (s lateStore) Ready(ctx context.Context) (loops.ID, uint64, error) {
	id, rev, err := s.Memory.Ready(ctx)
	time.Sleep(s.late)
	return id, rev, err
}

// TestALivingWorkersLoopIsNotTaken although it was free when it was offered.
func TestALivingWorkersLoopIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		body := loopstest.Script(loopstest.Step{Takes: 5 * time.Minute, Result: loops.Result{Output: "ok", Done: true}})
		quick := live(t, store, body, nil)
		late := loops.New(lateStore{store.As("runner-2"), time.Minute}, parts(body), nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- late.Run(ctx) }()
		id := quick.start(nil)
		quick.ledger(quick.settled(id, loops.Completed, loops.GoalPredicate), "1 starts, 1 iterations, 1 passes, 0 failures")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAWorkerThatLostItsClaim ends its body, changes nothing and has what it
// spent accounted for.
func TestAWorkerThatLostItsClaim(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprint("deaf ", deaf), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := loopstest.NewMemory()
				stopped := make(chan error, 1)
				zombie := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
					if deaf {
						ctx = context.WithoutCancel(ctx)
					}
					select {
					case <-ctx.Done():
					case <-time.After(3 * time.Second):
					}
					stopped <- context.Cause(ctx)
					return loops.Result{Output: "stale", Done: true, Usage: loops.Usage{CostUSD: loops.Dollar / 2}}, nil
				}})
				first := live(t, store, zombie, nil)
				id := first.start(nil)
				synctest.Wait()
				s, err := store.Load(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				s.Claim = loops.Claim{Owner: "runner-2", Token: "another"} // runner-1 was taken for dead
				if _, err = store.As("runner-2").Commit(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				if cause := <-stopped; (cause != nil) == deaf {
					t.Errorf("the body ended because of %v", cause)
				}
				time.Sleep(time.Second)
				if s, err = store.Load(t.Context(), id); err != nil || s.Iteration != 0 || s.Claim.Token != "another" || s.Ledger.CostUSD != loops.Dollar/2 {
					t.Errorf("%v: iteration %d, claim %+v, %s spent", err, s.Iteration, s.Claim, s.Ledger.CostUSD)
				}
			})
		})
	}
}
