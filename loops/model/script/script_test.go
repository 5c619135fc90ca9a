package script_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/script"
)

func scripted(t *testing.T, turns ...script.Turn) *script.Model {
	t.Helper()
	m, err := script.New(model.Info{ID: "script/x", Model: "x"}, script.Script{Turns: turns})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFirstTurnThatFitsAnswers(t *testing.T) {
	m := scripted(t,
		script.Turn{When: []string{"weather", "result: sun"}, Say: "It is sunny."},
		script.Turn{When: []string{"weather"}, Unless: []string{"offline"}, Calls: []script.Call{{Name: "look", Args: json.RawMessage(`{"at":"sky"}`)}, {Name: "wait"}}},
		script.Turn{JSON: json.RawMessage(`{"ok":true}`)},
	)
	ask := func(messages ...model.Message) model.Answer {
		a, err := m.Generate(t.Context(), model.Request{Messages: messages}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	question := model.Text(model.User, "the weather?")
	first := ask(question)
	if first.Stop != model.StopTools || len(first.Message.Calls()) != 2 || string(first.Message.Calls()[1].Args) != "{}" {
		t.Fatalf("%+v", first)
	}
	result := model.Message{Role: model.User, Blocks: []model.Block{{Result: &model.ToolResult{Text: "result: sun"}}}}
	if got := ask(question, first.Message, result).Message.Text(); got != "It is sunny." {
		t.Error(got)
	}
	if got := ask(model.Text(model.User, "the weather, offline")).Message.Text(); got != `{"ok":true}` {
		t.Error(got)
	}
	if diff := cmp.Diff(first, ask(question)); diff != "" {
		t.Error("the same request has another answer", diff)
	}
}

func TestAnswerIsCutAtTheLimitAndStreams(t *testing.T) {
	m := scripted(t, script.Turn{Say: strings.Repeat("word ", 100)})
	var live strings.Builder
	a, err := m.Generate(t.Context(), model.Request{MaxTok: 10}, func(l model.Live) { live.WriteString(l.Text) })
	if err != nil || a.Stop != model.StopLength || a.Usage.Output != 10 || live.String() != a.Message.Text() || len(live.String()) != 40 {
		t.Errorf("%+v, %q, %v", a, live.String(), err)
	}
}

func TestNoTurnFits(t *testing.T) {
	_, err := scripted(t, script.Turn{When: []string{"x"}, Say: "y"}).Generate(t.Context(), model.Request{}, nil)
	if model.KindOf(err) != model.BadRequest {
		t.Error(err)
	}
}

func TestWrongScript(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                  "turns: is empty",
		`{"turns":[{}]}`:                      "turns[0]: needs say, json or calls",
		`{"turns":[{"say":"a","json":1}]}`:    "turns[0]: has both",
		`{"turns":[{"calls":[{"args":{}}]}]}`: "turns[0].calls[0].name: is missing",
	} {
		var s script.Script
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if _, err := script.New(model.Info{}, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
