package loops_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// cutAbove is the store of a process that dies when it hands up to a loop above
// what a call has cost.
type cutAbove struct {
	*loopstest.Memory
	above loops.ID
	armed atomic.Bool
	kill  func()
}

func (c *cutAbove) Commit(ctx context.Context, s loops.State) (loops.State, error) {
	if s.ID == c.above && c.armed.Load() {
		c.kill()
	}
	return c.Memory.Commit(ctx, s)
}

// TestTheLoopAboveLearnsWhatAKilledChildPaid: the child had settled its call, and
// its process died before the loop above heard of it.
func TestTheLoopAboveLearnsWhatAKilledChildPaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		parent := live(t, store, loopstest.Script(loopstest.Step{Takes: time.Hour, Result: loops.Result{Output: "ok", Done: true}}),
			&loops.Options{Accept: func(s loops.State) error { return only(s.Origin.Parent == "") }})
		id := parent.start(func(s *loops.Spec) { s.Limits.IterationTimeout = loops.Duration(10 * time.Hour) })
		synctest.Wait()
		below := &loops.Options{Parent: id, Accept: func(s loops.State) error { return only(s.Origin.Parent == id) }}
		dies := &cutAbove{Memory: store.As("below-1"), above: id, kill: func() { store.Kill("below-1") }}
		first := live(t, dies, loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			time.Sleep(time.Second) // whoever started the loop has its answer
			g, err := turn.Meter.Reserve(ctx, paid(1000, 1000))
			if err != nil {
				return loops.Result{}, err
			}
			dies.armed.Store(true)
			_ = turn.Meter.Settle(ctx, g, used(900, 200, 5700), json.RawMessage(`"settled"`))
			<-ctx.Done()
			return loops.Result{}, ctx.Err()
		}}), below)
		child := first.start(nil)
		time.Sleep(time.Minute)
		first.stop()
		second := live(t, store.As("below-2"), loopstest.Script(loopstest.Done("ok")), below)
		spent := second.settled(child, loops.Completed, loops.GoalPredicate).Ledger.CostUSD
		if s := parent.settled(id, loops.Completed, loops.GoalPredicate); spent != 5700 || s.Ledger.CostUSD != spent || s.Children[child].Aside != (loops.Usage{}) {
			t.Errorf("the child spent %s; the loop above spent %s, and %+v is set aside", spent, s.Ledger.CostUSD, s.Children[child].Aside)
		}
	})
}
