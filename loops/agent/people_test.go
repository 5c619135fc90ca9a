package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

func TestQuestionIsAskedAfterTheOtherCallsAndAnsweredInTheNextStart(t *testing.T) {
	asks := loopstest.Uses(loopstest.Use("ask", `{"question":"Red or blue?"}`), loopstest.Use("finish", `{"result":"ok"}`),
		loopstest.Use("files__read", "{}"), loopstest.Use("ask", `{"question":"How large?"}`))
	story(t, replies(asks, finish("ok, blue")), func(w *world) {
		id := w.start(nil)
		w.asked(id, loops.AttentionQuestion, "1. Red or blue?\n2. How large?")
		if len(w.box.runs()) != 1 {
			w.t.Errorf("ran %v before the question", w.box.runs())
		}
		w.do(id, loops.Request{Action: loops.AnswerIt, Message: "blue, please"})
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		has(w.t, w.request(2), "result of ask (error false): A person answered:", "blue, please", "result of finish (error true): Not finished: you asked a person")
		if n := strings.Count(w.request(2), "blue, please"); n != 2 {
			w.t.Errorf("the answer is there %d times, want one for each question", n)
		}
		if s.Ledger.Starts != 2 || len(w.model.Requests()) != 2 || len(w.box.runs()) != 1 {
			w.t.Errorf("%d starts, %d calls, ran %v", s.Ledger.Starts, len(w.model.Requests()), w.box.runs())
		}
	})
}

func TestQuestionThatNobodyAnsweredIsAskedAgain(t *testing.T) {
	story(t, replies(use("ask", `{"question":"Red or blue?"}`), finish("ok")), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.AnswerTimeout = loops.Duration(time.Hour) })
		w.settled(id, loops.Blocked, loops.BlockedNoAnswer)
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.asked(id, loops.AttentionQuestion, "Red or blue?")
		w.do(id, loops.Request{Action: loops.AnswerIt, Message: "red"})
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if len(w.model.Requests()) != 2 {
			w.t.Errorf("%d calls of the model", len(w.model.Requests()))
		}
	})
}

func TestToolThatNeedsApproval(t *testing.T) {
	for _, test := range []struct {
		action loops.Action
		ran    int
		want   string
	}{
		{loops.Approve, 1, "result of files__delete (error false): Data from the tool"},
		{loops.Deny, 0, "result of files__delete (error true): Not called: a person did not allow it."},
	} {
		t.Run(string(test.action), func(t *testing.T) {
			two := loopstest.Uses(loopstest.Use("files__delete", `{"path":"a"}`), loopstest.Use("files__delete", `{"path":"b"}`))
			story(t, replies(two, finish("ok")), func(w *world) {
				id := w.start(nil)
				w.asked(id, loops.AttentionApproval, "The agent wants to call files__delete (destructive, says its server) with\n{\"path\":\"a\"}")
				w.do(id, loops.Request{Action: test.action, Message: "not that one"})
				w.asked(id, loops.AttentionApproval, `{"path":"b"}`) // each call by itself
				w.do(id, loops.Request{Action: loops.Deny, Message: "nor this"})
				w.settled(id, loops.Completed, loops.GoalPredicate)
				if len(w.box.runs()) != test.ran || len(w.model.Requests()) != 2 {
					w.t.Errorf("ran %v, %d calls of the model", w.box.runs(), len(w.model.Requests()))
				}
				has(w.t, w.request(2), test.want, "nor this")
				if test.action == loops.Deny {
					has(w.t, w.request(2), "not that one")
				}
			})
		})
	}
}

