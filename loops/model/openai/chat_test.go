package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

const chatText = `data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}

data: [DONE]

`

func TestChatToolTurn(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "chat_tools.sse"), "X-Request-Id", "req_3"), modeltest.Stream(chatText))
	m := open(t, p, Chat)
	r := model.Request{System: "Be brief.", Messages: []model.Message{model.Text(model.User, "Which files?")}, Tools: twoTools, MaxTok: 900, CacheKey: "fix-build-7k3q"}
	got, live := generate(t, m, r)
	if diff := cmp.Diff([]model.Block{
		{Call: &model.ToolCall{ID: "call_A", Name: "read_file", Args: json.RawMessage(`{"path":"a < b"}`)}},
		{Call: &model.ToolCall{ID: "call_B", Name: "list", Args: json.RawMessage(`{}`)}},
	}, got.Message.Blocks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(model.Usage{Input: 476, CacheRead: 1024, Output: 90, Reasoning: 64}, got.Usage); diff != "" {
		t.Error(diff)
	}
	if got.Stop != model.StopTools || got.RequestID != "req_3" || got.Cost != nil {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff([]model.Live{{Tool: "read_file"}, {Tool: "list"}}, live); diff != "" {
		t.Error(diff)
	}
	r.Messages = append(r.Messages, got.Message, model.Message{Role: model.User, Blocks: []model.Block{
		{Text: "Go on."},
		{Result: &model.ToolResult{ID: "call_A", Name: "read_file", Text: "text"}},
		{Result: &model.ToolResult{ID: "call_B", Name: "list", Text: "none", Error: true}},
	}})
	generate(t, m, r)
	want := `{"model":"gpt-5","max_completion_tokens":900,"stream":true,` +
		`"tools":[{"function":{"name":"list","parameters":{"type":"object","properties":{}}},"type":"function"},` +
		`{"function":{"name":"read_file","description":"Reads a file.","parameters":{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}},"type":"function"}],` +
		`"stream_options":{"include_usage":true},` +
		`"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Which files?"},` +
		`{"role":"assistant","content":null,"tool_calls":[{"id":"call_A","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"a < b\"}"}},{"id":"call_B","type":"function","function":{"name":"list","arguments":"{}"}}]},` +
		`{"role":"tool","content":"text","tool_call_id":"call_A"},{"role":"tool","content":"Error: none","tool_call_id":"call_B"},{"role":"user","content":"Go on."}],` +
		`"prompt_cache_key":"fix-build-7k3q"}`
	if diff := cmp.Diff(want, string(p.Sent()[1].Body)); diff != "" {
		t.Error(diff)
	}
	if url := p.Sent()[1].URL; url != "https://api.openai.com/v1/chat/completions" {
		t.Errorf("sent to %s", url)
	}
}

func TestChatReasoningAndCostOfARouter(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "chat_openrouter.sse")), modeltest.Stream(chatText))
	m := openConfig(t, p, Config{Alias: "openrouter", Model: "anthropic/claude-sonnet-4.5", BaseURL: "https://openrouter.ai/api/v1", Wire: Chat})
	r := modeltest.Ask("hi")
	r.MaxTok, r.CacheKey = 50, "loop"
	got, live := generate(t, m, r)
	if diff := cmp.Diff([]model.Block{{Reasoning: "Let me look."}, {Text: "Done."}}, got.Message.Blocks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(model.Usage{Input: 100, CacheRead: 1800, CacheWrite: 100, Output: 50, Reasoning: 20}, got.Usage); diff != "" {
		t.Error(diff)
	}
	if got.Cost == nil || *got.Cost != 1142 || got.RequestID != "gen-1" {
		t.Errorf("cost %v, request %s", got.Cost, got.RequestID)
	}
	if diff := cmp.Diff([]model.Live{{Text: "Let me ", Reasoning: true}, {Text: "look.", Reasoning: true}, {Text: "Done."}}, live); diff != "" {
		t.Error(diff)
	}
	if info := m.Info(); info.Provider != "openrouter" || info.ID != "openai/anthropic/claude-sonnet-4.5@openrouter.ai" {
		t.Errorf("got %+v", info)
	}
	r.Messages = append(r.Messages, got.Message, model.Text(model.User, "more"))
	generate(t, m, r)
	want := `{"model":"anthropic/claude-sonnet-4.5","max_tokens":50,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"},` +
		`{"role":"assistant","content":"Done.","reasoning":"Let me look.","reasoning_details":[{"format":"anthropic-claude-v1","index":0,"signature":"ErcB+/==","text":"Let me look.","type":"reasoning.text"}]},` +
		`{"role":"user","content":"more"}]}`
	if diff := cmp.Diff(want, string(p.Sent()[1].Body)); diff != "" {
		t.Error(diff)
	}
}

