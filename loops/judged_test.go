package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// asks is a menu whose condition answers with the errors and verdicts of a
// script, one after the other.
func asks(body loops.Body, asked *atomic.Int64, answer func(n int64, e loops.Evidence) (loops.Verdict, error)) loops.Parts {
	return loops.Parts{Handlers: map[string]loops.Body{"worker": body}, Stops: map[string]loops.StopCondition{
		"contains": loops.StopFunc(func(_ context.Context, e loops.Evidence) (loops.Verdict, error) { return answer(asked.Add(1), e) }),
	}}
}

func TestConditionThatCanNotBeAskedIsNoVerdict(t *testing.T) {
	down := loops.Transient(errors.New("down"), 0)
	for name, test := range map[string]struct {
		errs   []error
		status loops.Status
		reason string
		asked  int64
	}{
		"comes back":            {errs: []error{down, down}, status: loops.Completed, reason: string(loops.GoalPredicate), asked: 3},
		"stays away":            {errs: []error{down, down, down, down}, status: loops.Paused, reason: loops.PauseJudgeUnavailable, asked: 3},
		"rate limited":          {errs: []error{loops.RateLimited(errors.New("busy"), time.Hour), loops.RateLimited(errors.New("busy"), 0), down, down}, status: loops.Completed, reason: string(loops.GoalPredicate), asked: 5},
		"wrongly configured":    {errs: []error{loops.Permanent(errors.New("bad key"))}, status: loops.Failed, reason: string(loops.FailJudge), asked: 1},
		"an error is a verdict": {errs: []error{errors.New("odd")}, status: loops.Completed, reason: string(loops.GoalPredicate), asked: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				body := loopstest.Script(loopstest.Done("ok"), loopstest.Done("ok"), loopstest.Done("ok"))
				w := liveWith(t, loopstest.NewMemory(), asks(body, &asked, func(n int64, _ loops.Evidence) (loops.Verdict, error) {
					if int(n) <= len(test.errs) {
						return loops.Verdict{}, test.errs[n-1]
					}
					return loops.Verdict{Met: true, Reason: "fine"}, nil
				}), nil)
				id := w.start(nil)
				s, _, err := w.Wait(t.Context(), id, 0, loops.ForAttention, 100*time.Hour, nil)
				if err != nil || s.Status != test.status || asked.Load() != test.asked {
					t.Fatalf("%s after %d questions, want %s after %d; %v", s.Status, asked.Load(), test.status, test.asked, err)
				}
				if got := fmt.Sprint(s.Stop != nil && string(s.Stop.Reason) == test.reason || s.Pause != nil && s.Pause.Reason == test.reason); got != "true" {
					t.Fatalf("stop %+v, pause %+v; want %s", s.Stop, s.Pause, test.reason)
				}
				if s.Status == loops.Completed {
					return
				}
				if s.Ledger.Passes != 0 || s.Owed == nil || s.Ledger.Starts != 1 {
					t.Errorf("%d passes and %d starts charged, owed %v", s.Ledger.Passes, s.Ledger.Starts, s.Owed)
				}
				asked.Store(10) // it is well again
				w.do(id, loops.Request{Action: loops.ResumeIt})
				w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "1 starts, 1 iterations, 1 passes, 0 failures")
			})
		})
	}
}

func TestWhatNothingCanMeetIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		w := liveWith(t, loopstest.NewMemory(), asks(loopstest.Script(loopstest.Done("x")), &asked, func(int64, loops.Evidence) (loops.Verdict, error) {
			return loops.Verdict{Impossible: true, Reason: "there is no such file"}, nil
		}), nil)
		s := w.settled(w.start(nil), loops.Blocked, loops.BlockedImpossible)
		if s.Stop.Detail != "there is no such file" {
			t.Error(s.Stop.Detail)
		}
	})
}

