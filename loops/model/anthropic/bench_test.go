package anthropic

import (
	"testing"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func BenchmarkFirstToken(b *testing.B) {
	modeltest.FirstToken(b, func(url string) model.Model {
		m, err := New(Config{Model: "m", APIKey: "k", BaseURL: url})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}, events(start, text), events(piece), events(end, stopped))
}
