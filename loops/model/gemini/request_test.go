package gemini

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

// outbound is what one request sends.
func outbound(t *testing.T, r model.Request, change ...func(*Config)) modeltest.Sent {
	t.Helper()
	p := modeltest.New(t, modeltest.Stream(over("STOP")))
	if _, err := open(t, p, change...).Generate(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	return p.Sent()[0]
}

// compact is a JSON text as the library writes it.
func compact(t *testing.T, text string) string {
	t.Helper()
	var plain, out bytes.Buffer
	if err := json.Compact(&plain, []byte(text)); err != nil {
		t.Fatal(err)
	}
	json.HTMLEscape(&out, plain.Bytes())
	return out.String()
}

func diffBody(t *testing.T, want string, got []byte) {
	t.Helper()
	if diff := cmp.Diff(compact(t, want), strings.TrimSpace(string(got))); diff != "" {
		t.Errorf("the body (-want +got)\n%s", diff)
	}
}

func TestWholeRequest(t *testing.T) {
	sent := outbound(t, model.Request{
		System:   "Be brief.",
		Messages: []model.Message{model.Text(model.User, "Is 1 < 2?")},
		Tools: []model.Tool{
			{Name: "files__read", Description: "Reads a file.", Schema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}`)},
			{Name: "1st__list", Schema: json.RawMessage(`{"type":"object"}`)},
		},
		Schema: json.RawMessage(`{"type":"object","properties":{"met":{"type":"boolean"}},"required":["met"],"additionalProperties":false}`),
		MaxTok: 700, CacheKey: "loop-1",
	}, func(c *Config) { c.Effort = "low" })
	if want := "https://generativelanguage.googleapis.com/v1beta/models/" + modelName + ":streamGenerateContent?alt=sse"; sent.URL != want {
		t.Errorf("the request goes to %s, want %s", sent.URL, want)
	}
	if got := sent.Header.Get("X-Goog-Api-Key"); got != secret {
		t.Errorf("the key is %q", got)
	}
	diffBody(t, `{
		"contents": [{"role":"user","parts":[{"text":"Is 1 < 2?"}]}],
		"generationConfig": {
			"maxOutputTokens": 700,
			"responseJsonSchema": {"additionalProperties":false,"properties":{"met":{"type":"boolean"}},"required":["met"],"type":"object"},
			"responseMimeType": "application/json",
			"thinkingConfig": {"includeThoughts":true,"thinkingLevel":"LOW"}
		},
		"systemInstruction": {"parts":[{"text":"Be brief."}],"role":"user"},
		"tools": [{"functionDeclarations":[
			{"description":"Reads a file.","name":"files__read","parametersJsonSchema":{"properties":{"path":{"type":"string"}},"required":["path"],"type":"object"}},
			{"name":"_1st__list"}
		]}]
	}`, sent.Body)
}

// TestSignaturesGoBackAsTheyCame is what Gemini 3 refuses a conversation over.
func TestSignaturesGoBackAsTheyCame(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "tools.sse")), modeltest.Stream(golden(t, "text.sse")), modeltest.Stream(over("STOP")))
	m := open(t, p)
	r := modeltest.Ask("read both")
	r.Tools = []model.Tool{{Name: "files__read"}, {Name: "1st__list"}}
	first, err := m.Generate(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	calls := first.Message.Calls()
	r.Messages = append(r.Messages, stored(t, first.Message), model.Message{Role: model.User, Blocks: []model.Block{
		{Result: &model.ToolResult{ID: calls[0].ID, Name: calls[0].Name, Text: "one"}},
		{Result: &model.ToolResult{ID: calls[1].ID, Name: calls[1].Name, Text: "no such folder", Error: true}},
		{Result: &model.ToolResult{ID: calls[2].ID, Name: calls[2].Name}},
	}})
	second, err := m.Generate(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Messages = append(r.Messages, stored(t, second.Message), model.Text(model.User, "thanks"))
	if _, err := m.Generate(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	tools := `[{"functionDeclarations":[{"name":"files__read"},{"name":"_1st__list"}]}]`
	diffBody(t, `{
		"contents": [
			{"role":"user","parts":[{"text":"read both"}]},
			{"role":"model","parts":[
				{"text":"Both."},
				{"functionCall":{"args":{"line":3,"path":"a<b>.txt"},"name":"files__read"},"thoughtSignature":"CuYBAXLI2nz+/w=="},
				{"functionCall":{"name":"_1st__list"}},
				{"functionCall":{"id":"srv-7","args":{"path":"c"},"name":"files__read"}}
			]},
			{"role":"user","parts":[
				{"functionResponse":{"name":"files__read","response":{"output":"one"}}},
				{"functionResponse":{"name":"_1st__list","response":{"error":"no such folder"}}},
				{"functionResponse":{"id":"srv-7","name":"files__read","response":{"output":""}}}
			]},
			{"role":"model","parts":[
				{"text":"Weighing it up.","thought":true},
				{"text":"Hello <world> & all"},
				{"text":"","thoughtSignature":"EsgHCsUHAb4+9vsA/w=="}
			]},
			{"role":"user","parts":[{"text":"thanks"}]}
		],
		"generationConfig": {},
		"tools": `+tools+`
	}`, p.Sent()[2].Body)
	second2, _ := bytes.CutSuffix(p.Sent()[1].Body, []byte("}\n"))
	if prefix := second2[:bytes.Index(second2, []byte(`],"generationConfig"`))]; !bytes.HasPrefix(p.Sent()[2].Body, prefix) {
		t.Error("the prefix changed from call to call, which no cache finds")
	}
}

// stored is a message that was a checkpoint.
func stored(t *testing.T, m model.Message) model.Message {
	t.Helper()
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var out model.Message
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// conversation was begun by another vendor's model.
func conversation() []model.Message {
	return []model.Message{
		model.Text(model.User, "go"),
		{Role: model.Assistant, Wire: "anthropic", Native: json.RawMessage(`{"by":"anthropic/x","turn":[{"secret":1}]}`), Blocks: []model.Block{
			{Reasoning: "hidden"}, {Text: "Looking."},
			{Call: &model.ToolCall{ID: "toolu_1", Name: "read", Args: json.RawMessage(`{"path":"a"}`)}},
			{Call: &model.ToolCall{ID: "toolu_2", Name: "read", Args: json.RawMessage(`"{broken"`)}},
		}},
		{Role: model.User, Blocks: []model.Block{{Text: "and hurry"}, {Result: &model.ToolResult{ID: "toolu_1", Name: "read", Text: "A"}}}},
		{Role: model.User, Blocks: []model.Block{{Result: &model.ToolResult{ID: "toolu_2", Name: "read", Text: "B"}}, {Text: " "}}},
		{Role: model.Assistant, Blocks: []model.Block{{Reasoning: "nothing to say"}}},
		model.Text(model.User, "well?"),
	}
}

func TestAnotherModelsTurns(t *testing.T) {
	want := func(signature string) string {
		return `{
		"contents": [
			{"role":"user","parts":[{"text":"go"}]},
			{"role":"model","parts":[
				{"text":"Looking."},
				{"functionCall":{"name":"read","args":{"path":"a"}}` + signature + `},
				{"functionCall":{"name":"read","args":{"INVALID_JSON":"{broken"}}}
			]},
			{"role":"user","parts":[
				{"functionResponse":{"name":"read","response":{"output":"A"}}},
				{"functionResponse":{"name":"read","response":{"output":"B"}}},
				{"text":"and hurry"}
			]},
			{"role":"user","parts":[
				{"text":"well?"}
			]}
		],
		"generationConfig": {}
	}`
	}
	diffBody(t, want(`,"thoughtSignature":"skip_thought_signature_validator"`), outbound(t, model.Request{Messages: conversation()}).Body)
	old := func(c *Config) { c.Model = "models/gemini-2.5-pro" }
	diffBody(t, want(""), outbound(t, model.Request{Messages: conversation()}, old).Body)
}

// TestAnotherGeminiModelsSignatures are not sent: they are good for the model
// that made them.
func TestAnotherGeminiModelsSignatures(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "tools.sse")))
	made, err := open(t, p, func(c *Config) { c.Model = "gemini-3-flash-preview" }).Generate(t.Context(), modeltest.Ask("hi"), nil)
	if err != nil {
		t.Fatal(err)
	}
	body := string(outbound(t, model.Request{Messages: []model.Message{model.Text(model.User, "hi"), made.Message}}).Body)
	if strings.Contains(body, "CuYBAXLI2nz") || !strings.Contains(body, "skip_thought_signature_validator") {
		t.Errorf("the body is %s", body)
	}
}

// TestACallThatCameWithoutASignature would be refused on every later turn.
func TestACallThatCameWithoutASignature(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(said(`{"functionCall":{"name":"f"}},{"functionCall":{"name":"g"}}`)+over("STOP")), modeltest.Stream(over("STOP")))
	m := open(t, p)
	r := modeltest.Ask("go")
	first, err := m.Generate(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Messages = append(r.Messages, first.Message)
	if _, err := m.Generate(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	want := `{"parts":[{"functionCall":{"name":"f"},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"name":"g"}}]`
	if body := string(p.Sent()[1].Body); !strings.Contains(body, strings.TrimPrefix(want, "{")) {
		t.Errorf("the body is %s", body)
	}
}

func TestEffort(t *testing.T) {
	for _, test := range []struct{ model, effort, want string }{
		{"gemini-2.5-pro", "", `{}`},
		{"gemini-2.5-flash", "none", `{"thinkingConfig":{"thinkingBudget":0}}`},
		{"gemini-2.5-flash", "high", `{"thinkingConfig":{"includeThoughts":true,"thinkingBudget":24576}}`},
		{"gemini-3-pro-preview", "none", `{"thinkingConfig":{"thinkingLevel":"MINIMAL"}}`},
		{"gemini-flash-latest", "medium", `{"thinkingConfig":{"includeThoughts":true,"thinkingLevel":"MEDIUM"}}`},
	} {
		body := string(outbound(t, modeltest.Ask("hi"), func(c *Config) { c.Model, c.Effort = test.model, test.effort }).Body)
		if !strings.Contains(body, `"generationConfig":`+test.want) {
			t.Errorf("%s, effort %q: the body is %s", test.model, test.effort, body)
		}
	}
}

func TestMoreOutputThanTheAPICanCount(t *testing.T) {
	if body := string(outbound(t, model.Request{Messages: modeltest.Ask("hi").Messages, MaxTok: math.MaxInt64}).Body); !strings.Contains(body, `"maxOutputTokens":2147483647`) {
		t.Errorf("the body is %s", body)
	}
}

func TestAnotherServer(t *testing.T) {
	for base, test := range map[string]struct{ url, id string }{
		"": {"https://generativelanguage.googleapis.com/v1beta/", "gemini/" + modelName},
		"https://generativelanguage.googleapis.com/v1beta/": {"https://generativelanguage.googleapis.com/v1beta/", "gemini/" + modelName},
		"https://generativelanguage.googleapis.com/v1":      {"https://generativelanguage.googleapis.com/v1/", "gemini/" + modelName},
		"http://Proxy:8080":               {"http://Proxy:8080/v1beta/", "gemini/" + modelName + "@proxy:8080"},
		"http://proxy:8080/gemini/v1beta": {"http://proxy:8080/gemini/v1beta/", "gemini/" + modelName + "@proxy:8080"},
	} {
		change := func(c *Config) { c.BaseURL, c.Alias = base, "mine" }
		if sent := outbound(t, modeltest.Ask("hi"), change); sent.URL != test.url+"models/"+modelName+":streamGenerateContent?alt=sse" {
			t.Errorf("with base_url %q the request goes to %s", base, sent.URL)
		}
		info := open(t, modeltest.New(t), change).Info()
		wantProvider := "gemini"
		if strings.Contains(test.id, "@") {
			wantProvider = "mine"
		}
		if info.ID != test.id || info.Provider != wantProvider || info.Wire != "gemini" || info.Model != modelName {
			t.Errorf("with base_url %q the model is %+v", base, info)
		}
	}
}

// TestKeysOfTheEnvironment must not go to whatever address is configured.
func TestKeysOfTheEnvironment(t *testing.T) {
	t.Setenv("GEMINI_API_KEY", "AIza-of-the-environment")
	t.Setenv("GOOGLE_API_KEY", "AIza-of-the-environment")
	t.Setenv("GOOGLE_GEMINI_BASE_URL", "http://elsewhere")
	t.Setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
	sent := outbound(t, modeltest.Ask("hi"), func(c *Config) { c.APIKey, c.KeyEnv, c.BaseURL = "", "", "http://local:1" })
	if key, ok := sent.Header["X-Goog-Api-Key"]; ok || !strings.HasPrefix(sent.URL, "http://local:1/v1beta/") {
		t.Errorf("the key %q goes to %s", key, sent.URL)
	}
	if sent := outbound(t, modeltest.Ask("hi")); sent.Header.Get("X-Goog-Api-Key") != secret || !strings.HasPrefix(sent.URL, "https://generativelanguage.") {
		t.Errorf("the key %q goes to %s", sent.Header.Get("X-Goog-Api-Key"), sent.URL)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "model is missing"},
		{Config{Model: "a/../b"}, "no model's name"},
		{Config{Model: "a?key=b"}, "no model's name"},
		{Config{Model: modelName, Effort: "huge"}, "none, minimal, low, medium, high"},
		{Config{Model: modelName, BaseURL: "localhost:80"}, "base_url"},
		{Config{Model: modelName, BaseURL: "ftp://x"}, "base_url"},
	} {
		if _, err := New(t.Context(), test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: the error is %v, want %q in it", test.cfg, err, test.want)
		}
	}
}
