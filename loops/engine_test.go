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

// world is a store with one working engine, in virtual time.
type world struct {
	*loops.Engine
	t     *testing.T
	store *loopstest.Memory
	body  *loopstest.ScriptedBody
	stop  func()          // ends the worker and waits for it
	seen  func() []string // what OnIteration told, in the tests that ask
}

// until is met when the output contains the text.
func contains(text string) loops.StopCondition {
	return loops.StopFunc(func(_ context.Context, e loops.Evidence) (loops.Verdict, error) {
		met := strings.Contains(e.Output, text)
		return loops.Verdict{Met: met, Reason: fmt.Sprintf("output contains %q: %t", text, met), Feedback: "say " + text}, nil
	})
}

func parts(body loops.Body) loops.Parts {
	return loops.Parts{Handlers: map[string]loops.Body{"worker": body}, Stops: map[string]loops.StopCondition{"contains": contains("ok")}}
}

// live starts an engine on store and works on its loops until the test ends.
func live(t *testing.T, store loops.Store, body loops.Body, opts *loops.Options) *world {
	t.Helper()
	return liveWith(t, store, parts(body), opts)
}

// liveWith is live with other parts.
func liveWith(t *testing.T, store loops.Store, menu loops.Parts, opts *loops.Options) *world {
	t.Helper()
	e := loops.New(store, menu, opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	w := &world{Engine: e, t: t}
	w.store, _ = store.(*loopstest.Memory)
	w.body, _ = menu.Handlers["worker"].(*loopstest.ScriptedBody)
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(w.stop)
	return w
}

// story runs a test in virtual time with a scripted body.
func story(t *testing.T, body *loopstest.ScriptedBody, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(live(t, loopstest.NewMemory(), body, nil)) })
}

func handlerSpec(change func(*loops.Spec)) loops.Spec {
	s := loops.Spec{Name: "story", Goal: "say ok", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"},
		Until: &loops.Until{All: []loops.Condition{{Kind: "contains"}}}}
	if change != nil {
		change(&s)
	}
	return s
}

func (w *world) start(change func(*loops.Spec)) loops.ID {
	w.t.Helper()
	out, err := w.Start(w.t.Context(), loops.StartRequest{Spec: handlerSpec(change)})
	if err != nil {
		w.t.Fatalf("Start: %v", err)
	}
	return out.ID
}

// settled waits until the loop rests and checks how it ended.
func (w *world) settled(id loops.ID, status loops.Status, reason loops.StopReason) loops.State {
	w.t.Helper()
	s, timedOut, err := w.Wait(w.t.Context(), id, 0, loops.ForSettled, 100*time.Hour, nil)
	if err != nil || timedOut {
		w.t.Fatalf("Wait: timed out %t, %v; %s", timedOut, err, s.Summary())
	}
	if s.Status != status || s.Stop.Reason != reason {
		w.t.Fatalf("ended as %s (%s): %s; want %s (%s)", s.Status, s.Stop.Reason, s.Stop.Detail, status, reason)
	}
	return s
}

func (w *world) attention(id loops.ID, status loops.Status) loops.State {
	w.t.Helper()
	s, _, err := w.Wait(w.t.Context(), id, 0, loops.ForAttention, 100*time.Hour, nil)
	if err != nil || s.Status != status {
		w.t.Fatalf("Wait: %v, status %s, want %s", err, s.Status, status)
	}
	return s
}

func (w *world) do(id loops.ID, r loops.Request) loops.Outcome {
	w.t.Helper()
	out, err := w.Do(w.t.Context(), id, r)
	if err != nil {
		w.t.Fatalf("%s: %v", r.Action, err)
	}
	return out
}

func (w *world) refused(id loops.ID, r loops.Request, want string) {
	w.t.Helper()
	_, err := w.Do(w.t.Context(), id, r)
	if err == nil || !strings.Contains(err.Error(), want) {
		w.t.Fatalf("%s: got %v, want a refusal with %q", r.Action, err, want)
	}
}

func (w *world) events(id loops.ID) string {
	w.t.Helper()
	l, err := w.History(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	var types []string
	for i, e := range l.Events {
		if e.Cursor != uint64(i+1) {
			w.t.Errorf("event %d has cursor %d", i, e.Cursor)
		}
		types = append(types, string(e.Type))
	}
	return strings.Join(types, " ")
}

func ledger(s loops.State) string {
	return fmt.Sprintf("%d starts, %d iterations, %d passes, %d failures", s.Ledger.Starts, s.Ledger.Iterations, s.Ledger.Passes, s.Ledger.Failures)
}

func (w *world) ledger(s loops.State, want string) {
	w.t.Helper()
	if got := ledger(s); got != want {
		w.t.Fatalf("ledger: %s; want %s", got, want)
	}
}

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
