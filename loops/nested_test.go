package loops_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// family is a parent loop whose body waits, and an engine below it.
type family struct {
	parent, below *world
	id            loops.ID
	store         *loopstest.Memory
}

func raise(t *testing.T, child loops.Body, limits loops.Limits) *family {
	t.Helper()
	store := loopstest.NewMemory()
	f := &family{store: store}
	f.parent = live(t, store, loopstest.Script(loopstest.Step{Takes: time.Hour, Result: loops.Result{Output: "ok", Done: true}}),
		&loops.Options{Accept: func(s loops.State) error { return only(s.Origin.Parent == "") }})
	f.id = f.parent.start(func(s *loops.Spec) { s.Limits = limits; s.Limits.IterationTimeout = loops.Duration(10 * time.Hour) })
	synctest.Wait()
	f.below = live(t, store.As("below"), child, &loops.Options{Parent: f.id, Accept: func(s loops.State) error { return only(s.Origin.Parent == f.id) }})
	return f
}

func only(mine bool) error {
	if mine {
		return nil
	}
	return errors.New("not mine")
}

func TestChildDrawsOnItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := raise(t, loopstest.Script(buys(paid(1000, 1000), used(1000, 100, 4500), "ok")), loops.Limits{})
		child := f.below.settled(f.below.start(nil), loops.Completed, loops.GoalPredicate)
		s := f.parent.settled(f.id, loops.Completed, loops.GoalPredicate)
		if s.Ledger.CostUSD != 4500 || s.Ledger.TotalTokens != 1100 || s.ByModel[0].Role != loops.RoleChild || s.ByModel[0].Model != string(child.ID) {
			t.Errorf("the parent's ledger has %+v, rows %+v", s.Ledger.Usage, s.ByModel)
		}
	})
}

func TestChildIsCappedByItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := raise(t, loopstest.Script(buys(paid(1000, 1000), used(1000, 100, 4500), "ok")), loops.Limits{MaxCostUSD: 4000})
		s := f.below.settled(f.below.start(nil), loops.Capped, loops.CapParent)
		if !strings.Contains(s.Stop.Detail, "the parent loop "+string(f.id)) || len(s.Stop.Actions) == 0 {
			t.Errorf("%+v", s.Stop)
		}
	})
}

func TestReportOfACommandCountsForTheParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("ok")
		step.Result.Usage = loops.Usage{InputTokens: 10, OutputTokens: 5, CostUSD: 70, ToolCalls: 2}
		f := raise(t, loopstest.Script(step), loops.Limits{})
		f.below.settled(f.below.start(nil), loops.Completed, loops.GoalPredicate)
		s := f.parent.settled(f.id, loops.Completed, loops.GoalPredicate)
		if s.Ledger.CostUSD != 70 || s.Ledger.TotalTokens != 15 || s.Ledger.ToolCalls != 2 {
			t.Errorf("the parent's ledger has %+v", s.Ledger.Usage)
		}
	})
}

func TestChildrenEndWithTheirParent(t *testing.T) {
	for name, end := range map[string]func(f *family){
		"settled":   func(*family) {},
		"cancelled": func(f *family) { f.parent.do(f.id, loops.Request{Action: loops.CancelIt}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := raise(t, loopstest.Script(loopstest.Step{Takes: 1000 * time.Hour}), loops.Limits{})
				running := f.below.start(nil)
				mine := f.below.start(func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} })
				end(f)
				for _, id := range []loops.ID{running, mine} {
					if s := f.below.settled(id, loops.Cancelled, loops.CancelParent); !strings.Contains(s.Stop.Detail, string(f.id)) {
						t.Errorf("%s: %s", id, s.Stop.Detail)
					}
				}
				if _, err := f.below.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil)}); err == nil || !strings.Contains(err.Error(), "parent_over") {
					t.Errorf("a child of a loop that has ended: %v", err)
				}
			})
		})
	}
}

// TestOrphansEndWhenAProcessComes: the parent settled while nobody was there to
// end what it had started.
func TestOrphansEndWhenAProcessComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := raise(t, loopstest.Script(loopstest.Step{Takes: 1000 * time.Hour}), loops.Limits{})
		id := f.below.start(nil)
		synctest.Wait()
		f.below.stop()
		f.store.FailNext(id, loopstest.Fault{Before: errors.New("disk full")}, loopstest.Fault{Before: errors.New("disk full")})
		f.parent.settled(f.id, loops.Completed, loops.GoalPredicate)
		f.parent.stop()
		next := live(t, f.store.As("next"), loopstest.Script(), nil)
		next.settled(id, loops.Cancelled, loops.CancelParent)
	})
}

func TestChildOfAChildDrawsOnBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := raise(t, loopstest.Script(loopstest.Step{Takes: 30 * time.Minute, Result: loops.Result{Output: "ok", Done: true}}), loops.Limits{})
		middle := f.below.start(func(s *loops.Spec) { s.Limits.IterationTimeout = loops.Duration(time.Hour) })
		synctest.Wait()
		deep := live(t, f.store.As("deep"), loopstest.Script(buys(paid(1000, 1000), used(1000, 100, 4500), "ok")), &loops.Options{Parent: middle,
			Accept: func(s loops.State) error { return only(s.Origin.Parent == middle) }})
		deep.settled(deep.start(nil), loops.Completed, loops.GoalPredicate)
		if s := f.below.settled(middle, loops.Completed, loops.GoalPredicate); s.Ledger.CostUSD != 4500 {
			t.Errorf("the loop between spent %s", s.Ledger.CostUSD)
		}
		if s := f.parent.settled(f.id, loops.Completed, loops.GoalPredicate); s.Ledger.CostUSD != 4500 {
			t.Errorf("the loop above spent %s", s.Ledger.CostUSD)
		}
	})
}

func TestDailyBudgetHoldsForAllLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		buy := buys(paid(1000, 1000), used(1000, 100, 4500), "ok")
		report := loopstest.Done("ok")
		report.Result.Usage.CostUSD = 100_000
		w := live(t, store, loopstest.Script(buy, report, buy, buy), &loops.Options{DailyCost: 108_000, Defaults: loops.Limits{MaxDuration: loops.Duration(100 * time.Hour)}})
		w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		id := w.start(nil)
		s := w.settled(id, loops.Capped, loops.CapDailyCost)
		if !strings.Contains(s.Stop.Detail, "daily_cost_usd: $0.1045 of $0.108 used today") {
			t.Error(s.Stop.Detail)
		}
		time.Sleep(24 * time.Hour)
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.settled(id, loops.Completed, loops.GoalPredicate)
	})
}

// TestCallCutOffByACrashCountsForTheDay: what was set aside and never settled
// is spent, for the day as well.
func TestCallCutOffByACrashCountsForTheDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		dies := loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			_, err := turn.Meter.Reserve(ctx, paid(1000, 1000)) // $0.018
			store.Kill("runner-1")
			return loops.Result{}, err
		}}
		first := live(t, store, loopstest.Script(dies), &loops.Options{DailyCost: 20_000})
		id := first.start(nil)
		synctest.Wait()
		first.stop()
		second := live(t, store.As("runner-2"), loopstest.Script(buys(paid(1000, 1000), used(0, 0, 0), "ok")), &loops.Options{DailyCost: 20_000})
		second.settled(id, loops.Capped, loops.CapDailyCost)
	})
}
