package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/google/go-cmp/cmp"
)

// painter asks a question, then an approval, and says what it heard.
func painter(_ context.Context, turn loops.Turn) (loops.Result, error) {
	switch turn.Iteration {
	case 1:
		return loops.Result{Output: "one", Ask: &loops.Ask{Prompt: "Which colour?"}}, nil
	case 2:
		return loops.Result{Output: "painted " + turn.Answer, Ask: &loops.Ask{Approval: true, Prompt: "Like it?"}}, nil
	}
	return loops.Result{Output: "ok: " + turn.Answer, Done: true}, nil
}

// TestInputOfATask: what the loop asks a person is what the task asks the client; declined and
// cancelled mean that nobody is there; only a plain answer moves the loop, as a person's.
func TestInputOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loops.BodyFunc(painter), &Options{Approvals: "person"})
		c := w.taskClient(takesTasksAsks, &Options{Approvals: "person"})
		id := c.begin(fmt.Sprintf(handlerTask, ""))
		synctest.Wait()
		m := c.get(id)
		question := c.key(m)
		about, _, _ := strings.Cut(question, ".")
		state, err := w.e.Get(t.Context(), loops.ID(id))
		if err != nil || about != state.Attention.ID {
			t.Fatalf("the key is %s, the attention %v (%v)", question, state.Attention, err)
		}
		at := "result.inputRequests." + question
		m.want(t, "result.status", "input_required", "result.pollIntervalMs", 5000)
		request, _ := m.at("result.inputRequests").(map[string]any)[question].(map[string]any)
		shown, _ := Question(state)
		if diff := cmp.Diff(message(request).at("params.message"), any(shown.Message)); diff != "" || request["method"] != "elicitation/create" || message(request).at("params.mode") != "form" {
			t.Errorf("%s: %v\n%s", at, request, diff)
		}
		for _, bad := range []struct{ response, says string }{
			{`{"action":"accept"}`, "inputResponses." + question + ": the client's form came back without an answer"},
			{`{"action":"accept","content":{"answer":" "}}`, "without an answer"},
			{`{"action":"accept","content":{"answer":7}}`, "without an answer"},
			{`{"action":"accept","content":[]}`, "without an answer"},
			{`{"action":7}`, "must be the result of elicitation/create"},
			{`{"action":"maybe"}`, "no way that a form can"},
			{`{}`, "no way that a form can"},
		} {
			c.update(id, fmt.Sprintf(`{%q:%s}`, question, bad.response)).want(t, "error.code", -32602, "error.message", "~"+bad.says)
		}
		for _, nothing := range []string{
			fmt.Sprintf(`{%q:{"action":"decline"}}`, question), fmt.Sprintf(`{%q:{"action":"cancel","content":{"answer":"red"}}}`, question),
			`{}`, `{"q-99":{"action":"accept","content":{"answer":"red"}}}`, `{"":{"action":"accept"}}`,
		} {
			c.update(id, nothing).want(t, "result.resultType", "complete")
			if again := c.key(c.get(id)); again != question {
				t.Errorf("after %s the task asks for %s, want %s still", nothing, again, question)
			}
		}
		red := fmt.Sprintf(`{%q:{"action":"accept","content":{"answer":"red"}}}`, question)
		c.update(id, red).want(t, "result.resultType", "complete", "result.taskId", nil)
		synctest.Wait()
		m = c.get(id)
		approval := c.key(m)
		if approval == question || !strings.Contains(fmt.Sprint(m.at("result.inputRequests")), "painted red") {
			t.Errorf("after the answer: %v", m)
		}
		c.update(id, red).want(t, "result.resultType", "complete") // late
		c.update(id, fmt.Sprintf(`{%q:{"action":"accept","content":{"decision":"perhaps"}}}`, approval)).want(t, "error.code", -32602, "error.message", "~approve or deny")
		c.update(id, fmt.Sprintf(`{%q:{"action":"accept","content":{"decision":"approve","message":"lovely"}}}`, approval)).want(t, "result.resultType", "complete")
		time.Sleep(time.Minute)
		c.get(id).want(t, "result.status", "completed", "result.result.structuredContent.output", "ok: approved by person: lovely")
		c.update(id, red).want(t, "result.resultType", "complete")
	})
}

// TestNobodyToAsk: a client without forms sees a task at work, and what would move it.
func TestNobodyToAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loops.BodyFunc(painter), nil)
		c := w.taskClient(takesTasks, nil)
		id := c.begin(fmt.Sprintf(handlerTask, ""))
		synctest.Wait()
		c.get(id).want(t, "result.status", "working", "result.inputRequests", nil, "result.statusMessage", "~Ask the user what attention.prompt asks")
	})
}

// TestAQuestionThatChangesIsAnother: clients compare what they are asked under one key.
func TestAQuestionThatChangesIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loops.BodyFunc(painter), nil)
		c := w.taskClient(takesTasksAsks, nil)
		id := c.begin(fmt.Sprintf(handlerTask, ""))
		synctest.Wait()
		before := c.key(c.get(id))
		w.ok("loop_approve", args("loop_id", id, "decision", "set_limits", "limits", map[string]any{"max_cost_usd": 7}))
		after := c.key(c.get(id))
		if about, _, _ := strings.Cut(before, "."); before == after || !strings.HasPrefix(after, about+".") {
			t.Errorf("keys %s and %s, want two of one question", before, after)
		}
		// The person who saw it before the change has answered the same question.
		c.update(id, fmt.Sprintf(`{%q:{"action":"accept","content":{"answer":"blue"}}}`, before)).want(t, "result.resultType", "complete")
		synctest.Wait()
		w.ok("loop_inspect", args("loop_id", id)).want(t, "output", "painted blue")
	})
}

// FuzzWord: whatever a client sends as a person's answer, it is a plain word of a person, nothing, or
// refused with its place.
func FuzzWord(f *testing.F) {
	for _, seed := range []string{
		`{"action":"accept","content":{"answer":"red"}}`, `{"action":"accept","content":{"decision":"deny","message":"no"}}`, `{"action":"decline"}`,
		`{"action":"accept","content":[{}]}`, `{"ACTION":"accept","action":null}`, `{"action":"accept","content":{"answer":"\ud800"}}`, `{"content":{"decision":1e999}}`,
	} {
		f.Add("q-1.x", seed)
	}
	f.Fuzz(func(t *testing.T, key, response string) {
		if !json.Valid([]byte(response)) {
			return
		}
		for _, kind := range []string{loops.AttentionQuestion, loops.AttentionApproval} {
			s := loops.State{ID: "say-aaaa", Status: loops.NeedsInput, Attention: &loops.Attention{Kind: kind, ID: "q-1"}}
			r, err := word(s, map[string]json.RawMessage{key: json.RawMessage(response)})
			var param *tasks.ParamError
			switch {
			case err != nil:
				if !errors.As(err, &param) || r.Action != "" {
					t.Errorf("%q: %v with the action %q", response, err, r.Action)
				}
			case r.Action == "":
			case r.By != "person" || r.AttentionID != "q-1" || !loops.Allowed(r.Action, loops.NeedsInput) || (r.Action == loops.AnswerIt) != (kind == loops.AttentionQuestion):
				t.Errorf("%q: %+v", response, r)
			}
		}
	})
}
