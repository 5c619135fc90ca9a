package openai

import (
	"encoding/json"
	"net/http"
	"testing"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func fuzz(f *testing.F, wire string, back func(*Model, model.Request) any) {
	f.Fuzz(func(t *testing.T, stream string) {
		m, err := New(Config{Model: "m", APIKey: "key", Wire: wire, HTTPClient: &http.Client{Transport: modeltest.Body(stream)}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := m.Generate(t.Context(), modeltest.Ask("hi"), func(model.Live) {})
		modeltest.Check(t, a, err)
		if err != nil {
			return
		}
		if raw, err := json.Marshal(back(m, model.Request{Messages: []model.Message{a.Message}})); err != nil {
			t.Errorf("can't be sent back: %v: %s", err, raw)
		}
	})
}

func FuzzResponsesStream(f *testing.F) {
	for _, name := range []string{"responses_text.sse", "responses_tools.sse"} {
		f.Add(golden(f, name))
	}
	f.Add(created + piece + `data: {"type":"response.failed","response":{"error":null}}` + "\n\n")
	fuzz(f, Responses, func(m *Model, r model.Request) any { return m.responsesRequest(r) })
}

func FuzzChatStream(f *testing.F) {
	for _, name := range []string{"chat_tools.sse", "chat_openrouter.sse"} {
		f.Add(golden(f, name))
	}
	f.Add(chatText)
	f.Add(`data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"n","arguments":"{"}}]},"finish_reason":"stop"}]}` + "\n\n")
	fuzz(f, Chat, func(m *Model, r model.Request) any { return m.chatRequest(r) })
}
