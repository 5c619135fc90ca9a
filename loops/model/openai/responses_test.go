package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func TestResponsesToolTurnGoesBackVerbatim(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "responses_tools.sse"), "X-Request-Id", "req_9"), modeltest.Stream(golden(t, "responses_text.sse")))
	m := open(t, p, "")
	r := model.Request{System: "Be brief.", Messages: []model.Message{model.Text(model.User, "Which files?")}, Tools: twoTools, MaxTok: 900, CacheKey: "fix-build-7k3q"}
	got, live := generate(t, m, r)
	if diff := cmp.Diff([]model.Block{
		{Reasoning: "Two files are needed."},
		{Call: &model.ToolCall{ID: "call_A", Name: "read_file", Args: json.RawMessage(`{"path":"a < b"}`)}},
		{Call: &model.ToolCall{ID: "call_B", Name: "list", Args: json.RawMessage(`{}`)}},
	}, got.Message.Blocks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(model.Usage{Input: 176, CacheRead: 1024, CacheWrite: 300, Output: 90, Reasoning: 64}, got.Usage); diff != "" {
		t.Error(diff)
	}
	if got.Stop != model.StopTools || got.RequestID != "req_9" || got.Model != "gpt-5-2025-08-07" || got.Cost != nil {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff([]model.Live{{Text: "Two files are needed.", Reasoning: true}, {Tool: "read_file"}, {Tool: "list"}}, live); diff != "" {
		t.Error(diff)
	}

	r.Messages = append(r.Messages, got.Message, model.Message{Role: model.User, Blocks: []model.Block{
		{Result: &model.ToolResult{ID: "call_A", Name: "read_file", Text: "text"}},
		{Result: &model.ToolResult{ID: "call_B", Name: "list", Text: "no such directory", Error: true}},
	}})
	second, _ := generate(t, m, r)
	if second.Message.Text() != "Both pass." || second.Stop != model.StopEnd || second.RequestID != "resp_02" {
		t.Errorf("got %+v", second)
	}
	want := `{"include":["reasoning.encrypted_content"],"input":[{"type":"message","role":"user","content":"Which files?"},` +
		`{"id":"rs_01","type":"reasoning","encrypted_content":"gAAAA+Bl/0==","summary":[{"type":"summary_text","text":"Two files are needed."}]},` +
		`{"id":"fc_01","type":"function_call","status":"completed","arguments":"{\"path\":\"a \u003c b\"}","call_id":"call_A","name":"read_file"},` +
		`{"arguments":"{}","call_id":"call_B","id":"fc_02","name":"list","status":"completed","type":"function_call"},` +
		`{"type":"function_call_output","call_id":"call_A","output":"text"},{"type":"function_call_output","call_id":"call_B","output":"Error: no such directory"}],` +
		`"instructions":"Be brief.","max_output_tokens":900,"model":"gpt-5","prompt_cache_key":"fix-build-7k3q","store":false,"stream":true,` +
		`"tools":[{"description":"","name":"list","parameters":{"type":"object","properties":{}},"strict":false,"type":"function"},` +
		`{"description":"Reads a file.","name":"read_file","parameters":{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]},"strict":false,"type":"function"}]}`
	sent := p.Sent()
	if diff := cmp.Diff(want, string(sent[1].Body)); diff != "" {
		t.Error(diff)
	}
	if sent[1].URL != "https://api.openai.com/v1/responses" || sent[1].Header.Get("Authorization") != "Bearer sk-proj-secret" {
		t.Errorf("sent to %s with %v", sent[1].URL, sent[1].Header)
	}
}

func TestResponsesOfAnotherModelGoBackWithoutReasoning(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "responses_tools.sse")), modeltest.Stream(golden(t, "responses_text.sse")))
	got, _ := generate(t, open(t, p, Responses), modeltest.Ask("hi"))
	other := openConfig(t, p, Config{Model: "gpt-5-mini"})
	generate(t, other, model.Request{Messages: []model.Message{model.Text(model.User, "hi"), got.Message}})
	if sent := string(p.Sent()[1].Body); strings.Contains(sent, "encrypted_content\":") || strings.Contains(sent, "rs_01") || !strings.Contains(sent, "call_A") {
		t.Errorf("sent %s", sent)
	}
}

