package gemini

import (
	"embed"
	"encoding/json"
	"strings"
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

const (
	secret    = "AIza-secret"
	modelName = "gemini-3-pro-preview"
)

// open returns the model behind p, addressed as Google's own.
func open(t testing.TB, p *modeltest.Provider, change ...func(*Config)) *Model {
	t.Helper()
	cfg := Config{Model: modelName, APIKey: secret, KeyEnv: "GEMINI_API_KEY", HTTPClient: p.Client()}
	for _, c := range change {
		c(&cfg)
	}
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// event is a chunk of a stream.
func event(chunk string) string { return "data: " + chunk + "\n\n" }

// said is a chunk with a part of the answer.
func said(part string) string {
	return event(`{"candidates":[{"content":{"role":"model","parts":[` + part + `]},"index":0}],"responseId":"r"}`)
}

// over is the last chunk, with a finish reason.
func over(reason string) string {
	return event(`{"candidates":[{"finishReason":"` + reason + `","index":0}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15},"responseId":"r"}`)
}

func TestTextThoughtsAndCachedTokens(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse")))
	var live []model.Live
	got, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), func(l model.Live) { live = append(live, l) })
	if err != nil {
		t.Fatal(err)
	}
	want := model.Answer{
		Message: model.Message{
			Role: model.Assistant, Blocks: []model.Block{{Reasoning: "Weighing it up."}, {Text: "Hello <world> & all"}}, Wire: "gemini",
			Native: []byte(`{"by":"gemini/gemini-3-pro-preview","turn":[{"text":"Weighing it up.","thought":true},{"text":"Hello <world> & all"},{"text":"","thoughtSignature":"EsgHCsUHAb4+9vsA/w=="}]}`),
		},
		Stop:  model.StopEnd,
		Usage: model.Usage{Input: 1012, CacheRead: 8000, Output: 105, Reasoning: 100},
		Model: "gemini-3-pro-preview", RequestID: "resp-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]model.Live{{Text: "Weighing it up.", Reasoning: true}, {Text: "Hello"}, {Text: " <world> & all"}}, live); diff != "" {
		t.Error(diff)
	}
}

func TestParallelToolCalls(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(golden(t, "tools.sse")), modeltest.Stream(golden(t, "tools.sse")))
	m := open(t, p)
	r := modeltest.Ask("read both")
	r.Tools = []model.Tool{{Name: "files__read"}, {Name: "1st__list"}}
	var live []model.Live
	got, err := m.Generate(t.Context(), r, func(l model.Live) { live = append(live, l) })
	if err != nil {
		t.Fatal(err)
	}
	calls := got.Message.Calls()
	want := []model.ToolCall{
		{ID: calls[0].ID, Name: "files__read", Args: json.RawMessage(`{"line":3,"path":"a<b>.txt"}`)},
		{ID: calls[1].ID, Name: "1st__list", Args: json.RawMessage(`{}`)},
		{ID: "srv-7", Name: "files__read", Args: json.RawMessage(`{"path":"c"}`)},
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Error(diff)
	}
	if calls[0].ID == calls[1].ID || !strings.HasPrefix(calls[0].ID, "call_") {
		t.Errorf("made-up ids are %q and %q", calls[0].ID, calls[1].ID)
	}
	if diff := cmp.Diff([]model.Live{{Text: "Both."}, {Tool: "files__read"}, {Tool: "1st__list"}, {Tool: "files__read"}}, live); diff != "" {
		t.Error(diff)
	}
	if want := (model.Usage{Input: 50, Output: 75, Reasoning: 40}); got.Usage != want || got.Stop != model.StopTools {
		t.Errorf("usage is %+v, stop %s", got.Usage, got.Stop)
	}
	again, err := m.Generate(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the same answer made other ids: %s", diff)
	}
}

