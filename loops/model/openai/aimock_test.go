package openai

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/aimock"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func TestAgainstAimock(t *testing.T) {
	url := aimock.Start(t, aimock.Fixtures)
	for _, wire := range []string{Responses, Chat} {
		t.Run(wire, func(t *testing.T) {
			m, err := New(Config{Model: "gpt-5", APIKey: "key", BaseURL: url, Wire: wire})
			if err != nil {
				t.Fatal(err)
			}
			aimock.Failures(t, m)
			if diff := cmp.Diff([]model.Block{
				{Reasoning: "Two files are needed."},
				{Call: &model.ToolCall{ID: "call_A1", Name: "read_file", Args: json.RawMessage(`{"path":"a < b"}`)}},
				{Call: &model.ToolCall{ID: "call_B2", Name: "list", Args: json.RawMessage(`{}`)}},
			}, aimock.Talk(t, m).Message.Blocks); diff != "" {
				t.Error(diff)
			}
			thought, live := generate(t, m, modeltest.Ask("think hard"))
			if diff := cmp.Diff([]model.Block{{Reasoning: "Six times seven, step by step."}, {Text: "Forty-two."}}, thought.Message.Blocks); diff != "" {
				t.Error(diff)
			}
			if thought.Usage != (model.Usage{Input: 11, Output: 22}) || !live[0].Reasoning {
				t.Errorf("got %+v, live %+v", thought.Usage, live)
			}
		})
	}
}

func TestChatRefusalAndLengthAgainstAimock(t *testing.T) {
	m, err := New(Config{Model: "gpt-5", APIKey: "key", BaseURL: aimock.Start(t, aimock.Fixtures), Wire: Chat})
	if err != nil {
		t.Fatal(err)
	}
	for ask, want := range map[string]model.Stop{"refuse": model.StopRefusal, "talk too long": model.StopLength} {
		if got, _ := generate(t, m, modeltest.Ask(ask)); got.Stop != want || got.Message.Text() == "" {
			t.Errorf("%s: got %+v", ask, got)
		}
	}
}

func TestCostOfARouterAgainstAimock(t *testing.T) {
	url := aimock.Start(t, `{"fixtures":[{"match":{"userMessage":"hi"},"openRouterProcessing":true,"response":{"content":"ok","usage":{"prompt_tokens":100,"completion_tokens":5,"cost":0.0123,"prompt_tokens_details":{"cached_tokens":60}}}}]}`)
	m, err := New(Config{Model: "acme/model", APIKey: "key", BaseURL: url + "/api/v1", Wire: Chat})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := generate(t, m, modeltest.Ask("hi"))
	if got.Cost == nil || *got.Cost != 12_300 || got.Usage != (model.Usage{Input: 40, CacheRead: 60, Output: 5}) {
		t.Errorf("got %+v", got)
	}
}
