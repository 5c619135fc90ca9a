package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// killedWhilePaying is a loop whose worker died during a call of $0.018, in a
// store that nobody works on.
func killedWhilePaying(t *testing.T) (*loopstest.Memory, loops.ID) {
	t.Helper()
	store := loopstest.NewMemory()
	first := live(t, store, loopstest.Script(diesPaying(store, "runner-1")), nil)
	id := first.start(func(s *loops.Spec) { s.Limits.MaxDuration = loops.Duration(time.Hour) })
	synctest.Wait()
	first.stop()
	return store, id
}

func diesPaying(store *loopstest.Memory, runner string) loopstest.Step {
	return loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		if _, err := turn.Meter.Reserve(ctx, paid(1000, 1000)); err != nil {
			return loops.Result{}, err
		}
		time.Sleep(time.Second) // whoever started the loop through it has its answer
		store.Kill(runner)
		<-ctx.Done()
		return loops.Result{}, ctx.Err()
	}}
}

// TestKilledDuringAPaidCallAndNotRunAgain: what was set aside counts as spent,
// whatever becomes of the loop.
func TestKilledDuringAPaidCallAndNotRunAgain(t *testing.T) {
	for name, test := range map[string]struct {
		request loops.Action // empty: its time is over
		status  loops.Status
	}{
		"cancelled": {loops.CancelIt, loops.Cancelled},
		"paused":    {loops.PauseIt, loops.Paused},
		"too late":  {"", loops.Capped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, id := killedWhilePaying(t)
				if test.request == "" {
					time.Sleep(2 * time.Hour)
				} else if _, err := loops.New(store.As("client"), loops.Parts{}, nil).Do(t.Context(), id, loops.Request{Action: test.request}); err != nil {
					t.Fatal(err)
				}
				second := live(t, store.As("runner-2"), loopstest.Script(), nil)
				s := second.attention(id, test.status)
				if s.Ledger.CostUSD != 18_000 || len(s.Reserved) > 0 {
					t.Errorf("spent %s, set aside %+v; want $0.018 and nothing", s.Ledger.CostUSD, s.Reserved)
				}
			})
		})
	}
}

// TestChildKilledDuringAPaidCall: the loop above learns what its child's call
// may have cost, also when the child pays for nothing more.
func TestChildKilledDuringAPaidCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		parent := live(t, store, loopstest.Script(loopstest.Step{Takes: time.Hour, Result: loops.Result{Output: "ok", Done: true}}),
			&loops.Options{Accept: func(s loops.State) error { return only(s.Origin.Parent == "") }})
		id := parent.start(func(s *loops.Spec) { s.Limits.IterationTimeout = loops.Duration(10 * time.Hour) })
		synctest.Wait()
		below := &loops.Options{Parent: id, Accept: func(s loops.State) error { return only(s.Origin.Parent == id) }}
		first := live(t, store.As("below-1"), loopstest.Script(diesPaying(store, "below-1")), below)
		child := first.start(nil)
		synctest.Wait()
		first.stop()
		second := live(t, store.As("below-2"), loopstest.Script(loopstest.Done("ok")), below)
		if s := second.settled(child, loops.Completed, loops.GoalPredicate); s.Ledger.CostUSD != 18_000 {
			t.Fatalf("the child spent %s", s.Ledger.CostUSD)
		}
		s := parent.settled(id, loops.Completed, loops.GoalPredicate)
		if s.Ledger.CostUSD != 18_000 || s.Children[child].Aside != (loops.Usage{}) {
			t.Errorf("the loop above spent %s, and %+v is set aside", s.Ledger.CostUSD, s.Children[child].Aside)
		}
	})
}

// refusedThen is a step that a limit refuses and that then does something before
// it returns the refusal.
func refusedThen(t *testing.T, c loops.Call, then func(turn loops.Turn), result loops.Result) loopstest.Step {
	return loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		_, err := turn.Meter.Reserve(ctx, c)
		if err == nil {
			t.Error("the call was not refused")
		}
		then(turn)
		return result, err
	}}
}

// TestPausedWhileALimitIsRaised: a call was refused, somebody raised the limit
// and asked for a pause before the body was back. The pause holds, and the start
// goes on afterwards.
func TestPausedWhileALimitIsRaised(t *testing.T) {
	var w *world
	body := loopstest.Script(
		refusedThen(t, paid(1000, 1000), func(turn loops.Turn) {
			w.do(turn.Loop, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxCostUSD: loops.Dollar}})
			w.do(turn.Loop, loops.Request{Action: loops.PauseIt})
		}, loops.Result{}),
		buys(paid(1000, 1000), used(1000, 100, 4500), "ok"))
	story(t, body, func(told *world) {
		w = told
		id := w.start(func(s *loops.Spec) { s.Limits.MaxCostUSD = 10; s.Limits.MaxIterations = 1 })
		w.attention(id, loops.Paused)
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "1 starts, 1 iterations, 1 passes, 0 failures")
	})
}

