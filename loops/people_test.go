package loops_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func humans(questions ...string) func(*loops.Spec) {
	return func(s *loops.Spec) {
		s.Until.All = nil
		for _, q := range questions {
			s.Until.All = append(s.Until.All, loops.Condition{Kind: loops.StopHuman, Question: q})
		}
	}
}

// TestAPersonDecides: a denial's message is the next feedback, an approval ends
// the loop, and an old decision does not count for new work.
func TestAPersonDecides(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("draft"), loopstest.Done("final")), func(w *world) {
		id := w.start(humans("Is {{ output }} of iteration {{ iteration }} good enough?"))
		first := w.attention(id, loops.NeedsInput)
		if first.Attention.Prompt != "Is draft of iteration 1 good enough?" {
			w.t.Errorf("asked %q", first.Attention.Prompt)
		}
		w.do(id, loops.Request{Action: loops.Deny, AttentionID: first.Attention.ID, Message: "too short", By: "person"})
		time.Sleep(time.Second)
		second := w.attention(id, loops.NeedsInput)
		w.refused(id, loops.Request{Action: loops.Approve, AttentionID: first.Attention.ID}, "stale_attention")
		w.do(id, loops.Request{Action: loops.Approve, AttentionID: second.Attention.ID, By: "person"})
		s := w.settled(id, loops.Completed, loops.GoalHuman)
		if s.Stop.DecidedBy != loops.StopHuman || s.Stop.Detail != "approved by person" || s.Output.Text != "final" {
			w.t.Errorf("stop %+v, output %q", s.Stop, s.Output.Text)
		}
		if f := w.body.Turns()[1].Feedback; f != "too short" {
			w.t.Errorf("feedback %q", f)
		}
		w.ledger(s, "2 starts, 2 iterations, 2 passes, 0 failures")
	})
}

// TestSeveralPeopleAreAskedInTurn, and only when nothing cheaper has decided.
func TestSeveralPeopleAreAskedInTurn(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("no"), loopstest.Done("ok")), func(w *world) {
		id := w.start(func(s *loops.Spec) {
			s.Until.All = append(s.Until.All, loops.Condition{Kind: loops.StopHuman, Question: "Law?"}, loops.Condition{Kind: loops.StopHuman, Question: "Design?"})
		})
		for _, question := range []string{"Law?", "Design?"} {
			s := w.attention(id, loops.NeedsInput)
			if s.Attention.Prompt != question || s.Iteration != 2 {
				w.t.Fatalf("asked %q after iteration %d", s.Attention.Prompt, s.Iteration)
			}
			w.do(id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID})
		}
		w.settled(id, loops.Completed, loops.GoalHuman)
	})
}

func TestOneOfTwoPeopleIsEnough(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("x")), func(w *world) {
		id := w.start(func(s *loops.Spec) {
			s.Until = &loops.Until{Any: []loops.Condition{{Kind: loops.StopHuman, Question: "A?"}, {Kind: loops.StopHuman, Question: "B?"}}}
		})
		w.do(id, loops.Request{Action: loops.Deny, AttentionID: w.attention(id, loops.NeedsInput).Attention.ID})
		s := w.attention(id, loops.NeedsInput)
		if s.Attention.Prompt != "B?" {
			w.t.Fatalf("asked %q", s.Attention.Prompt)
		}
		w.do(id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID})
		w.ledger(w.settled(id, loops.Completed, loops.GoalHuman), "1 starts, 1 iterations, 1 passes, 0 failures")
	})
}