// TestTheSameWordsTwice are two decisions, and guidance twice.
func TestTheSameWordsTwice(t *testing.T) {
	two := loopstest.Uses(loopstest.Use("files__delete", `{"path":"a"}`), loopstest.Use("files__delete", `{"path":"b"}`))
	slow := use("files__read", "{}")
	slow.Takes = time.Minute
	story(t, replies(two, slow, slow, finish("ok")), func(w *world) {
		id := w.start(nil)
		for range 2 {
			w.do(id, loops.Request{Action: loops.Approve, AttentionID: w.asked(id, loops.AttentionApproval, "files__delete").ID})
		}
		for range 2 {
			time.Sleep(30 * time.Second)
			w.do(id, loops.Request{Action: loops.SteerIt, Message: "hurry"})
			time.Sleep(30 * time.Second)
		}
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if runs := w.box.runs(); len(runs) != 4 || strings.Count(w.request(4), "hurry") != 2 {
			w.t.Errorf("ran %v; the last call was shown\n%s", runs, w.request(4))
		}
	})
}

func TestSteeringInTheMiddleOfAPassIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		slow := use("files__read", "{}")
		slow.Wait = gate
		m, b, store := loopstest.NewModel(model.Info{Price: price()}, slow, loopstest.Breaks(model.ServerError), use("files__read", "{}"), finish("ok")), &box{tools: usualTools()}, loopstest.NewMemory()
		w := live(t, store, partsOf(b, m))
		w.model = m
		id := w.start(nil)
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.SteerIt, Message: "use the blue one"})
		close(gate)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		for n, want := range []int{0, 1, 1, 1} {
			if got := strings.Count(w.request(n+1), "use the blue one"); got != want {
				t.Errorf("call %d shows the guidance %d times, want %d:\n%s", n+1, got, want, w.request(n+1))
			}
		}
	})
}

// TestGuidanceComesAgainWithARepeatedStart and is told once; what came meanwhile
// is told too, although that start has had its answer.
func TestGuidanceComesAgainWithARepeatedStart(t *testing.T) {
	first := use("files__read", "{}")
	first.Takes = time.Minute
	story(t, replies(first, use("files__write", "{}"), finish("ok")), func(w *world) {
		w.box.run = func(context.Context, string, json.RawMessage) (agent.Outcome, error) {
			if len(w.box.runs()) == 2 {
				return agent.Outcome{}, fmt.Errorf("%w: no connection", agent.ErrNotSent)
			}
			return agent.Outcome{Text: "done"}, nil
		}
		id := w.start(func(s *loops.Spec) {
			s.Retry.Initial = loops.Duration(time.Hour)
			s.Retry.Max = loops.Duration(time.Hour)
		})
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.SteerIt, Message: "use the blue one"})
		time.Sleep(10 * time.Minute) // the second start waits for the tool's server
		w.do(id, loops.Request{Action: loops.SteerIt, Message: "and a red one"})
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		last := w.request(3)
		if strings.Count(last, "use the blue one") != 1 || strings.Count(last, "and a red one") != 1 || s.Ledger.Starts != 4 || len(w.model.Requests()) != 3 {
			w.t.Errorf("%d starts, %d calls; the last one was shown\n%s", s.Ledger.Starts, len(w.model.Requests()), last)
		}
	})
}

// TestGuidanceForAPassThatEndsIsToldInTheNextOne: the start that had it made no
// more call.
func TestGuidanceForAPassThatEndsIsToldInTheNextOne(t *testing.T) {
	both := loopstest.Uses(loopstest.Use("files__write", "{}"), loopstest.Use("finish", `{"result":"no"}`))
	story(t, replies(both, finish("ok")), func(w *world) {
		w.box.run = func(context.Context, string, json.RawMessage) (agent.Outcome, error) {
			if len(w.box.runs()) == 1 {
				return agent.Outcome{}, fmt.Errorf("%w: no connection", agent.ErrNotSent)
			}
			return agent.Outcome{Text: "done"}, nil
		}
		id := w.start(func(s *loops.Spec) { s.Retry.Initial = loops.Duration(time.Hour) })
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.SteerIt, Message: "use the blue one"})
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if got := w.request(2); len(w.model.Requests()) != 2 || strings.Count(got, "use the blue one") != 1 {
			w.t.Errorf("%d calls; the last one was shown\n%s", len(w.model.Requests()), got)
		}
	})
}
