package agent_test

import (
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

func (w *world) fork(r loops.ForkRequest) loops.ID {
	w.t.Helper()
	out, err := w.Fork(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("Fork: %v", err)
	}
	return out.ID
}

func TestForkOfOneConversationGoesOnWithIt(t *testing.T) {
	long := strings.Repeat("a long result ", 900) // kept beside the loop
	story(t, replies(use("files__read", `{"path":"a"}`), finish("a draft"), finish("ok"), finish("ok again")), func(w *world) {
		w.box.run = resultsOf(func() string { return long })
		id := w.start(func(s *loops.Spec) { s.Body.History = loops.HistoryAll })
		w.settled(id, loops.Completed, loops.GoalPredicate)
		fork := w.fork(loops.ForkRequest{Loop: id, Iteration: new(2), Message: "Be bold."})
		w.settled(fork, loops.Completed, loops.GoalPredicate)
		has(w.t, w.request(4), `assistant calls files__read{"path":"a"}`, "a long result", `assistant calls finish{"result":"a draft"}`,
			"say ok", "Be bold.", "[pass 1 of 10, iteration 1. Left after this turn: 49 of 50 iterations")
		if !strings.Contains(w.said(id, 1), "a long result") || strings.Contains(w.said(fork, 1), "a long result") {
			w.t.Errorf("the transcript of the fork has what was said before it:\n%.2000s", w.said(fork, 1))
		}
	})
}

// A pass that was under way goes on in the fork as its first one.
func TestForkInTheMiddleOfAPass(t *testing.T) {
	story(t, replies(finish("a draft"), use("files__read", `{"path":"a"}`), finish("ok"), finish("ok again")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		w.settled(w.fork(loops.ForkRequest{Loop: id, Iteration: new(2)}), loops.Completed, loops.GoalPredicate)
		has(w.t, w.request(4), `assistant calls files__read{"path":"a"}`, "did files__read", "The result that you handed in last:", "a draft", "[pass 1 of 10, iteration 1.")
	})
}

// A pass that ended leaves the fork what any pass has of the one before.
func TestForkAfterAPassBeginsANewOne(t *testing.T) {
	story(t, replies(use("note", `{"text":"the key is 42"}`), finish("a draft"), finish("ok"), finish("ok again")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		w.settled(w.fork(loops.ForkRequest{Loop: id, Iteration: new(2), Goal: "say ok politely"}), loops.Completed, loops.GoalPredicate)
		has(w.t, w.request(4), "say ok politely", "Your note, carried over:", "the key is 42", "The result that you handed in last:", "a draft", "What the last attempt came to.")
		hasNot(w.t, w.request(4), "assistant calls")
	})
}

// A tool that waits for approval is asked for again, of the fork.
func TestForkOfALoopThatAsksForApproval(t *testing.T) {
	story(t, replies(use("files__delete", `{"path":"a"}`), finish("ok"), finish("ok again")), func(w *world) {
		id := w.start(nil)
		w.asked(id, loops.AttentionApproval, "files__delete")
		fork := w.fork(loops.ForkRequest{Loop: id})
		a := w.asked(fork, loops.AttentionApproval, "files__delete")
		w.do(fork, loops.Request{Action: loops.Approve, AttentionID: a.ID})
		w.settled(fork, loops.Completed, loops.GoalPredicate)
		if ran := w.box.runs(); len(ran) != 1 {
			w.t.Errorf("ran %q", ran)
		}
		w.asked(id, loops.AttentionApproval, "files__delete")
	})
}

// Another model goes on with the same conversation; another kind of body does not
// get an agent's memory.
func TestForkToAnotherBody(t *testing.T) {
	story(t, replies(use("note", `{"text":"the key is 42"}`), finish("ok"), finish("ok again")), func(w *world) {
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		other := s.Origin.Spec.Body
		other.Model, other.System = "other", "Speak French."
		w.settled(w.fork(loops.ForkRequest{Loop: id, Body: &other}), loops.Completed, loops.GoalPredicate)
		has(w.t, w.request(3), "the key is 42")
		out, err := w.Fork(w.t.Context(), loops.ForkRequest{Loop: id, Body: &loops.BodySpec{Kind: loops.BodyClient}})
		if err != nil || out.Memory != nil || !strings.Contains(strings.Join(out.Warnings, "; "), "not handed to another kind of body") {
			w.t.Errorf("a client is given %s, warnings %q, %v", out.Memory, out.Warnings, err)
		}
	})
}
