package gemini

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/aimock"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func TestAgainstAimock(t *testing.T) {
	m, err := New(t.Context(), Config{Model: "gemini-3-pro-preview", APIKey: "key", BaseURL: aimock.Start(t, aimock.Fixtures)})
	if err != nil {
		t.Fatal(err)
	}
	aimock.Failures(t, m)
	turn := aimock.Talk(t, m)
	calls := turn.Message.Calls()
	if diff := cmp.Diff([]model.ToolCall{
		{ID: calls[0].ID, Name: "read_file", Args: json.RawMessage(`{"path":"a < b"}`)},
		{ID: calls[1].ID, Name: "list", Args: json.RawMessage(`{}`)},
	}, calls); diff != "" || turn.Stop != model.StopTools {
		t.Errorf("%s %s", turn.Stop, diff)
	}
	for ask, want := range map[string]model.Stop{"think hard": model.StopEnd, "talk too long": model.StopLength, "refuse": model.StopRefusal} {
		got, err := m.Generate(t.Context(), modeltest.Ask(ask), nil)
		if err != nil || got.Stop != want || got.Message.Text() == "" {
			t.Errorf("%s: got %+v, %v", ask, got, err)
		}
	}
}
