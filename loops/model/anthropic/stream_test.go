package anthropic

import (
	"embed"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// open returns the model behind p, addressed as Anthropic's own.
func open(t testing.TB, p *modeltest.Provider) *Model {
	t.Helper()
	m, err := New(Config{Model: "claude-sonnet-4-5", APIKey: "sk-ant-secret", KeyEnv: "ANTHROPIC_API_KEY", HTTPClient: p.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTextAndCachedTokens(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse"), "Request-Id", "req_1"))
	var live []model.Live
	got, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), func(l model.Live) { live = append(live, l) })
	if err != nil {
		t.Fatal(err)
	}
	want := model.Answer{
		Message: model.Message{
			Role: model.Assistant, Blocks: []model.Block{{Text: "Hello <world> & all"}}, Wire: "anthropic",
			Native: []byte(`{"by":"anthropic/claude-sonnet-4-5","turn":[{"text":"Hello <world> & all","type":"text"}]}`),
		},
		Stop:  model.StopEnd,
		Usage: model.Usage{Input: 12, CacheRead: 8000, CacheWrite: 1000, CacheWrite1h: 500, Output: 15},
		Model: "claude-sonnet-4-5-20250929", RequestID: "req_1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]model.Live{{Text: "Hello"}, {Text: " <world> & all"}}, live); diff != "" {
		t.Error(diff)
	}
}
