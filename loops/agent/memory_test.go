package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

// free is a meter without limits.
type free struct{}

func (free) Reserve(_ context.Context, c loops.Call) (loops.Grant, error) {
	return loops.Grant{ID: "g1", Output: c.Output}, nil
}

func (free) Settle(context.Context, loops.Grant, loops.Spent, json.RawMessage) error { return nil }

// runWith runs one start with that memory and blob "r" beside the loop.
func runWith(t *testing.T, memory, blob string) error {
	body := &agent.Body{Book: book{[]model.Model{loopstest.NewModel(model.Info{}, finish("ok"))}}, Tools: &box{tools: usualTools()}}
	_, err := body.Run(t.Context(), loops.Turn{Loop: "story-aaaa", Iteration: 2, Pass: 1, Config: json.RawMessage(`{"kind":"agent","tools":["files__*"]}`), Goal: "go",
		Answer: "approved by person", Memory: json.RawMessage(memory), Meter: free{}, Emit: func(loops.Live) {},
		Keep: func(context.Context, []byte) (string, error) { return "", errors.New("not now") },
		Fetch: func(_ context.Context, ref string) ([]byte, error) {
			if ref != "r" {
				return nil, loops.ErrNotFound
			}
			return []byte(blob), nil
		}})
	return err
}

// TestMemoryThatTheAgentDidNotWrite: that of another body is left alone, a
// damaged one is refused.
func TestMemoryThatTheAgentDidNotWrite(t *testing.T) {
	for _, test := range []struct{ memory, blob, want string }{
		{`{"total":5}`, "", ""},
		{`"text"`, "", ""},
		{`null`, "", ""},
		{``, "", ""},
		{`{"agent":"x"}`, "", ""},
		{`{"agent":1,"pass":1}`, "", ""},
		{`{"agent":1,"pass":1,"sealed":["r"]}`, `[{"role":"user","blocks":[{"text":"hi"}]}]`, ""},
		{`{"agent":99}`, "", "version 99 and this program reads 1; use the newer program"},
		{`{"agent":1,"pass":"first"}`, "", "read the agent's memory"},
		{`{"agent":1,"pass":1,"sealed":["x"]}`, "", "read the agent's conversation: fetch x"},
		{`{"agent":1,"pass":1,"sealed":["r"]}`, `{}`, "read the agent's conversation: entries r"},
		{`{"agent":1,"pass":1,"answer":{"iteration":1}}`, "", "is not the end of the conversation"},
		{`{"agent":1,"pass":1,"answer":{"iteration":1,"calls":[{},{}]},"tail":[{"role":"assistant","blocks":[{"call":{"name":"note"}}]}]}`, "", "1 calls and 2 states"},
		{`{"agent":1,"pass":1,"tail":[{"role":"user","blocks":[{"text":"a"}],"refs":{"0":"r"}}]}`, "", "block 0 of an entry is no result"},
	} {
		err := runWith(t, test.memory, test.blob)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("memory %s: %v, want %q", test.memory, err, test.want)
		}
	}
}

// FuzzMemory: whatever is in a record, a start does not panic.
func FuzzMemory(f *testing.F) {
	for _, at := range []string{"", "allow", "again", "allowed", "question", "started", "done"} {
		for _, tool := range []string{"files__write", "files__delete", "ask", "finish", "read_more", "gone"} {
			f.Add(`{"agent":1,"pass":1,"answer":{"iteration":1,"calls":[{"at":"`+at+`"}]},"handles":{"given":-3,"refs":["r"]},
				"tail":[{"role":"assistant","blocks":[{"text":"x"},{"call":{"id":"c","name":"`+tool+`","args":{"handle":"r1","result":1,"question":"q"}}}]}]}`, "x")
		}
	}
	f.Add(`{"agent":1,"pass":1,"sealed":["r","r"],"known":{"tokens":-1,"bytes":1},"heard":{"steer_len":-5,"standing_len":99}}`, `[{"role":"assistant","blocks":[{}]}]`)
	f.Fuzz(func(t *testing.T, memory, blob string) { _ = runWith(t, memory, blob) })
}