// TestAQuestionIsAnsweredInTheNextTurn, once.
func TestAQuestionIsAnsweredInTheNextTurn(t *testing.T) {
	ask := loopstest.Step{Result: loops.Result{Output: "need a colour", Done: true, Ask: &loops.Ask{Prompt: "Which colour?"}}}
	story(t, loopstest.Script(ask, loopstest.More("painting"), loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		s := w.attention(id, loops.NeedsInput)
		if s.Attention.Kind != loops.AttentionQuestion || s.Attention.Prompt != "Which colour?" || s.Ledger.Passes != 0 {
			w.t.Fatalf("attention %+v, %s", s.Attention, ledger(s))
		}
		time.Sleep(5 * time.Hour)
		w.do(id, loops.Request{Action: loops.AnswerIt, AttentionID: s.Attention.ID, Message: "blue"})
		s = w.settled(id, loops.Completed, loops.GoalPredicate)
		turns := w.body.Turns()
		if turns[1].Answer != "blue" || !strings.Contains(turns[1].Prompt, "blue") || turns[2].Answer != "" {
			w.t.Errorf("answers %q, %q", turns[1].Answer, turns[2].Answer)
		}
		if l, _ := w.History(w.t.Context(), id); l.Iterations[0].Done {
			w.t.Error("an iteration that asks is recorded as done")
		}
		if s.Ledger.ActiveSeconds != 0 {
			w.t.Errorf("%v s of waiting for a person count as work", s.Ledger.ActiveSeconds)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("x")), func(w *world) {
		id := w.start(func(s *loops.Spec) { humans("Good?")(s); s.AnswerTimeout = hour(2) })
		began := time.Now()
		s := w.settled(id, loops.Blocked, loops.BlockedNoAnswer)
		if took := time.Since(began); took != 2*time.Hour {
			w.t.Errorf("blocked after %s", took)
		}
		w.do(id, loops.Request{Action: loops.ResumeIt})
		synctest.Wait()
		again := w.attention(id, loops.NeedsInput)
		w.do(id, loops.Request{Action: loops.Approve, AttentionID: again.Attention.ID})
		w.ledger(w.settled(id, loops.Completed, loops.GoalHuman), "1 starts, 1 iterations, 1 passes, 0 failures")
		if again.Epoch != s.Epoch+1 {
			w.t.Errorf("epoch %d", again.Epoch)
		}
	})
}

// TestTheTimeToAnswer begins again after a pause.
func TestTheTimeToAnswerBeginsAgainAfterAPause(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("x")), func(w *world) {
		id := w.start(func(s *loops.Spec) { humans("Good?")(s); s.AnswerTimeout = hour(2) })
		w.attention(id, loops.NeedsInput)
		time.Sleep(time.Hour)
		w.do(id, loops.Request{Action: loops.PauseIt})
		time.Sleep(5 * time.Hour)
		w.do(id, loops.Request{Action: loops.ResumeIt})
		began := time.Now()
		w.settled(id, loops.Blocked, loops.BlockedNoAnswer)
		if took := time.Since(began); took != 2*time.Hour {
			w.t.Errorf("blocked %s after the pause", took)
		}
	})
}

// TestADelayCountsFromTheIteration, not from the answer to its question.
func TestADelayCountsFromTheIteration(t *testing.T) {
	ask := loopstest.Step{Result: loops.Result{Ask: &loops.Ask{Prompt: "?"}}}
	for _, test := range []struct{ answered, waits time.Duration }{{20 * time.Minute, 40 * time.Minute}, {2 * time.Hour, 0}} {
		story(t, loopstest.Script(ask, loopstest.Done("ok")), func(w *world) {
			id := w.start(func(s *loops.Spec) { s.Delay = hour(1) })
			w.attention(id, loops.NeedsInput)
			time.Sleep(test.answered)
			w.do(id, loops.Request{Action: loops.AnswerIt, Message: "yes"})
			began := time.Now()
			w.settled(id, loops.Completed, loops.GoalPredicate)
			if took := time.Since(began); took != test.waits {
				w.t.Errorf("answered after %s, went on %s later", test.answered, took)
			}
		})
	}
}

// TestOnlyAPersonApproves where the operator wants it so.
func TestOnlyAPersonApproves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.Done("x")), &loops.Options{Approvals: "person"})
		id := w.start(humans("Good?"))
		s := w.attention(id, loops.NeedsInput)
		w.refused(id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID}, "person_only")
		w.do(id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID, By: "person"})
		w.settled(id, loops.Completed, loops.GoalHuman)
	})
}

// TestAQueuedLoopSaysWhatItWaitsFor: a handler, a free worker, or a process.
func TestAQueuedLoopSaysWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		body := loopstest.Script(loopstest.Step{Takes: time.Hour, Result: loops.Result{Output: "ok", Done: true}})
		id := prepare(t, store, body, func(s *loops.Spec) { s.Limits.IterationTimeout = hour(2) })
		why := func(e *loops.Engine, id loops.ID) string {
			s, err := e.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return s.Why
		}
		if got := why(loops.New(store, parts(body), nil), id); got != "this process does not work on loops; another one has to" {
			t.Errorf("without a worker: %s", got)
		}
		if got := why(loops.New(store, loops.Parts{}, nil), id); got != `no process here serves the handler "worker"` {
			t.Errorf("without the handler: %s", got)
		}
		w := live(t, store, body, &loops.Options{Workers: 1})
		synctest.Wait()
		second := prepare(t, store, body, nil)
		synctest.Wait()
		if got := why(w.Engine, second); got != "all 1 workers of this process are busy" {
			t.Errorf("with busy workers: %s", got)
		}
		w.settled(id, loops.Completed, loops.GoalPredicate)
		w.do(second, loops.Request{Action: loops.CancelIt})
		w.settled(second, loops.Cancelled, loops.CancelClient)
	})
}
