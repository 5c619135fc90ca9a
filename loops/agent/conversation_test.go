package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

// said is the transcript of a loop, one line an utterance, texts folded.
func (w *world) said(id loops.ID, from int) string {
	w.t.Helper()
	var b strings.Builder
	for u, err := range w.Transcript(w.t.Context(), id, from) {
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d %s %s: %s\n", u.Iteration, u.Role, u.Tool, strings.Join(strings.Fields(u.Text), " "))
	}
	return b.String()
}

func TestTranscriptIsTheConversationOfEachIteration(t *testing.T) {
	two := loopstest.Uses(loopstest.Use("files__read", `{"path":"a"}`), loopstest.Use("files__write", `{"path":"b"}`))
	story(t, replies(two, finish("a draft"), loopstest.Says("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		all := w.said(id, 1)
		has(w.t, all, "1 user : Goal:", "say ok", "Context:", "be brief",
			`1 assistant files__read: {"path":"a"}`, `1 assistant files__write: {"path":"b"}`, "1 tool files__read: Data from the tool", "> did files__read <", "1 tool files__write: ", "> did files__write <",
			`2 assistant finish: {"result":"a draft"}`, "2 verdict contains: not met: looked for ok say ok",
			"3 user : The result that you handed in last:", "a draft", "3 assistant : ok", "3 verdict contains: met: looked for ok")
		for _, once := range []string{`{"path":"a"}`, "did files__write", "Goal:"} {
			if n := strings.Count(all, once); n != 1 {
				w.t.Errorf("%q is there %d times:\n%s", once, n, all)
			}
		}
		later := w.said(id, 2)
		if !strings.HasSuffix(all, later) || strings.Contains(later, "files__read:") {
			w.t.Errorf("from iteration 2 it is not the end of the whole:\n%s\nwhole:\n%s", later, all)
		}
	})
}

// A conversation that was replaced by its summary is told once.
func TestTranscriptGoesOnAfterACompaction(t *testing.T) {
	long := strings.Repeat("a long result ", 700)
	var steps []loopstest.Reply
	for range 3 {
		steps = append(steps, use("files__read", "{}"))
	}
	steps = append(steps, loopstest.Says("## State: read thrice"), finish("ok"))
	storyWith(t, model.Info{Price: price(), ContextWindow: 12_000}, steps, func(w *world) {
		n := 0
		w.box.run = resultsOf(func() string { n++; return fmt.Sprintf("%d %s", n, long) })
		id := w.start(func(s *loops.Spec) { s.Body.History = loops.HistoryAll })
		w.settled(id, loops.Completed, loops.GoalPredicate)
		all := w.said(id, 1)
		has(w.t, all, "read thrice", `assistant finish: {"result":"ok"}`)
		for i := 1; i <= 3; i++ {
			if got := strings.Count(all, fmt.Sprintf("> %d a long", i)); got != 1 {
				w.t.Errorf("result %d is there %d times", i, got)
			}
		}
	})
}

func resultsOf(text func() string) func(context.Context, string, json.RawMessage) (agent.Outcome, error) {
	return func(context.Context, string, json.RawMessage) (agent.Outcome, error) {
		return agent.Outcome{Text: text()}, nil
	}
}
