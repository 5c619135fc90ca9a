package aimock

import (
	"errors"
	"testing"
	"time"

	"example.com/loop-mcp/loops/model"
)

// failures are what [Fixtures] answers with when a request asks for it.
var failures = []struct {
	ask      string
	kind     model.Kind
	status   int
	wait     time.Duration
	unbilled bool
}{
	{"hit the rate limit", model.RateLimited, 429, 7 * time.Second, true},
	{"break", model.ServerError, 500, 0, true},
	{"be overloaded", model.Overloaded, 503, 0, true},
	{"mistake my key", model.BadKey, 401, 0, true},
	{"be cut off", model.Incomplete, 200, 0, false},
	{"hang up", model.Network, 0, 0, false},
	{"be malformed", model.Malformed, 200, 0, false},
}

// Failures asks m, a model of a server with [Fixtures], for every failure.
func Failures(t *testing.T, m model.Model) {
	for _, f := range failures {
		t.Run(f.ask, func(t *testing.T) {
			_, err := m.Generate(t.Context(), model.Request{Messages: []model.Message{model.Text(model.User, f.ask)}}, nil)
			e, ok := errors.AsType[*model.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if e.Kind != f.kind || e.Status != f.status || e.RetryAfter != f.wait || e.Unbilled != f.unbilled {
				t.Errorf("got %s, status %d, wait %s, unbilled %v: %v", e.Kind, e.Status, e.RetryAfter, e.Unbilled, e)
			}
		})
	}
}

// Talk asks m for a text in pieces, for a text after silence, and for a turn
// with two tools whose results it gets. It returns the first answer of the turn
// with tools.
func Talk(t *testing.T, m model.Model) model.Answer {
	for ask, want := range map[string]string{"say hello": "Hello from the mock, in a few pieces.", "be slow": "At last.", "judge this": `{"met":true,"reason":"a < b"}`} {
		var live string
		a := say(t, m, func(l model.Live) { live += l.Text }, model.Text(model.User, ask))
		if a.Message.Text() != want || live != want || a.Stop != model.StopEnd {
			t.Errorf("%s: got %+v and live %q", ask, a, live)
		}
	}
	ask := model.Text(model.User, "use tools")
	first := say(t, m, nil, ask)
	results := model.Message{Role: model.User}
	for _, c := range first.Message.Calls() {
		results.Blocks = append(results.Blocks, model.Block{Result: &model.ToolResult{ID: c.ID, Name: c.Name, Text: "text"}})
	}
	if second := say(t, m, nil, ask, first.Message, results); first.Stop != model.StopTools || len(results.Blocks) != 2 || second.Message.Text() != "Both done." {
		t.Errorf("got %+v, then %+v", first, second)
	}
	return first
}

func say(t *testing.T, m model.Model, live func(model.Live), messages ...model.Message) model.Answer {
	t.Helper()
	a, err := m.Generate(t.Context(), model.Request{Messages: messages, Tools: []model.Tool{{Name: "list"}, {Name: "read_file"}}}, live)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
