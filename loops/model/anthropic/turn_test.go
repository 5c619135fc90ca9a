package anthropic

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

var twoTools = []model.Tool{
	{Name: "list", Schema: json.RawMessage(`{"type":"object"}`)},
	{Name: "read_file", Description: "Reads a file.", Schema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}`)},
}

func generate(t testing.TB, m model.Model, r model.Request) (model.Answer, []model.Live) {
	t.Helper()
	var live []model.Live
	a, err := m.Generate(t.Context(), r, func(l model.Live) { live = append(live, l) })
	if err != nil {
		t.Fatal(err)
	}
	return a, live
}

func TestToolTurnGoesBackVerbatim(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "thinking.sse")), modeltest.Stream(golden(t, "text.sse")))
	m := open(t, p)
	r := model.Request{System: "Be brief.", Messages: []model.Message{model.Text(model.User, "Which files?")}, Tools: twoTools, MaxTok: 900}
	got, live := generate(t, m, r)
	if diff := cmp.Diff([]model.Block{
		{Reasoning: "Two files are needed."},
		{Text: "I'll read both."},
		{Call: &model.ToolCall{ID: "toolu_01A", Name: "read_file", Args: json.RawMessage(`{"path": "z.go", "from": 1}`)}},
		{Call: &model.ToolCall{ID: "toolu_01B", Name: "list", Args: json.RawMessage(`{}`)}},
	}, got.Message.Blocks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(model.Usage{Input: 472, Output: 89, Reasoning: 40}, got.Usage); diff != "" {
		t.Error(diff)
	}
	if got.Stop != model.StopTools {
		t.Errorf("stop %q", got.Stop)
	}
	if diff := cmp.Diff([]model.Live{{Text: "Two files ", Reasoning: true}, {Text: "are needed.", Reasoning: true}, {Text: "I'll read both."}, {Tool: "read_file"}, {Tool: "list"}}, live); diff != "" {
		t.Error(diff)
	}

	r.Messages = append(r.Messages, got.Message, model.Message{Role: model.User, Blocks: []model.Block{
		{Text: "Go on."},
		{Result: &model.ToolResult{ID: "toolu_01A", Name: "read_file", Text: "text"}},
		{Result: &model.ToolResult{ID: "toolu_01B", Name: "list", Text: "", Error: true}},
	}})
	generate(t, m, r)
	mark := `"cache_control":{"type":"ephemeral"}`
	want := `{"max_tokens":900,"messages":[{"content":[{"text":"Which files?","type":"text"}],"role":"user"},` +
		`{"content":[{"signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/==","thinking":"Two files are needed.","type":"thinking"},` +
		`{"data":"EmwKAhgBEgy3va3pzix/LafPsn4a==","type":"redacted_thinking"},{"text":"I'll read both.","type":"text"},` +
		`{"caller":{"type":"direct"},"id":"toolu_01A","input":{"path":"z.go","from":1},"name":"read_file","type":"tool_use"},` +
		`{"caller":{"type":"direct"},"id":"toolu_01B","input":{},"name":"list","type":"tool_use"}],"role":"assistant"},` +
		`{"content":[{"tool_use_id":"toolu_01A","content":[{"text":"text","type":"text"}],"type":"tool_result"},{"tool_use_id":"toolu_01B","is_error":true,"type":"tool_result"},{"text":"Go on.","type":"text"}],"role":"user"}],` +
		`"model":"claude-sonnet-4-5","system":[{"text":"Be brief.",` + mark + `,"type":"text"}],` +
		`"tools":[{"input_schema":{"type":"object","properties":{}},"name":"list"},` +
		`{"input_schema":{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]},"name":"read_file","description":"Reads a file.",` + mark + `}],"stream":true}`
	sent := p.Sent()[1]
	if diff := cmp.Diff(want, string(sent.Body)); diff != "" {
		t.Error(diff)
	}
	if sent.URL != "https://api.anthropic.com/v1/messages" || sent.Header.Get("X-Api-Key") != "sk-ant-secret" || sent.Header.Get("Authorization") != "" {
		t.Errorf("sent to %s with %v", sent.URL, sent.Header)
	}
}

func TestATurnOfAnotherModelGoesBackWithoutThinking(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "thinking.sse")), modeltest.Stream(golden(t, "text.sse")))
	got, _ := generate(t, open(t, p), modeltest.Ask("hi"))
	other, err := New(Config{Model: "claude-sonnet-4-5", BaseURL: "http://127.0.0.1:11434", APIKey: "k", HTTPClient: p.Client()})
	if err != nil {
		t.Fatal(err)
	}
	generate(t, other, model.Request{Messages: []model.Message{model.Text(model.User, "hi"), got.Message}})
	want := `{"content":[{"text":"I'll read both.","type":"text"},{"id":"toolu_01A","input":{"path":"z.go","from":1},"name":"read_file","type":"tool_use"},` +
		`{"id":"toolu_01B","input":{},"name":"list","type":"tool_use"}],"role":"assistant"}`
	sent := p.Sent()[1]
	if !strings.Contains(string(sent.Body), want) || strings.Contains(string(sent.Body), "thinking") {
		t.Errorf("sent %s", sent.Body)
	}
	if sent.URL != "http://127.0.0.1:11434/v1/messages" || sent.Header.Get("Authorization") != "Bearer k" {
		t.Errorf("sent to %s with %v", sent.URL, sent.Header)
	}
}

func TestATurnOfAnotherWireIsBuiltAnew(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse")))
	generate(t, open(t, p), model.Request{Messages: []model.Message{
		{Role: model.Assistant, Wire: "chat", Native: json.RawMessage(`{"by":"anthropic/claude-sonnet-4-5","turn":[{"type":"text","text":"native"}]}`), Blocks: []model.Block{
			{Reasoning: "secret"}, {Text: " \n"},
			{Call: &model.ToolCall{ID: "functions.list:0", Name: "list", Args: json.RawMessage(`"{bad"`)}},
		}},
		{Role: model.User, Blocks: []model.Block{{Result: &model.ToolResult{ID: "functions.list:0", Name: "list", Text: "none"}}}},
		{Role: model.Assistant, Blocks: []model.Block{{Reasoning: "only"}}},
	}})
	want := `"messages":[{"content":[{"id":"call_d79cc0a64314793e4717d6d3","input":{"INVALID_JSON":"{bad"},"name":"list","type":"tool_use"}],"role":"assistant"},` +
		`{"content":[{"tool_use_id":"call_d79cc0a64314793e4717d6d3","content":[{"text":"none","type":"text"}],"type":"tool_result"}],"role":"user"}]`
	if sent := string(p.Sent()[0].Body); !strings.Contains(sent, want) {
		t.Errorf("sent %s", sent)
	}
}

func TestCacheMarksAreAtMostFour(t *testing.T) {
	cached := func(role model.Role, text string) model.Message {
		m := model.Text(role, text)
		m.Cache = true
		return m
	}
	own := model.Message{Role: model.Assistant, Wire: "anthropic", Cache: true, Blocks: []model.Block{{Text: "five"}},
		Native: json.RawMessage(`{"by":"anthropic/claude-sonnet-4-5","turn":[{"type":"text","text":"five"},{"type":"thinking","thinking":"","signature":"s"}]}`)}
	messages := []model.Message{cached(model.User, "one"), cached(model.Assistant, "two"), model.Text(model.User, "three"), cached(model.User, "four"), own}
	mark := `,"cache_control":{"type":"ephemeral"}`
	tests := map[string]struct {
		r    model.Request
		want []string // marked texts
	}{
		"tools and system":  {model.Request{System: "sys", Tools: twoTools, Messages: messages}, []string{"sys", "four", "five"}},
		"messages alone":    {model.Request{Messages: messages}, []string{"one", "two", "four", "five"}},
		"nothing is cached": {model.Request{Messages: messages[2:3]}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse")))
			generate(t, open(t, p), tt.r)
			sent := string(p.Sent()[0].Body)
			for _, text := range tt.want {
				if !strings.Contains(sent, `"text":"`+text+`"`+mark) {
					t.Errorf("%s is not marked", text)
				}
			}
			want := len(tt.want)
			if len(tt.r.Tools) > 0 {
				want++
			}
			if n := strings.Count(sent, mark[1:]); n != want {
				t.Errorf("%d marks in %s", n, sent)
			}
		})
	}
}

func TestAStructuredAnswerAndItsEffort(t *testing.T) {
	schema := `{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}},"additionalProperties":false}`
	for effort, want := range map[string]string{
		"":     `"output_config":{"format":{"schema":` + schema + `,"type":"json_schema"}}`,
		"high": `"thinking":{"type":"adaptive"}`,
		"none": `"thinking":{"type":"disabled"}`,
	} {
		p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse")))
		m, err := New(Config{Model: "claude-opus-4-6", APIKey: "k", Effort: effort, HTTPClient: p.Client()})
		if err != nil {
			t.Fatal(err)
		}
		r := modeltest.Ask("Judge.")
		r.Schema = json.RawMessage(schema)
		generate(t, m, r)
		sent := string(p.Sent()[0].Body)
		if !strings.Contains(sent, want) || !strings.Contains(sent, schema) || strings.Contains(sent, `"effort":"high"`) != (effort == "high") {
			t.Errorf("%q: sent %s", effort, sent)
		}
	}
}

func TestTheOutputBound(t *testing.T) {
	for _, tt := range []struct {
		wanted, most int64
		want         string
	}{{77, 8000, `"max_tokens":77`}, {0, 8000, `"max_tokens":8000`}, {0, 0, `"max_tokens":32000`}} {
		p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse")))
		m, err := New(Config{Model: "m", APIKey: "k", MaxOutput: tt.most, HTTPClient: p.Client()})
		if err != nil {
			t.Fatal(err)
		}
		r := modeltest.Ask("hi")
		r.MaxTok = tt.wanted
		generate(t, m, r)
		if sent := string(p.Sent()[0].Body); !strings.Contains(sent, tt.want) {
			t.Errorf("%+v: sent %s", tt, sent)
		}
	}
}

// A compatible server may name calls as Anthropic does not allow it; it gets its
// own names back, in the call and in the result.
func TestAServersOwnIDsStay(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse")))
	generate(t, open(t, p), model.Request{Messages: []model.Message{
		{Role: model.Assistant, Wire: "anthropic", Native: json.RawMessage(`{"by":"anthropic/claude-sonnet-4-5","turn":[{"type":"tool_use","id":"functions.list:0","name":"list","input":{}}]}`),
			Blocks: []model.Block{{Call: &model.ToolCall{ID: "functions.list:0", Name: "list", Args: json.RawMessage(`{}`)}}}},
		{Role: model.User, Blocks: []model.Block{{Result: &model.ToolResult{ID: "functions.list:0", Name: "list", Text: "none"}}}},
	}})
	if sent := string(p.Sent()[0].Body); strings.Count(sent, `"functions.list:0"`) != 2 {
		t.Errorf("sent %s", sent)
	}
}
