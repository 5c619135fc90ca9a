package loops_test

import (
	"context"
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

func TestLoopRunsUntilItsConditionIsMet(t *testing.T) {
	body := loopstest.Script(loopstest.Done("draft"), loopstest.More("thinking"), loopstest.Done("ok"))
	story(t, body, func(w *world) {
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		w.ledger(s, "3 starts, 3 iterations, 2 passes, 0 failures")
		if s.Output.Text != "ok" || s.Pass != 2 || s.Iteration != 3 {
			t.Errorf("output %q, pass %d, iteration %d", s.Output.Text, s.Pass, s.Iteration)
		}
		want := "created started iteration verdict started iteration started iteration verdict settled"
		if got := w.events(id); got != want {
			t.Errorf("events %s\nwant   %s", got, want)
		}
		if f := body.Turns()[1].Feedback; f != "say ok" {
			t.Errorf("feedback of the second start: %q", f)
		}
	})
}

func TestStartIsChargedBeforeTheBodyRuns(t *testing.T) {
	store := loopstest.NewMemory()
	charged := make([]int, 0, 3)
	body := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		s, err := store.Load(ctx, turn.Loop)
		charged = append(charged, s.Ledger.Starts)
		return loops.Result{Output: "no", Done: true}, err
	}})
	synctest.Test(t, func(t *testing.T) {
		w := live(t, store, body, nil)
		id := w.start(func(s *loops.Spec) { s.Limits.MaxIterations = 3 })
		s := w.settled(id, loops.Capped, loops.CapIterations)
		if fmt.Sprint(charged) != "[1 2 3]" {
			t.Errorf("starts in the store while the body ran: %v", charged)
		}
		w.ledger(s, "3 starts, 3 iterations, 3 passes, 0 failures")
	})
}

func TestDoneOnTheLastAllowedPassIsCompleted(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("no"), loopstest.Done("ok")), func(w *world) {
		w.settled(w.start(func(s *loops.Spec) { s.Limits.MaxPasses, s.Limits.MaxIterations = 2, 2 }), loops.Completed, loops.GoalPredicate)
	})
}

func TestCappedLoopGoesOnWhenTheLimitIsRaised(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("no"), loopstest.Done("no"), loopstest.Done("ok")), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.MaxPasses = 2 })
		s := w.settled(id, loops.Capped, loops.CapPasses)
		w.refused(id, loops.Request{Action: loops.ResumeIt}, "cap_not_raised: "+string(id)+" has no room for another start: max_passes: 2 of 2 passes used; raise max_passes above 2")
		w.refused(id, loops.Request{Action: loops.Submit}, "wrong_status")
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxPasses: 3}})
		after := w.settled(id, loops.Completed, loops.GoalPredicate)
		if after.Epoch != s.Epoch+1 || after.Ledger.Starts != 3 {
			t.Errorf("epoch %d, starts %d", after.Epoch, after.Ledger.Starts)
		}
	})
}

func TestTransientFaultIsRetriedWithBackOff(t *testing.T) {
	busy := loops.Transient(errors.New("busy"), 0)
	story(t, loopstest.Script(loopstest.Fails(busy), loopstest.Fails(busy), loopstest.Done("ok")), func(w *world) {
		began := time.Now()
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		w.ledger(s, "3 starts, 1 iterations, 1 passes, 0 failures")
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %s, want back-offs of 1s and 2s", took)
		}
		if s.Ledger.ActiveSeconds != 3 {
			t.Errorf("active %v s; back-off counts", s.Ledger.ActiveSeconds)
		}
	})
}

func TestFailedIterationsInARowEndTheLoop(t *testing.T) {
	story(t, loopstest.Script(loopstest.Fails(errors.New("boom"))), func(w *world) {
		s := w.settled(w.start(nil), loops.Failed, loops.FailFailures)
		w.ledger(s, "3 starts, 3 iterations, 0 passes, 3 failures")
		if turns := w.body.Turns(); turns[1].Feedback != "boom" {
			t.Errorf("feedback %q", turns[1].Feedback)
		}
	})
}

func TestCancelReachesARunningBody(t *testing.T) {
	story(t, loopstest.Script(loopstest.Step{Takes: time.Hour}), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.IterationTimeout = loops.Duration(2 * time.Hour) })
		time.Sleep(time.Minute)
		began := time.Now()
		out := w.do(id, loops.Request{Action: loops.CancelIt, Message: "changed my mind"})
		if out.Status != loops.Cancelling {
			t.Errorf("status %s right after the cancel", out.Status)
		}
		s := w.settled(id, loops.Cancelled, loops.CancelClient)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the body ran on for %s", took)
		}
		w.ledger(s, "1 starts, 0 iterations, 0 passes, 0 failures")
		if again := w.do(id, loops.Request{Action: loops.CancelIt}); !again.AlreadySettled {
			t.Error("a second cancel does not say already settled")
		}
	})
}

func TestSteerWhileABodyRunsKeepsItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		body := loopstest.Script(loopstest.Step{Wait: gate, Result: loops.Result{Output: "first", Done: true}}, loopstest.Done("ok"))
		w := live(t, loopstest.NewMemory(), body, nil)
		id := w.start(nil)
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.SteerIt, Message: "be brief"})
		close(gate)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		w.ledger(s, "2 starts, 2 iterations, 2 passes, 0 failures")
		if got := body.Turns()[1].Steer; got != "be brief" {
			t.Errorf("steer of the second start: %q", got)
		}
		if got := w.events(id); !strings.Contains(got, "steer_applied") {
			t.Errorf("no steer_applied in %s", got)
		}
	})
}

