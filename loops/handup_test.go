package loops_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
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

// meddled is the store of a process in whose commits somebody else meddles.
type meddled struct {
	*mortal
	before, after func(loops.State)
}

func (m meddled) Commit(ctx context.Context, s loops.State) (loops.State, error) {
	if m.before != nil {
		m.before(s)
	}
	got, err := m.mortal.Commit(ctx, s)
	if err == nil && m.after != nil {
		m.after(got)
	}
	return got, err
}

// TestWhatACancelledLoopSpentCountsOnceAbove: a loop hands up what its last start
// spent and reports, and is cancelled before it has stored that itself. The cancel
// hands up what is set aside for the same call: at once, or when the loop has
// settled, after which nobody would correct it.
func TestWhatACancelledLoopSpentCountsOnceAbove(t *testing.T) {
	for name, late := range map[string]bool{"at once": false, "when it has settled": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &tree{t: t, depth: 3, leaves: 1, calls: 1, limit: 3, sloppy: func() bool { return true }, made: map[loops.ID]loops.Usage{}}
				store := loopstest.NewMemory()
				top := tr.root(store)
				cancelled := make(chan struct{})
				once := func(s loops.State) {
					if n := total(s).ToolCalls; n > 1 {
						t.Errorf("%s counts %d calls; one was made", s.ID, n)
					}
				}
				var leaf loops.ID
				other := loops.New(meddled{mortal: &mortal{tree: tr, Memory: store.As("other")}, before: func(s loops.State) {
					if s.ID != leaf && late {
						_ = over(t.Context(), store, leaf)
					}
				}, after: func(s loops.State) {
					if once(s); s.ID == leaf {
						close(cancelled)
					}
				}}, loops.Parts{}, nil)
				var cancels sync.WaitGroup
				worker := tr.process(meddled{mortal: &mortal{tree: tr, Memory: store.As("worker")}, after: func(s loops.State) {
					once(s)
					spent := func(id loops.ID) bool { return s.Children[id].Spent.ToolCalls > 0 }
					ids := slices.Collect(maps.Keys(s.Children))
					if s.ID == top || leaf != "" || !slices.ContainsFunc(ids, spent) {
						return
					}
					leaf = ids[0]
					cancels.Go(func() {
						if _, err := other.Do(t.Context(), leaf, loops.Request{Action: loops.CancelIt}); err != nil {
							t.Error(err)
						}
					})
					<-cancelled
					if !late {
						cancels.Wait()
					}
				}})
				tr.settled(store, top)
				cancels.Wait()
				time.Sleep(20 * time.Second)
				worker.stop()
				tr.check(store, top, true)
			})
		})
	}
}