func TestChatStructuredAnswer(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(chatText))
	r := modeltest.Ask("Judge.")
	r.Schema = json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)
	generate(t, openConfig(t, p, Config{Wire: Chat, Effort: "minimal"}), r)
	b := body(t, p.Sent()[0])
	want := map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "strict": true, "schema": map[string]any{
		"type": "object", "properties": map[string]any{}, "additionalProperties": false}}}
	if diff := cmp.Diff(want, b["response_format"]); diff != "" {
		t.Error(diff)
	}
	if b["reasoning_effort"] != "minimal" {
		t.Errorf("effort %v", b["reasoning_effort"])
	}
}

func TestTheOutputBoundIsNamedAsTheServerKnowsIt(t *testing.T) {
	for _, tt := range []struct{ base, model, want string }{
		{"", "gpt-4o", "max_completion_tokens"},
		{"https://eu.api.openai.com/v1", "gpt-5", "max_completion_tokens"},
		{"http://127.0.0.1:11434", "qwen3", "max_tokens"},
		{"http://127.0.0.1:4000", "gpt-5", "max_completion_tokens"}, // OpenAI's model behind a proxy
	} {
		p := modeltest.New(t, modeltest.Stream(chatText))
		r := modeltest.Ask("hi")
		r.MaxTok = 77
		generate(t, openConfig(t, p, Config{Model: tt.model, BaseURL: tt.base, Wire: Chat}), r)
		b := body(t, p.Sent()[0])
		if b[tt.want] != 77.0 || (b["max_tokens"] != nil) == (b["max_completion_tokens"] != nil) {
			t.Errorf("%v: sent %v", tt, b)
		}
	}
}

