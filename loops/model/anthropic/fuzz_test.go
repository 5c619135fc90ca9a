package anthropic

import (
	"encoding/json"
	"net/http"
	"testing"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func FuzzStream(f *testing.F) {
	for _, name := range []string{"text.sse", "thinking.sse"} {
		f.Add(golden(f, name))
	}
	f.Add(events(start, text, piece, end, stopped))
	f.Add(events(start, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`))
	f.Fuzz(func(t *testing.T, stream string) {
		m, err := New(Config{Model: "m", APIKey: "key", HTTPClient: &http.Client{Transport: modeltest.Body(stream)}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := m.Generate(t.Context(), modeltest.Ask("hi"), func(model.Live) {})
		modeltest.Check(t, a, err)
		if err != nil {
			return
		}
		a.Message.Cache = true
		if raw, err := json.Marshal(m.params(model.Request{Messages: []model.Message{a.Message}})); err != nil {
			t.Errorf("can't be sent back: %v: %s", err, raw)
		}
	})
}