func TestIDsDifferFromTurnToTurn(t *testing.T) {
	answer := said(`{"functionCall":{"name":"f"}}`) + over("STOP")
	p := modeltest.New(t, modeltest.Stream(answer), modeltest.Stream(answer))
	m := open(t, p)
	r := modeltest.Ask("go")
	first, err := m.Generate(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	call := first.Message.Calls()[0]
	r.Messages = append(r.Messages, first.Message, model.Message{Role: model.User, Blocks: []model.Block{{Result: &model.ToolResult{ID: call.ID, Name: "f"}}}})
	second, err := m.Generate(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id := second.Message.Calls()[0].ID; id == call.ID {
		t.Errorf("two calls of a conversation are %s", id)
	}
}

func TestWhyTheModelStopped(t *testing.T) {
	call := said(`{"functionCall":{"name":"f"}}`)
	for name, test := range map[string]struct {
		stream string
		stop   model.Stop
		text   string
	}{
		"finished":              {said(`{"text":"ok"}`) + over("STOP"), model.StopEnd, "ok"},
		"waits for tools":       {call + over("STOP"), model.StopTools, ""},
		"cut at the limit":      {said(`{"text":"ok"}`) + over("MAX_TOKENS"), model.StopLength, "ok"},
		"cut within a call":     {call + over("MAX_TOKENS"), model.StopLength, ""},
		"nothing said":          {over("STOP"), model.StopEnd, ""},
		"refused":               {over("SAFETY"), model.StopRefusal, "the answer was blocked: SAFETY"},
		"refused after a while": {said(`{"text":"first"}`) + over("PROHIBITED_CONTENT"), model.StopRefusal, "first"},
		"recited":               {over("RECITATION"), model.StopRefusal, "the answer was blocked: RECITATION"},
		"a blocked prompt with a reason": {event(`{"promptFeedback":{"blockReason":"BLOCKLIST","blockReasonMessage":"a listed word"}}`), model.StopRefusal,
			"the prompt was blocked: BLOCKLIST: a listed word"},
		"a blocked prompt": {event(`{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}}`), model.StopRefusal,
			"the prompt was blocked: PROHIBITED_CONTENT"},
		"an unspecified reason is none": {event(`{"candidates":[{"finishReason":"FINISH_REASON_UNSPECIFIED"}]}`) + over("STOP"), model.StopEnd, ""},
		"only the first candidate": {event(`{"candidates":[{"index":1,"content":{"parts":[{"text":"other"}]},"finishReason":"SAFETY"},{"content":{"parts":[{"text":"mine"}]}}]}`) + over("STOP"),
			model.StopEnd, "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := open(t, modeltest.New(t, modeltest.Stream(test.stream))).Generate(t.Context(), modeltest.Ask("hi"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Stop != test.stop || got.Message.Text() != test.text {
				t.Errorf("stop is %s, text %q; want %s, %q", got.Stop, got.Message.Text(), test.stop, test.text)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		usage string
		want  model.Usage
	}{
		"cached tokens are part of the prompt":    {`{"promptTokenCount":1000,"cachedContentTokenCount":900,"candidatesTokenCount":5}`, model.Usage{Input: 100, CacheRead: 900, Output: 5}},
		"thoughts are not part of the candidates": {`{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":70,"totalTokenCount":85}`, model.Usage{Input: 10, Output: 75, Reasoning: 70}},
		"results of Google's own tools go in":     {`{"promptTokenCount":10,"toolUsePromptTokenCount":40,"candidatesTokenCount":5,"totalTokenCount":55}`, model.Usage{Input: 50, Output: 5}},
		"a total that is more than its parts":     {`{"promptTokenCount":10,"totalTokenCount":30}`, model.Usage{Input: 10, Output: 20}},
		"more cached than went in":                {`{"promptTokenCount":10,"cachedContentTokenCount":11,"candidatesTokenCount":1}`, model.Usage{CacheRead: 10, Output: 1}},
		"negative counts are none":                {`{"promptTokenCount":-10,"cachedContentTokenCount":-1,"candidatesTokenCount":-5,"totalTokenCount":-2}`, model.Usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			stream := event(`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":` + test.usage + `}`)
			got, err := open(t, modeltest.New(t, modeltest.Stream(stream))).Generate(t.Context(), modeltest.Ask("hi"), nil)
			if err != nil || got.Usage != test.want {
				t.Errorf("usage is %+v, %v; want %+v", got.Usage, err, test.want)
			}
		})
	}
}

// TestAnAnswerWithoutCountsIsNotFree: a proxy left out the counts, and a loop
// went on for ever under its cap.
func TestAnAnswerWithoutCountsIsNotFree(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(event(`{"candidates":[{"content":{"parts":[{"text":"a long answer"}]},"finishReason":"STOP"}]}`)))
	got, err := open(t, p).Generate(t.Context(), modeltest.Ask("a question"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if sent := int64(len(p.Sent()[0].Body)); got.Usage.Input != sent || got.Usage.Output < int64(len("a long answer")) {
		t.Errorf("usage is %+v for %d bytes", got.Usage, sent)
	}
}

// TestCountsOfEarlierChunksStay: the last chunk left out what the first said.
func TestCountsOfEarlierChunksStay(t *testing.T) {
	stream := event(`{"candidates":[{"content":{"parts":[{"text":"ok"}]}}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":1}}`) +
		event(`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"candidatesTokenCount":9}}`)
	got, err := open(t, modeltest.New(t, modeltest.Stream(stream))).Generate(t.Context(), modeltest.Ask("hi"), nil)
	if want := (model.Usage{Input: 40, CacheRead: 60, Output: 9}); err != nil || got.Usage != want {
		t.Errorf("usage is %+v, %v", got.Usage, err)
	}
}