func TestChatEnds(t *testing.T) {
	tests := map[string]struct {
		chunks string // choices, one a line
		stop   model.Stop
		blocks []model.Block
		native string // of the message
	}{
		"refusal": {
			`{"delta":{"refusal":"I can't"}}
{"delta":{"refusal":" do that."}}
{"delta":{},"finish_reason":"stop"}`,
			model.StopRefusal, []model.Block{{Text: "I can't do that."}}, `{"role":"assistant","content":null,"refusal":"I can't do that."}`,
		},
		"filtered": {
			`{"delta":{"content":"So"},"finish_reason":"content_filter"}`,
			model.StopRefusal, []model.Block{{Text: "So"}}, `{"role":"assistant","content":"So"}`,
		},
		"length": {
			`{"delta":{"content":"Cut he"},"finish_reason":"length"}`,
			model.StopLength, []model.Block{{Text: "Cut he"}}, `{"role":"assistant","content":"Cut he"}`,
		},
		"length within a call": {
			`{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"n"}}]}}
{"delta":{},"finish_reason":"length"}`,
			model.StopLength, []model.Block{{Call: &model.ToolCall{ID: "c1", Name: "n", Args: json.RawMessage(`""`)}}},
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"n","arguments":"{\"INVALID_JSON\":\"\"}"}}]}`,
		},
		"nothing said": {
			`{"delta":{},"finish_reason":"stop"}`,
			model.StopEnd, nil, `null`,
		},
		"calls without an index, of a server that says stop": {
			`{"delta":{"tool_calls":[{"id":"c1","function":{"name":"n","arguments":"{\"a\":"}}]}}
{"delta":{"tool_calls":[{"function":{"arguments":"1}"}}]}}
{"delta":{"tool_calls":[{"id":"c2","function":{"name":"n","arguments":"null"}}]},"finish_reason":"stop"}`,
			model.StopTools,
			[]model.Block{{Call: &model.ToolCall{ID: "c1", Name: "n", Args: json.RawMessage(`{"a":1}`)}}, {Call: &model.ToolCall{ID: "c2", Name: "n", Args: json.RawMessage(`{}`)}}},
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"n","arguments":"{\"a\":1}"}},{"id":"c2","type":"function","function":{"name":"n","arguments":"{}"}}]}`,
		},
		"whole calls that all have the index 0, arguments as an object, a signature": {
			`{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"n","arguments":{"a":1}},"extra_content":{"google":{"thought_signature":"s=="}}}]}}
{"delta":{"tool_calls":[{"index":0,"id":"c2","function":{"name":"n","arguments":"{\"a\":2}"}}]},"finish_reason":"tool_calls"}`,
			model.StopTools,
			[]model.Block{{Call: &model.ToolCall{ID: "c1", Name: "n", Args: json.RawMessage(`{"a":1}`)}}, {Call: &model.ToolCall{ID: "c2", Name: "n", Args: json.RawMessage(`{"a":2}`)}}},
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"n","arguments":"{\"a\":1}"},"extra_content":{"google":{"thought_signature":"s=="}}},{"id":"c2","type":"function","function":{"name":"n","arguments":"{\"a\":2}"}}]}`,
		},
		"reasoning_content, and a second choice that nobody asked for": {
			`{"delta":{"reasoning_content":"Hm"}}
{"delta":{"reasoning_content":"."}}
{"index":1,"delta":{"content":"no"}}
{"delta":{"content":"yes"},"finish_reason":"stop"}`,
			model.StopEnd, []model.Block{{Reasoning: "Hm."}, {Text: "yes"}}, `{"role":"assistant","content":"yes","reasoning_content":"Hm."}`,
		},
		"content in parts": {
			`{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm."}]}]}}
{"delta":{"content":[{"type":"text","text":"yes"}]},"finish_reason":"stop"}`,
			model.StopEnd, []model.Block{{Reasoning: "Hm."}, {Text: "yes"}}, `{"role":"assistant","content":"yes","reasoning":"Hm."}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var events strings.Builder
			for line := range strings.Lines(tt.chunks) {
				events.WriteString(`data: {"choices":[` + strings.TrimSpace(line) + "]}\n\n")
			}
			p := modeltest.New(t, modeltest.Stream(events.String()))
			got, _ := generate(t, open(t, p, Chat), modeltest.Ask("hi"))
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

func TestCallsWithoutAnIDGetOne(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"n"}},{"index":1,"function":{"name":"n"}}]},"finish_reason":"tool_calls"}]}`+"\n\n"))
	got, _ := generate(t, open(t, p, Chat), modeltest.Ask("hi"))
	calls := got.Message.Calls()
	if len(calls) != 2 || calls[0].ID == "" || calls[0].ID == calls[1].ID || !strings.Contains(string(got.Message.Native), calls[1].ID) {
		t.Errorf("got %+v and %s", calls, got.Message.Native)
	}
}

func TestUsageAndCostOfServersThatDiffer(t *testing.T) {
	micros := func(n int64) *int64 { return &n }
	tests := map[string]struct {
		usage string
		want  model.Usage
		cost  *int64
	}{
		"nothing":                             {``, model.Usage{}, nil},
		"not numbers":                         {`{"prompt_tokens":"many"}`, model.Usage{}, nil},
		"reasoning beside the output (xAI)":   {`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":22,"completion_tokens_details":{"reasoning_tokens":7}}`, model.Usage{Input: 10, Output: 12, Reasoning: 7}, nil},
		"cache hits (DeepSeek)":               {`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}`, model.Usage{Input: 2, CacheRead: 8, Output: 5}, nil},
		"more cached than sent":               {`{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":12}}`, model.Usage{CacheRead: 12, Output: 5}, nil},
		"negative":                            {`{"prompt_tokens":-10,"completion_tokens":-5,"cost":-1}`, model.Usage{}, nil},
		"free":                                {`{"prompt_tokens":1,"cost":0}`, model.Usage{Input: 1}, micros(0)},
		"exact in decimals":                   {`{"prompt_tokens":1,"cost":0.000123}`, model.Usage{Input: 1}, micros(123)},
		"rounded up":                          {`{"prompt_tokens":1,"cost":"0.0000001"}`, model.Usage{Input: 1}, micros(1)},
		"a key of one's own behind a router":  {`{"prompt_tokens":1,"cost":0.05,"is_byok":true,"cost_details":{"upstream_inference_cost":1.5}}`, model.Usage{Input: 1}, micros(1_550_000)},
		"an amount that is no price any more": {`{"prompt_tokens":1,"cost":1e300}`, model.Usage{Input: 1}, micros(1e15)},
		"a cost in another form (Perplexity)": {`{"prompt_tokens":1,"cost":{"total_cost":0.1}}`, model.Usage{Input: 1}, nil},
	}
	for name, tt := range tests {
		u, cost := count([]byte(tt.usage))
		if diff := cmp.Diff(tt.want, u); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(tt.cost, cost); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A server gets its own names of calls back, in the call and in the result; those
// of another model become names that every server takes.
func TestIDsOfCalls(t *testing.T) {
	const odd = "functions.list:0"
	answer := map[string]string{
		Chat:      `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"` + odd + `","function":{"name":"list"}}]},"finish_reason":"tool_calls"}]}` + "\n\n",
		Responses: `data: {"type":"response.completed","response":{"output":[{"type":"function_call","call_id":"` + odd + `","name":"list","arguments":"{}"}]}}` + "\n\n",
	}
	for wire, stream := range answer {
		p := modeltest.New(t, modeltest.Stream(stream), modeltest.Stream(stream), modeltest.Stream(stream))
		m := openConfig(t, p, Config{Wire: wire})
		first, _ := generate(t, m, modeltest.Ask("hi"))
		r := model.Request{Messages: []model.Message{first.Message, {Role: model.User, Blocks: []model.Block{{Result: &model.ToolResult{ID: odd, Name: "list", Text: "none"}}}}}}
		generate(t, m, r)
		generate(t, openConfig(t, p, Config{Model: "other", Wire: wire}), r)
		own, others := string(p.Sent()[1].Body), string(p.Sent()[2].Body)
		if strings.Count(own, odd) != 2 || strings.Contains(others, odd) || strings.Count(others, `"call_d79cc0a64314793e4717d6d3"`) != 2 {
			t.Errorf("%s: sent %s and %s", wire, own, others)
		}
	}
}

// TestUserSpeaksOnceInARow: a local server refused two user messages in a row
// ("conversation roles must alternate").
func TestUserSpeaksOnceInARow(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(chatText))
	generate(t, open(t, p, Chat), model.Request{Messages: []model.Message{
		{Role: model.User, Blocks: []model.Block{{Text: "The goal."}}, Cache: true}, model.Text(model.User, "The news."),
	}})
	if body, want := string(p.Sent()[0].Body), `"messages":[{"role":"user","content":"The goal.\n\nThe news."}]`; !strings.Contains(body, want) {
		t.Errorf("sent %s, want %s in it", body, want)
	}
}
