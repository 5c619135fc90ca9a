package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// do is a step that is a function.
func do(f func(ctx context.Context, turn loops.Turn) (loops.Result, error)) loopstest.Step {
	return loopstest.Step{Do: f}
}

// TestBodiesInCode has a row for each row of CONTRACT §9: what DagNats and
// Go Micro offer, and what it is here.
func TestBodiesInCode(t *testing.T) {
	for _, row := range []struct {
		theirs string
		spec   func(*loops.Spec)
		body   []loopstest.Step
		tell   func(w *world, id loops.ID)
	}{
		{theirs: "w.Handle(name, func)", body: []loopstest.Step{do(func(_ context.Context, turn loops.Turn) (loops.Result, error) {
			return loops.Result{Output: "ok: " + turn.Goal, Done: true}, nil
		})}, tell: func(w *world, id loops.ID) {
			if s := w.settled(id, loops.Completed, loops.GoalPredicate); s.Output.Text != "ok: say ok" {
				w.t.Errorf("output %q", s.Output.Text)
			}
		}},
		{theirs: "Continue, Complete", body: []loopstest.Step{
			{Result: loops.Result{Output: "1", Memory: json.RawMessage("1")}}, {Result: loops.Result{Output: "ok", Memory: json.RawMessage("2"), Done: true}},
		}, tell: func(w *world, id loops.ID) {
			s := w.settled(id, loops.Completed, loops.GoalPredicate)
			w.ledger(s, "2 starts, 2 iterations, 1 passes, 0 failures")
			if turn := w.body.Turns()[1]; string(turn.Memory) != "1" || turn.Output != "1" || string(s.Memory) != "2" {
				w.t.Errorf("memory %s, output %q, then memory %s", turn.Memory, turn.Output, s.Memory)
			}
		}},
		{theirs: "Fail(err)", body: []loopstest.Step{loopstest.Fails(errors.New("flaky")), loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "2 starts, 2 iterations, 1 passes, 0 failures")
		}},
		{theirs: "a permanent failure", body: []loopstest.Step{loopstest.Fails(fmt.Errorf("login: %w", loops.Permanent(errors.New("no such user"))))}, tell: func(w *world, id loops.ID) {
			if s := w.settled(id, loops.Failed, loops.FailBody); s.Stop.Detail != "login: no such user" || s.Ledger.Starts != 1 {
				w.t.Errorf("%s after %d starts", s.Stop.Detail, s.Ledger.Starts)
			}
		}},
		{theirs: "retry after", body: []loopstest.Step{loopstest.Fails(loops.Transient(errors.New("429"), 20*time.Minute)), loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			began := time.Now()
			w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "2 starts, 1 iterations, 1 passes, 0 failures")
			if took := time.Since(began); took != 20*time.Minute {
				w.t.Errorf("went on after %s", took)
			}
		}},
		{theirs: "Checkpoint, LoadCheckpoint", body: []loopstest.Step{
			do(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
				if err := turn.Save(ctx, json.RawMessage(`{"page":7}`)); err != nil {
					return loops.Result{}, err
				}
				return loops.Result{}, loops.Transient(errors.New("busy"), 0)
			}), loopstest.Done("ok"),
		}, tell: func(w *world, id loops.ID) {
			w.settled(id, loops.Completed, loops.GoalPredicate)
			if got := string(w.body.Turns()[1].Memory); got != `{"page":7}` {
				w.t.Errorf("the repeated start has memory %s", got)
			}
		}},
		{theirs: "PutStream, Heartbeat", body: []loopstest.Step{do(func(_ context.Context, turn loops.Turn) (loops.Result, error) {
			turn.Emit(loops.Live{Text: "thinking", Tool: "grep"})
			time.Sleep(time.Minute)
			return loops.Result{Output: "ok", Done: true}, nil
		})}, tell: func(w *world, id loops.ID) {
			time.Sleep(10 * time.Second)
			if l, heard, ok := w.Live(id); !ok || l != (loops.Live{Text: "thinking", Tool: "grep"}) || time.Since(heard) != 10*time.Second {
				w.t.Errorf("live %+v, silent for %s, %t", l, time.Since(heard), ok)
			}
			w.settled(id, loops.Completed, loops.GoalPredicate)
		}},
		{theirs: "WaitForSignal", body: []loopstest.Step{{Result: loops.Result{Ask: &loops.Ask{Prompt: "which branch?"}}}, loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			s := w.attention(id, loops.NeedsInput)
			w.do(id, loops.Request{Action: loops.AnswerIt, AttentionID: s.Attention.ID, Message: "main"})
			w.settled(id, loops.Completed, loops.GoalPredicate)
			if got := w.body.Turns()[1].Answer; got != "main" {
				w.t.Errorf("answer %q", got)
			}
		}},
		{theirs: "an approval step", body: []loopstest.Step{{Result: loops.Result{Ask: &loops.Ask{Approval: true, Prompt: "deploy?"}}}, loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			s := w.attention(id, loops.NeedsInput)
			w.do(id, loops.Request{Action: loops.Deny, AttentionID: s.Attention.ID, Message: "not on Friday", By: "person"})
			w.settled(id, loops.Completed, loops.GoalPredicate)
			if got := w.body.Turns()[1].Answer; got != "denied by person: not on Friday" {
				w.t.Errorf("answer %q", got)
			}
		}},
		{theirs: "MaxIterations", spec: func(s *loops.Spec) { s.Limits.MaxIterations = 2 }, body: []loopstest.Step{loopstest.More("x")}, tell: func(w *world, id loops.ID) {
			w.ledger(w.settled(id, loops.Capped, loops.CapIterations), "2 starts, 2 iterations, 0 passes, 0 failures")
		}},
		{theirs: "MaxDuration", spec: func(s *loops.Spec) { s.Limits.MaxDuration = loops.Duration(time.Minute) }, body: []loopstest.Step{{Takes: 40 * time.Second, Result: loops.Result{Output: "x"}}}, tell: func(w *world, id loops.ID) {
			if s := w.settled(id, loops.Capped, loops.CapDuration); s.Output.Text != "x" || s.Iteration != 1 {
				w.t.Errorf("output %q of iteration %d", s.Output.Text, s.Iteration)
			}
		}},
		{theirs: "Timeout and a retry policy", spec: func(s *loops.Spec) {
			s.Limits.IterationTimeout, s.Retry = loops.Duration(time.Second), loops.Retry{MaxAttempts: 2, Initial: loops.Duration(time.Minute)}
		}, body: []loopstest.Step{{Takes: time.Hour}, {Takes: time.Hour}, loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "3 starts, 2 iterations, 1 passes, 0 failures")
		}},
		{theirs: "LoopDelay", spec: func(s *loops.Spec) { s.Delay = loops.Duration(time.Minute) }, body: []loopstest.Step{loopstest.Done("no"), loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			began := time.Now()
			w.settled(id, loops.Completed, loops.GoalPredicate)
			if took := time.Since(began); took != time.Minute {
				w.t.Errorf("took %s", took)
			}
		}},
		{theirs: "FlowUntil(func) or a judge, either fires", spec: func(s *loops.Spec) {
			s.Until = &loops.Until{Any: []loops.Condition{{Kind: loops.StopPredicate, Expression: "never"}, {Kind: "contains"}}}
		}, body: []loopstest.Step{loopstest.Done("no"), loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "2 starts, 2 iterations, 2 passes, 0 failures")
		}},
		{theirs: "FlowLoopMax returns the latest state", spec: func(s *loops.Spec) { s.Limits.MaxPasses = 2 }, body: []loopstest.Step{loopstest.Done("first"), {Result: loops.Result{Output: "latest", Memory: json.RawMessage("2"), Done: true}}}, tell: func(w *world, id loops.ID) {
			s := w.settled(id, loops.Capped, loops.CapPasses)
			if s.Output.Text != "latest" || string(s.Memory) != "2" || s.Verdict == nil || s.Verdict.Met {
				w.t.Errorf("output %q, memory %s, verdict %+v", s.Output.Text, s.Memory, s.Verdict)
			}
		}},
		{theirs: "FlowOnIteration", body: []loopstest.Step{loopstest.More("a"), loopstest.Done("ok")}, tell: func(w *world, id loops.ID) {
			w.settled(id, loops.Completed, loops.GoalPredicate)
			if fmt.Sprint(w.seen()) != "[1 a 2 ok]" {
				w.t.Errorf("seen %v", w.seen())
			}
		}},
	} {
		t.Run(row.theirs, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				seen := []string{}
				menu := parts(loopstest.Script(row.body...))
				menu.Stops[loops.StopPredicate] = loops.StopFunc(func(context.Context, loops.Evidence) (loops.Verdict, error) { return loops.Verdict{}, nil })
				w := liveWith(t, loopstest.NewMemory(), menu, &loops.Options{OnIteration: func(_ loops.State, it loops.Iteration) {
					mu.Lock()
					defer mu.Unlock()
					seen = append(seen, fmt.Sprint(it.Iteration), it.Output.Text)
				}})
				id := w.start(row.spec)
				w.seen = func() []string {
					mu.Lock()
					defer mu.Unlock()
					return slices.Clone(seen)
				}
				row.tell(w, id)
			})
		})
	}
}

