package agent

import (
	"context"
	"encoding/json"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

var _ loops.Talker = (*Body)(nil)

// Conversation implements [loops.Talker]. What every request begins with is not
// part of it, nor is what the model thought.
func (b *Body) Conversation(ctx context.Context, raw json.RawMessage, fetch func(context.Context, string) ([]byte, error)) ([]loops.Utterance, error) {
	m, err := decodeMemory(ctx, raw, keeper{turn: loops.Turn{Fetch: fetch}, cache: &cache{}})
	if err != nil {
		return nil, err
	}
	var said []loops.Utterance
	if m.Prompt.Text != "" {
		said = append(said, loops.Utterance{Role: loops.FromUser, Text: m.Prompt.Text})
	}
	for _, e := range m.entries() {
		for _, block := range e.Blocks {
			if u, ok := utterance(e.Role, block); ok {
				said = append(said, u)
			}
		}
	}
	return said, nil
}

// utterance is what a block says; ok is false for what is nobody's words.
func utterance(role model.Role, b model.Block) (u loops.Utterance, ok bool) {
	switch {
	case b.Call != nil:
		return loops.Utterance{Role: loops.FromAssistant, Tool: b.Call.Name, Text: string(b.Call.Args)}, true
	case b.Result != nil:
		return loops.Utterance{Role: loops.FromTool, Tool: b.Result.Name, Text: b.Result.Text}, true
	case b.Text == "":
		return u, false
	case role == model.Assistant:
		return loops.Utterance{Role: loops.FromAssistant, Text: b.Text}, true
	}
	return loops.Utterance{Role: loops.FromUser, Text: b.Text}, true
}