func TestPausedLoopKeepsTheIterationAndDoesNotMoveByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		body := loopstest.Script(loopstest.Step{Wait: gate, Result: loops.Result{Output: "first", Done: true}}, loopstest.Done("ok"))
		w := live(t, loopstest.NewMemory(), body, nil)
		id := w.start(nil)
		synctest.Wait()
		if out := w.do(id, loops.Request{Action: loops.PauseIt}); out.Status != loops.Running {
			t.Errorf("status %s before the safe point", out.Status)
		}
		close(gate)
		s := w.attention(id, loops.Paused)
		w.ledger(s, "1 starts, 1 iterations, 0 passes, 0 failures")
		time.Sleep(10 * time.Hour)
		if s, _ := w.Get(t.Context(), id); s.Status != loops.Paused {
			t.Fatalf("a paused loop became %s", s.Status)
		}
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.settled(id, loops.Completed, loops.GoalPredicate)
	})
}

func TestKilledWorkerCostsOneStartAndNothingElse(t *testing.T) {
	for _, policy := range []string{loops.OnCrashRerun, loops.OnCrashAsk} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := loopstest.NewMemory()
				body := loopstest.Script(loopstest.Done("no"), loopstest.Step{Takes: time.Hour}, loopstest.Done("ok"))
				first := live(t, store, body, nil)
				id := first.start(func(s *loops.Spec) { s.Retry.OnCrash = policy })
				time.Sleep(time.Minute)
				store.Kill("runner-1")
				first.stop()
				second := live(t, store.As("runner-2"), body, nil)
				if policy == loops.OnCrashAsk {
					s := second.attention(id, loops.NeedsInput)
					second.do(id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID})
				}
				s := second.settled(id, loops.Completed, loops.GoalPredicate)
				second.ledger(s, "3 starts, 2 iterations, 2 passes, 0 failures")
			})
		})
	}
}

func TestClientWorksOnTheLoopItself(t *testing.T) {
	story(t, loopstest.Script(), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} })
		s := w.attention(id, loops.YourTurn)
		if s.Attention.ID != "it-1" || s.Ledger.Starts != 1 {
			t.Fatalf("attention %+v, %s", s.Attention, ledger(s))
		}
		w.refused(id, loops.Request{Action: loops.Submit, Output: "x"}, `attention_id: is missing; the iteration under way is "it-1"`)
		w.refused(id, loops.Request{Action: loops.Submit, AttentionID: "it-9", Output: "x"}, "stale_attention")
		out := w.do(id, loops.Request{Action: loops.Submit, AttentionID: "it-1", Output: "hm"})
		if out.Iteration != 1 {
			t.Errorf("iteration %d right after the submit", out.Iteration)
		}
		s, _, _ = w.Wait(w.t.Context(), id, out.Cursor, loops.ForAttention, time.Minute, nil)
		if s.Status != loops.YourTurn || s.Attention.ID != "it-2" || s.Feedback != "say ok" {
			t.Fatalf("status %s, attention %+v, feedback %q", s.Status, s.Attention, s.Feedback)
		}
		w.do(id, loops.Request{Action: loops.Submit, AttentionID: "it-2", Output: "ok"})
		w.settled(id, loops.Completed, loops.GoalPredicate)
	})
}

func TestLoopsRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		body := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			return loops.Result{Output: "ok", Done: true}, nil
		})
		w := live(t, loopstest.NewMemory(), body, &loops.Options{Workers: 4})
		began := time.Now()
		var ids []loops.ID
		for range 8 {
			ids = append(ids, w.start(nil))
		}
		for _, id := range ids {
			w.settled(id, loops.Completed, loops.GoalPredicate)
		}
		if took := time.Since(began); took != 2*time.Second || most.Load() != 4 {
			t.Errorf("8 loops of 1 s with 4 workers took %s, %d at once", took, most.Load())
		}
	})
}

// claimStore calls after once, when a worker's claim has been stored and the
// worker does not know it yet.
type claimStore struct {
	*loopstest.Memory
	after func()
	done  *atomic.Bool
}

func (s claimStore) Commit(ctx context.Context, next loops.State) (loops.State, error) {
	got, err := s.Memory.Commit(ctx, next)
	if err == nil && got.Claim.Token != "" && s.done.CompareAndSwap(false, true) {
		s.after()
	}
	return got, err
}

func lateClaim(m *loopstest.Memory, after func()) loops.Store {
	return claimStore{m, after, new(atomic.Bool)}
}

// A command that reports a running total keeps it beside the error; without it
// the next start would count the same tokens again.
func TestMemoryBesideAnErrorIsKept(t *testing.T) {
	kept := loops.Result{Memory: []byte(`{"total":1}`)}
	body := loopstest.Script(
		loopstest.Step{Result: kept, Err: loops.Transient(errors.New("busy"), 0)},
		loopstest.Step{Result: loops.Result{Memory: []byte(`{"total":2}`)}, Err: errors.New("boom")},
		loopstest.Done("ok"))
	story(t, body, func(w *world) {
		w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		for i, want := range []string{"", `{"total":1}`, `{"total":2}`} {
			if got := string(body.Turns()[i].Memory); got != want {
				t.Errorf("memory of start %d: %s, want %s", i+1, got, want)
			}
		}
	})
}