// TestConditionKeepsWhatItSavedAcrossACrash: a paid answer is not bought again.
func TestConditionKeepsWhatItSavedAcrossACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		var asked atomic.Int64
		answer := func(n int64, e loops.Evidence) (loops.Verdict, error) {
			if string(e.Saved) == `"half"` {
				return loops.Verdict{Met: true, Reason: "second half"}, e.Save(t.Context(), json.RawMessage(`"whole"`))
			}
			g, err := e.Meter.Reserve(t.Context(), loops.Call{Role: loops.RoleJudge, Model: "test/j", Input: 10, Output: 10, InputRate: loops.Dollar})
			if err == nil {
				err = e.Meter.Settle(t.Context(), g, used(10, 5, 77), json.RawMessage(`"half"`))
			}
			if n == 1 {
				store.Kill("runner-1")
			}
			return loops.Verdict{}, err
		}
		first := liveWith(t, store, asks(loopstest.Script(loopstest.Done("x")), &asked, answer), nil)
		id := first.start(nil)
		synctest.Wait()
		first.stop()
		second := liveWith(t, store.As("runner-2"), asks(loopstest.Script(), &asked, answer), nil)
		s := second.settled(id, loops.Completed, loops.GoalPredicate)
		if s.Ledger.CostUSD != 77 || asked.Load() != 2 {
			t.Errorf("spent %s in %d questions", s.Ledger.CostUSD, asked.Load())
		}
		l, err := second.History(t.Context(), id)
		if err != nil || len(l.Verdicts) != 1 || l.Verdicts[0].Usage.CostUSD != 77 || string(s.Notes["all[0]"]) != `"whole"` {
			t.Errorf("verdicts %+v, notes %s, %v", l.Verdicts, s.Notes, err)
		}
	})
}

func TestPartOfTheBudgetIsHeldBackForTheJudge(t *testing.T) {
	large := paid(0, 60_000)
	large.MinOutput = 2000 // $0.03
	body := loopstest.Script(buys(large, used(0, 52_000, 780_000), "a"), buys(large, used(0, 1, 1), "b"))
	synctest.Test(t, func(t *testing.T) {
		judge := loops.StopFunc(func(ctx context.Context, e loops.Evidence) (loops.Verdict, error) {
			c := paid(0, 10_000) // $0.15
			c.Role = loops.RoleJudge
			g, err := e.Meter.Reserve(ctx, c)
			if err != nil {
				return loops.Verdict{}, err
			}
			return loops.Verdict{Reason: "not yet", Model: "test/m"}, e.Meter.Settle(ctx, g, used(0, 10_000, 150_000), nil)
		})
		menu := loops.Parts{Handlers: map[string]loops.Body{"worker": body}, Stops: map[string]loops.StopCondition{loops.StopJudge: judge}, Models: book{"fast": "test/j"}}
		w := liveWith(t, loopstest.NewMemory(), menu, nil)
		out, err := w.Start(t.Context(), loops.StartRequest{Spec: loops.Spec{Goal: "g", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"},
			Until: &loops.Until{All: []loops.Condition{{Kind: loops.StopJudge, Question: "done?"}}}, Limits: loops.Limits{MaxCostUSD: loops.Dollar}}})
		if err != nil {
			t.Fatal(err)
		}
		s := w.settled(out.ID, loops.Capped, loops.CapCost)
		if s.Ledger.CostUSD != 930_000 || !strings.Contains(s.Stop.Detail, "held back for the judge") {
			t.Errorf("spent %s: %s", s.Ledger.CostUSD, s.Stop.Detail)
		}
		if calls := s.ByModel[len(s.ByModel)-1].Calls; len(s.ByModel) != 2 || calls != 1 {
			t.Errorf("the judge made %d calls, want 1: %+v", calls, s.ByModel)
		}
	})
}

// TestJudgeOfAClientsLoopSpends: nothing runs here, and yet the judge's calls
// are metered.
func TestJudgeOfAClientsLoopSpends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge := loops.StopFunc(func(ctx context.Context, e loops.Evidence) (loops.Verdict, error) {
			c := paid(100, 100)
			c.Role = loops.RoleJudge
			g, err := e.Meter.Reserve(ctx, c)
			if err != nil {
				return loops.Verdict{}, err
			}
			return loops.Verdict{Met: e.Output == "good", Reason: "judged"}, e.Meter.Settle(ctx, g, used(100, 10, 450), nil)
		})
		menu := loops.Parts{Stops: map[string]loops.StopCondition{loops.StopJudge: judge}, Models: book{"fast": "test/j"}}
		w := liveWith(t, loopstest.NewMemory(), menu, nil)
		out, err := w.Start(t.Context(), loops.StartRequest{Spec: loops.Spec{Goal: "g", Until: &loops.Until{All: []loops.Condition{{Kind: loops.StopJudge, Question: "good?"}}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, output := range []string{"bad", "good"} {
			s := w.attention(out.ID, loops.YourTurn)
			w.do(out.ID, loops.Request{Action: loops.Submit, AttentionID: s.Attention.ID, Output: output})
		}
		s := w.settled(out.ID, loops.Completed, loops.GoalJudge)
		if s.Ledger.CostUSD != 900 || s.ByModel[0].Role != loops.RoleJudge || s.ByModel[0].Calls != 2 {
			t.Errorf("spent %s, rows %+v", s.Ledger.CostUSD, s.ByModel)
		}
	})
}
