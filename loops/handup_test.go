package loops_test

import (
	"context"
	"encoding/json"
	"errors"
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

// chain are three loops, each below the one before, whose work clients do.
type chain struct {
	t              *testing.T
	store          *loopstest.Memory
	tree           *tree // checks each write
	top, mid, last loops.ID
}

// chained returns a chain with a loop beside the last one that has a call under way.
func chained(t *testing.T) *chain {
	t.Helper()
	c := &chain{t: t, store: loopstest.NewMemory(), tree: &tree{t: t}}
	client := func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} }
	c.top = c.start("", client)
	c.mid = c.start(c.top, client)
	c.last = c.start(c.mid, client)
	busy := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		_, err := turn.Meter.Reserve(ctx, paid(1000, 1000))
		<-ctx.Done()
		return loops.Result{}, err
	}})
	live(t, c.store.As("busy"), busy, &loops.Options{Parent: c.mid, Accept: func(s loops.State) error { return only(s.Origin.Spec.Body.Kind == loops.BodyHandler) }}).start(nil)
	synctest.Wait()
	return c
}

func (c *chain) start(parent loops.ID, change func(*loops.Spec)) loops.ID {
	c.t.Helper()
	w := &world{t: c.t, Engine: loops.New(c.store, parts(loopstest.Script()), &loops.Options{Parent: parent})}
	return w.start(change)
}

// process is one that does requests; before and after are told of its writes.
func (c *chain) process(name string, before, after func(loops.State)) *loops.Engine {
	return loops.New(meddled{mortal: &mortal{tree: c.tree, Memory: c.store.As(name)}, before: before, after: after}, loops.Parts{}, nil)
}

// handIn hands in an iteration that took seven tokens.
func (c *chain) handIn(e *loops.Engine, id loops.ID) error {
	more := false
	_, err := e.Do(c.t.Context(), id, loops.Request{Action: loops.Submit, AttentionID: "it-1", Output: "x", Done: &more, Usage: &loops.Usage{InputTokens: 7}})
	return err
}

// TestWhatALoopReliesOnAboveIsNotTakenBackByALateHandUp: what a loop spends is
// known above it, and before it is stored somebody else changes the loop. It is
// handed up again, and is the same. Then comes the hand-up of that other change,
// which knows of nothing spent.
func TestWhatALoopReliesOnAboveIsNotTakenBackByALateHandUp(t *testing.T) {
	for name, at := range map[string]func(*chain) loops.ID{
		"of the loop itself":   func(c *chain) loops.ID { return c.mid },
		"of the loop above it": func(c *chain) loops.ID { return c.last },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := chained(t)
				stored, goOn := make(chan struct{}), make(chan struct{})
				other := c.process("other", nil, func(s loops.State) {
					if s.ID == c.mid {
						close(stored)
						<-goOn
					}
				})
				var steering sync.WaitGroup
				tries := 0
				err := c.handIn(c.process("client", func(s loops.State) {
					if s.ID != c.mid {
						return
					}
					switch tries++; tries {
					case 1:
						steering.Go(func() {
							if _, err := other.Do(t.Context(), c.mid, loops.Request{Action: loops.SteerIt, Message: "hurry"}); err != nil {
								t.Error(err)
							}
						})
						<-stored
					case 2:
						close(goOn)
						steering.Wait()
					}
				}, nil), at(c))
				if err != nil || tries != 2 {
					t.Errorf("%v, after %d tries", err, tries)
				}
				top, err := c.store.Load(t.Context(), c.top)
				if d := top.Children[c.mid]; err != nil || d.Spent.TotalTokens != 7 || d.Aside.TotalTokens == 0 {
					t.Errorf("%v; above is known: %+v", err, d)
				}
			})
		})
	}
}

// TestWhatWasNeverStoredBelowIsSpentOnceAbove: what a loop spends is known to the
// topmost loop, and the process dies before the one in the middle knows. Somebody
// takes that loop, and asks the one above what it does not know itself. Then the
// client hands in again.
func TestWhatWasNeverStoredBelowIsSpentOnceAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &chain{t: t, store: loopstest.NewMemory(), tree: &tree{t: t}}
		c.top = c.start("", nil)
		c.mid = c.start(c.top, nil)
		c.last = c.start(c.mid, func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} })
		err := c.handIn(c.process("client-1", func(s loops.State) {
			if s.ID == c.mid {
				c.store.Kill("client-1")
			}
		}, nil), c.last)
		top, loadErr := c.store.Load(t.Context(), c.top)
		if d := top.Children[c.mid]; !errors.Is(err, loops.ErrClosed) || loadErr != nil || d.Spent.Plus(d.Aside).TotalTokens != 7 {
			t.Fatalf("%v; %v; above is known: %+v", err, loadErr, d)
		}
		work := live(t, c.store.As("worker"), loopstest.Script(loopstest.Step{Takes: time.Minute, Result: loops.Result{Output: "ok", Done: true}}),
			&loops.Options{Accept: func(s loops.State) error { return only(s.ID == c.mid) }})
		synctest.Wait()
		if err := c.handIn(c.process("client-2", nil, nil), c.last); err != nil {
			t.Fatal(err)
		}
		work.settled(c.mid, loops.Completed, loops.GoalPredicate)
		for _, id := range []loops.ID{c.top, c.mid, c.last} {
			if s, err := c.store.Load(t.Context(), id); err != nil || total(s).TotalTokens != 7 || s.Ledger.TotalTokens != 7 {
				t.Errorf("%v; %s has %+v spent and %+v in all; want 7 tokens", err, id, s.Ledger.Usage, total(s))
			}
		}
	})
}
