package openai

import (
	"testing"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

func BenchmarkFirstToken(b *testing.B) {
	for wire, events := range map[string][3]string{
		Responses: {created, piece, `data: {"type":"response.completed","response":{"output":[]}}` + "\n\n"},
		Chat:      {": begun\n\n", chatBit, chatText},
	} {
		b.Run(wire, func(b *testing.B) {
			modeltest.FirstToken(b, func(url string) model.Model {
				m, err := New(Config{Model: "m", APIKey: "k", BaseURL: url, Wire: wire})
				if err != nil {
					b.Fatal(err)
				}
				return m
			}, events[0], events[1], events[2])
		})
	}
}