func TestResponsesStructuredAnswer(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "responses_text.sse")))
	r := modeltest.Ask("Judge.")
	r.Schema = json.RawMessage(`{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}},"required":["z","a"],"additionalProperties":false}`)
	generate(t, openConfig(t, p, Config{Effort: "low"}), r)
	b := body(t, p.Sent()[0])
	want := map[string]any{"format": map[string]any{"type": "json_schema", "name": "answer", "strict": true, "schema": map[string]any{
		"type": "object", "properties": map[string]any{"z": map[string]any{"type": "string"}, "a": map[string]any{"type": "string"}},
		"required": []any{"z", "a"}, "additionalProperties": false}}}
	if diff := cmp.Diff(want, b["text"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"effort": "low"}, b["reasoning"]); diff != "" {
		t.Error(diff)
	}
}

// OpenAI answers 400 "Encrypted content is not supported with this model".
func TestModelsThatDoNotReasonAreNotAskedForReasoning(t *testing.T) {
	for name, want := range map[string]bool{
		"gpt-5": true, "o4-mini": true, "gpt-6-sol": true, "openai/gpt-oss-120b": true, "qwen3": true,
		"gpt-4o": false, "gpt-4.1-mini": false, "openai/gpt-4o": false, "gpt-5-chat-latest": false, "chatgpt-4o-latest": false, "gpt-3.5-turbo": false,
	} {
		if got := reasons(name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestResponsesEnds(t *testing.T) {
	item := `{"type":"response.output_item.done","item":{"id":"msg_1","type":"message","role":"assistant","content":[%s]}}`
	tests := map[string]struct {
		events []string
		stop   model.Stop
		blocks []model.Block
		native string
	}{
		"refusal": {
			[]string{strings.Replace(item, "%s", `{"type":"refusal","refusal":"I can't help with that."}`, 1), `{"type":"response.completed","response":{"output":[]}}`},
			model.StopRefusal, []model.Block{{Text: "I can't help with that."}},
			`[{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"refusal","refusal":"I can't help with that."}]}]`,
		},
		"length": {
			[]string{strings.Replace(item, "%s", `{"type":"output_text","text":"Cut he"}`, 1), `{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"},"output":[]}}`},
			model.StopLength, []model.Block{{Text: "Cut he"}},
			`[{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"Cut he"}]}]`,
		},
		"length within reasoning, which alone is refused": {
			[]string{`{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"},"output":[{"id":"rs_1","type":"reasoning","encrypted_content":"g","summary":[]}]}}`},
			model.StopLength, nil, `[]`,
		},
		"length within a call": {
			[]string{`{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"function_call","call_id":"c","name":"n","arguments":""}]}}`},
			model.StopLength, []model.Block{{Call: &model.ToolCall{ID: "c", Name: "n", Args: json.RawMessage(`""`)}}},
			`[{"arguments":"{\"INVALID_JSON\":\"\"}","call_id":"c","name":"n","type":"function_call"}]`,
		},
		"filtered": {
			[]string{`{"type":"response.incomplete","response":{"incomplete_details":{"reason":"content_filter"},"output":[]}}`},
			model.StopRefusal, nil, `null`,
		},
		"arguments that are not JSON": {
			[]string{`{"type":"response.completed","response":{"output":[{"type":"function_call","call_id":"c","name":"n","arguments":"{\"a\": <"}]}}`},
			model.StopTools, []model.Block{{Call: &model.ToolCall{ID: "c", Name: "n", Args: json.RawMessage(`"{\"a\": <"`)}}},
			`[{"arguments":"{\"INVALID_JSON\":\"{\\\"a\\\": <\"}","call_id":"c","name":"n","type":"function_call"}]`,
		},
		"reasoning that the provider did not store": {
			[]string{`{"type":"response.completed","response":{"output":[{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"Hm."}]},{"id":"m","type":"message","content":[{"type":"output_text","text":"ok"}]}]}}`},
			model.StopEnd, []model.Block{{Reasoning: "Hm."}, {Text: "ok"}},
			`[{"id":"m","type":"message","content":[{"type":"output_text","text":"ok"}]}]`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := modeltest.New(t, modeltest.Stream("data: "+strings.Join(tt.events, "\n\ndata: ")+"\n\n"))
			got, _ := generate(t, open(t, p, Responses), modeltest.Ask("hi"))
			if got.Stop != tt.stop {
				t.Errorf("stop %q, want %q", got.Stop, tt.stop)
			}
			if diff := cmp.Diff(tt.blocks, got.Message.Blocks); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(`{"by":"openai/gpt-5","turn":`+tt.native+`}`, string(got.Message.Native)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
