package anthropic

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/aimock"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func TestAgainstAimock(t *testing.T) {
	m, err := New(Config{Model: "claude-opus-4-6", APIKey: "key", BaseURL: aimock.Start(t, aimock.Fixtures)})
	if err != nil {
		t.Fatal(err)
	}
	aimock.Failures(t, m)
	turn := aimock.Talk(t, m)
	if diff := cmp.Diff([]model.Block{
		{Reasoning: "Two files are needed."},
		{Call: &model.ToolCall{ID: "call_A1", Name: "read_file", Args: json.RawMessage(`{"path":"a < b"}`)}},
		{Call: &model.ToolCall{ID: "call_B2", Name: "list", Args: json.RawMessage(`{}`)}},
	}, turn.Message.Blocks); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(turn.Message.Native), `"signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"`) {
		t.Errorf("native %s", turn.Message.Native)
	}
	for ask, want := range map[string]model.Stop{"think hard": model.StopEnd, "talk too long": model.StopLength} {
		if got, _ := generate(t, m, modeltest.Ask(ask)); got.Stop != want || got.Message.Text() == "" {
			t.Errorf("%s: got %+v", ask, got)
		}
	}
}