// TestProbes are the failures that were measured in other loop engines, told as
// a user sees them.
func TestProbes(t *testing.T) {
	t.Run("the cap counts starts across retry, crash and resume", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := loopstest.NewMemory()
			first := live(t, store, loopstest.Script(loopstest.Fails(loops.Transient(errors.New("busy"), 0)), loopstest.Step{Takes: time.Hour}), nil)
			id := first.start(func(s *loops.Spec) { s.Limits.MaxIterations = 4 })
			time.Sleep(time.Minute)
			store.Kill("runner-1")
			first.stop()
			second := live(t, store.As("runner-2"), loopstest.Script(loopstest.Step{Result: loops.Result{Ask: &loops.Ask{Prompt: "?"}}}, loopstest.Done("no")), nil)
			s := second.attention(id, loops.NeedsInput)
			second.do(id, loops.Request{Action: loops.PauseIt})
			second.do(id, loops.Request{Action: loops.ResumeIt})
			second.do(id, loops.Request{Action: loops.AnswerIt, AttentionID: s.Attention.ID, Message: "yes"})
			second.ledger(second.settled(id, loops.Capped, loops.CapIterations), "4 starts, 2 iterations, 1 passes, 0 failures")
		})
	})
	t.Run("a time limit fires on its own clock and keeps the last good state", func(t *testing.T) {
		story(t, loopstest.Script(loopstest.More("good"), loopstest.Step{Takes: 90 * time.Minute, Deaf: true}), func(w *world) {
			began := time.Now()
			s := w.settled(w.start(func(s *loops.Spec) { s.Limits.MaxActive, s.Limits.IterationTimeout = hour(1), hour(5) }), loops.Capped, loops.CapActive)
			if took := time.Since(began); took != time.Hour+5*time.Second || s.Output.Text != "good" {
				w.t.Errorf("after %s with output %q", took, s.Output.Text)
			}
			time.Sleep(time.Hour)
		})
	})
	t.Run("terminal means terminal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			late := make(chan struct{})
			body := loopstest.Script(loopstest.Step{Wait: late, Deaf: true, Result: loops.Result{Output: "late", Done: true}})
			w := live(t, loopstest.NewMemory(), body, nil)
			id := w.start(nil)
			synctest.Wait()
			w.do(id, loops.Request{Action: loops.CancelIt})
			s := w.settled(id, loops.Cancelled, loops.CancelClient)
			close(late)
			time.Sleep(time.Hour)
			if again, _ := w.Get(t.Context(), id); again.Rev != s.Rev {
				t.Errorf("changed after its end: %s", again.Summary())
			}
		})
	})
	t.Run("a cancel is recorded although the caller is gone", func(t *testing.T) {
		story(t, loopstest.Script(loopstest.Step{Takes: time.Hour}), func(w *world) {
			id := w.start(nil)
			synctest.Wait()
			ctx, cancel := context.WithCancel(w.t.Context())
			if _, err := w.Do(ctx, id, loops.Request{Action: loops.CancelIt}); err != nil {
				w.t.Fatal(err)
			}
			cancel()
			w.settled(id, loops.Cancelled, loops.CancelClient)
		})
	})
	t.Run("two failures within five seconds are both seen", func(t *testing.T) {
		story(t, loopstest.Script(loopstest.Fails(errors.New("one")), loopstest.Fails(errors.New("two")), loopstest.Done("ok")), func(w *world) {
			id := w.start(nil)
			w.settled(id, loops.Completed, loops.GoalPredicate)
			if got := w.journal(id); got != "one,two,ok" {
				w.t.Errorf("iterations %s", got)
			}
		})
	})
	t.Run("a worker that says VERDICT: DONE is stalled, never completed", func(t *testing.T) {
		story(t, loopstest.Script(loopstest.Done("VERDICT: DONE, all criteria met")), func(w *world) {
			id := w.start(func(s *loops.Spec) { s.Stall = &loops.Stall{Passes: 3}; s.Limits.MaxPasses = 50 })
			s := w.settled(id, loops.Stalled, loops.StallRepeatedOutput)
			w.ledger(s, "6 starts, 6 iterations, 6 passes, 0 failures")
			if n := strings.Count(w.events(id), "nudge"); n != 1 {
				w.t.Errorf("%d nudges", n)
			}
			if f := w.body.Turns()[3].Feedback; !strings.HasPrefix(f, "The last 3 passes handed in the same output. Try a different approach") {
				w.t.Errorf("feedback after three passes: %q", f)
			}
			w.do(id, loops.Request{Action: loops.SteerIt, Message: "say ok"})
			if got := w.settled(id, loops.Stalled, loops.StallRepeatedOutput); got.Ledger.Passes != 12 {
				w.t.Errorf("after steering: %d passes", got.Ledger.Passes)
			}
		})
	})
	t.Run("a long healthy exploration is not stalled", func(t *testing.T) {
		steps := []loopstest.Step{}
		for range 12 {
			steps = append(steps, loopstest.More("reading"))
		}
		story(t, loopstest.Script(append(steps, loopstest.Done("ok"))...), func(w *world) {
			w.settled(w.start(func(s *loops.Spec) { s.Stall = &loops.Stall{Passes: 2} }), loops.Completed, loops.GoalPredicate)
		})
	})
	t.Run("a rate limit charges no pass", func(t *testing.T) {
		story(t, loopstest.Script(loopstest.Fails(loops.Transient(errors.New("429"), time.Hour)), loopstest.Done("ok")), func(w *world) {
			id := w.start(func(s *loops.Spec) { s.Limits.MaxPasses = 1; s.Limits.MaxIterations = 2; s.Limits.MaxFailures = 1 })
			synctest.Wait()
			if s, _ := w.Get(w.t.Context(), id); s.Status != loops.Waiting || s.Ledger.Passes != 0 || s.Ledger.Failures != 0 {
				w.t.Errorf("%s, %s", s.Status, ledger(s))
			}
			w.settled(id, loops.Completed, loops.GoalPredicate)
		})
	})
	t.Run("a paused loop is not restarted by a reboot", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := loopstest.NewMemory()
			first := live(t, store, loopstest.Script(loopstest.Step{Takes: time.Minute, Result: loops.Result{Output: "a"}}), nil)
			id := first.start(nil)
			synctest.Wait()
			first.do(id, loops.Request{Action: loops.PauseIt})
			store.Kill("runner-1") // before the pause is reached
			first.stop()
			body := loopstest.Script(loopstest.Done("ok"))
			second := live(t, store.As("runner-2"), body, nil)
			time.Sleep(100 * time.Hour)
			if s, _ := second.Get(t.Context(), id); s.Status != loops.Paused || len(body.Turns()) != 0 {
				t.Fatalf("%s, %d runs of the body", s.Status, len(body.Turns()))
			}
			second.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxDuration: hour(500)}})
			second.do(id, loops.Request{Action: loops.ResumeIt})
			second.ledger(second.settled(id, loops.Completed, loops.GoalPredicate), "2 starts, 1 iterations, 1 passes, 0 failures")
		})
	})
	t.Run("a broken record is shown and keeps nobody from working", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := loopstest.NewMemory()
			body := loopstest.Script(loopstest.Done("ok"))
			broken := prepare(t, store, body, nil)
			w := live(t, damagedStore{store, broken}, body, nil)
			w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
			s, err := w.Get(t.Context(), broken)
			if err != nil || s.Status != loops.Failed || s.Stop.Reason != loops.FailQuarantined || s.Stop.Resumable || len(s.Stop.Actions) == 0 {
				t.Errorf("%v: %+v", err, s.Stop)
			}
			if l, err := w.History(t.Context(), broken); err != nil || l.Stop == nil {
				t.Errorf("history: %v", err)
			}
			w.refused(broken, loops.Request{Action: loops.ResumeIt}, "quarantined: "+string(broken)+" can't be moved")
			if out := w.do(broken, loops.Request{Action: loops.CancelIt}); !out.AlreadySettled {
				t.Error("a cancel of it is not already settled")
			}
		})
	})
	t.Run("steering a loop that has just completed says so", func(t *testing.T) {
		story(t, loopstest.Script(loopstest.Done("ok")), func(w *world) {
			id := w.start(nil)
			w.settled(id, loops.Completed, loops.GoalPredicate)
			w.refused(id, loops.Request{Action: loops.SteerIt, Message: "x"},
				"wrong_status: "+string(id)+" is completed (goal.predicate), which does not allow steer; what works now: reopen")
		})
	})
}

// damagedStore can't read one loop.
type damagedStore struct {
	*loopstest.Memory
	broken loops.ID
}

func (s damagedStore) Load(ctx context.Context, id loops.ID) (loops.State, error) {
	if id == s.broken {
		return loops.State{}, fmt.Errorf("load %s: checksum: %w", id, loops.ErrDamaged)
	}
	return s.Memory.Load(ctx, id)
}
