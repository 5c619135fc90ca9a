package openai

import (
	"embed"
	"encoding/json"
	"testing"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

//go:embed testdata
var testdata embed.FS

func golden(t testing.TB, name string) string {
	t.Helper()
	b, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// open returns the model behind p, addressed as OpenAI's own.
func open(t testing.TB, p *modeltest.Provider, wire string) *Model {
	t.Helper()
	return openConfig(t, p, Config{Wire: wire})
}

func openConfig(t testing.TB, p *modeltest.Provider, c Config) *Model {
	t.Helper()
	if c.Model == "" {
		c.Model = "gpt-5"
	}
	c.APIKey, c.KeyEnv, c.HTTPClient = "sk-proj-secret", "OPENAI_API_KEY", p.Client()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
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

// body is what went out, with its numbers and texts as Go values.
func body(t testing.TB, s modeltest.Sent) map[string]any {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(s.Body, &b); err != nil {
		t.Fatalf("%v in %s", err, s.Body)
	}
	return b
}

var twoTools = []model.Tool{
	{Name: "list", Schema: json.RawMessage(`{"type":"object"}`)},
	{Name: "read_file", Description: "Reads a file.", Schema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}`)},
}
