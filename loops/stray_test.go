package loops_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// hanging is a store whose first commit is taken only long after its sender has
// given it up, as by a host that was stopped meanwhile.
type hanging struct {
	*loopstest.Memory
	once sync.Once
}

func (h *hanging) Commit(ctx context.Context, s loops.State) (got loops.State, err error) {
	late := false
	h.once.Do(func() { late = true })
	if !late {
		return h.Memory.Commit(ctx, s)
	}
	<-ctx.Done()
	time.AfterFunc(100*time.Millisecond, func() { _, _ = h.Memory.Commit(context.Background(), s) })
	return got, ctx.Err()
}

// TestALoopDoesNotHangWhenItsClaimArrivesLate: the store did not answer a claim,
// and took it when the worker had given it up. Nobody worked on the loop then,
// and no cancel ended it, as long as that process was there.
func TestALoopDoesNotHangWhenItsClaimArrivesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hanging{Memory: loopstest.NewMemory()}
		w := live(t, store, loopstest.Script(loopstest.Done("ok")), nil)
		time.Sleep(500 * time.Millisecond) // so that loops that were left are not looked at just then
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		if s.Ledger.Starts != 2 || s.Iteration != 1 {
			t.Errorf("%d starts and %d iterations, want 2 (one was charged by the late claim) and 1", s.Ledger.Starts, s.Iteration)
		}
	})
}

// TestALoopWhoseClaimArrivesLateCanBeCancelled: the same, and somebody cancels
// it before it is let go of.
func TestALoopWhoseClaimArrivesLateCanBeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hanging{Memory: loopstest.NewMemory()}
		w := live(t, store, loopstest.Script(loopstest.Done("ok")), nil)
		time.Sleep(500 * time.Millisecond) // so that loops that were left are not looked at just then
		id := w.start(nil)
		for h := range w.Watch(t.Context(), id) {
			if h.Status == loops.Running {
				break
			}
		}
		if _, err := w.Do(t.Context(), id, loops.Request{Action: loops.CancelIt}); err != nil {
			t.Fatal(err)
		}
		w.settled(id, loops.Cancelled, loops.CancelClient)
	})
}