// TestLimitLoweredWhileACallIsRefused: what the call needed is known, so nobody
// is told to raise the limit to what was too little already.
func TestLimitLoweredWhileACallIsRefused(t *testing.T) {
	var w *world
	body := loopstest.Script(refusedThen(t, paid(1000, 1000), func(turn loops.Turn) {
		w.do(turn.Loop, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxCostUSD: 10}})
	}, loops.Result{}), loopstest.Done("ok"))
	story(t, body, func(told *world) {
		w = told
		id := w.start(func(s *loops.Spec) { s.Limits.MaxCostUSD = 4000 })
		s := w.settled(id, loops.Capped, loops.CapCost)
		if !strings.Contains(s.Stop.Actions[0], "raise max_cost_usd above 0.004 ") {
			t.Errorf("to do: %q", s.Stop.Actions)
		}
		w.refused(id, loops.Request{Action: loops.ResumeIt}, "raise max_cost_usd above 0.004")
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxCostUSD: 1000}})
		w.settled(id, loops.Capped, loops.CapCost)
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxCostUSD: 5000}})
		w.settled(id, loops.Completed, loops.GoalPredicate)
	})
}

// TestMemoryOfAStartThatALimitEnded is there when the limit has been raised: a
// body keeps running totals in it.
func TestMemoryOfAStartThatALimitEnded(t *testing.T) {
	body := loopstest.Script(
		refusedThen(t, paid(1000, 1000), func(loops.Turn) {}, loops.Result{Memory: json.RawMessage(`"so far"`)}),
		loopstest.Step{Do: func(_ context.Context, turn loops.Turn) (loops.Result, error) {
			return loops.Result{Output: "ok " + string(turn.Memory), Done: true}, nil
		}})
	story(t, body, func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.MaxCostUSD = 10 })
		w.settled(id, loops.Capped, loops.CapCost)
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxCostUSD: loops.Dollar}})
		if s := w.settled(id, loops.Completed, loops.GoalPredicate); s.Output.Text != `ok "so far"` {
			t.Errorf("the next start had %s", s.Output.Text)
		}
	})
}

// TestLimitsOfALoopThatTheDayEnded: its own limits have nothing to do with it,
// and changing them uses up no start.
func TestLimitsOfALoopThatTheDayEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buy := buys(paid(1000, 1000), used(1000, 100, 4500), "ok")
		w := live(t, loopstest.NewMemory(), loopstest.Script(buy, buy), &loops.Options{DailyCost: 4000})
		id := w.start(nil)
		before := w.settled(id, loops.Capped, loops.CapDailyCost)
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxPasses: 20}})
		s := w.settled(id, loops.Capped, loops.CapDailyCost)
		if s.Ledger.Starts != before.Ledger.Starts || s.Limits.MaxPasses != 20 || s.Epoch != before.Epoch {
			t.Errorf("%d starts after %d, %d passes allowed, epoch %d", s.Ledger.Starts, before.Ledger.Starts, s.Limits.MaxPasses, s.Epoch)
		}
		if len(s.Stop.Actions) == 0 || !strings.Contains(s.Stop.Actions[0], "tomorrow") {
			t.Errorf("to do: %q", s.Stop.Actions)
		}
	})
}

// TestWhatAChildReportsWhenItsParentEnds is in its own ledger.
func TestWhatAChildReportsWhenItsParentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f *family
		body := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			if _, err := turn.Meter.Reserve(ctx, paid(1000, 1000)); err != nil {
				t.Error(err)
			}
			f.parent.stop()
			f.store.FailNext(turn.Loop, loopstest.Fault{Before: errors.New("disk full")}) // the cancel is lost
			if _, err := loops.New(f.store.As("client"), loops.Parts{}, nil).Do(t.Context(), f.id, loops.Request{Action: loops.CancelIt}); err != nil {
				t.Error(err)
			}
			_, err := turn.Meter.Reserve(ctx, paid(1000, 1000))
			return loops.Result{Usage: loops.Usage{CostUSD: 70}}, err
		}})
		f = raise(t, body, loops.Limits{})
		s := f.below.settled(f.below.start(nil), loops.Cancelled, loops.CancelParent)
		if s.Ledger.CostUSD != 18_070 || len(s.Reserved) > 0 || s.Ledger.ActiveSeconds > 1 {
			t.Errorf("spent %s, set aside %+v", s.Ledger.CostUSD, s.Reserved)
		}
	})
}

// TestJudgeThatFailsAsNobodyForesaw charges no pass: not the store's trouble,
// not a panic.
func TestJudgeThatFailsAsNobodyForesaw(t *testing.T) {
	for name, fails := range map[string]func() (loops.Verdict, error){
		"error": func() (loops.Verdict, error) { return loops.Verdict{}, errors.New("the disk is full") },
		"panic": func() (loops.Verdict, error) { panic("oops") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				judge := loops.StopFunc(func(context.Context, loops.Evidence) (loops.Verdict, error) {
					if asked.Add(1) <= 3 {
						return fails()
					}
					return loops.Verdict{Met: true, Reason: "good"}, nil
				})
				menu := loops.Parts{Handlers: map[string]loops.Body{"worker": loopstest.Script(loopstest.Done("x"))},
					Stops: map[string]loops.StopCondition{loops.StopJudge: judge}, Models: book{"fast": "test/j"}}
				w := liveWith(t, loopstest.NewMemory(), menu, nil)
				id := w.start(func(s *loops.Spec) {
					s.Until = &loops.Until{All: []loops.Condition{{Kind: loops.StopJudge, Question: "good?"}}}
				})
				s := w.attention(id, loops.Paused)
				if s.Pause.Reason != loops.PauseJudgeUnavailable || s.Ledger.Passes != 0 || s.Owed == nil {
					t.Fatalf("%+v, %d passes", s.Pause, s.Ledger.Passes)
				}
				w.do(id, loops.Request{Action: loops.ResumeIt})
				w.ledger(w.settled(id, loops.Completed, loops.GoalJudge), "1 starts, 1 iterations, 1 passes, 0 failures")
			})
		})
	}
}
