package anthropic

import (
	"encoding/json"
	"fmt"
	"strings"

	sdk "github.com/anthropics/anthropic-sdk-go"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

// assembly puts an answer together from the events of its stream. The library's
// own Accumulate copies the whole text for each piece of it, and drops what a
// tool call said when that is not JSON.
type assembly struct {
	live    func(model.Live)
	blocks  []*block
	usage   sdk.Usage
	cost    *int64
	model   string
	stop    sdk.StopReason
	refusal string
	ended   bool // message_stop came
}

// block is a content block that grows.
type block struct {
	raw                              string // as it began
	kind                             string
	id, name                         string
	text, thinking, signature, input strings.Builder
}

// add takes one event. It returns an error for what the protocol does not allow.
func (a *assembly) add(e sdk.MessageStreamEventUnion) error {
	switch e.Type {
	case "message_start":
		a.model, a.usage = e.Message.Model, e.Message.Usage
	case "content_block_start":
		if e.Index != int64(len(a.blocks)) {
			return fmt.Errorf("content block %d began as number %d", e.Index, len(a.blocks))
		}
		a.start(e.ContentBlock)
	case "content_block_delta":
		if e.Index < 0 || e.Index >= int64(len(a.blocks)) {
			return fmt.Errorf("a piece of content block %d, which never began", e.Index)
		}
		a.grow(a.blocks[e.Index], e.Delta)
	case "message_delta":
		a.stop, a.refusal = e.Delta.StopReason, e.Delta.StopDetails.Explanation
		a.count(e.Usage)
	case "message_stop":
		if a.stop == "" {
			return fmt.Errorf("message_stop without a stop_reason")
		}
		a.ended = true
	}
	return nil
}

func (a *assembly) start(c sdk.ContentBlockStartEventContentBlockUnion) {
	b := &block{raw: c.RawJSON(), kind: c.Type, id: c.ID, name: c.Name}
	b.text.WriteString(c.Text)
	b.thinking.WriteString(c.Thinking)
	b.signature.WriteString(c.Signature)
	if in, ok := c.Input.(map[string]any); ok && len(in) > 0 { // all at once, from servers that do not stream it
		raw, _ := wire.JSON(in)
		b.input.Write(raw)
	}
	a.blocks = append(a.blocks, b)
	switch b.kind {
	case "tool_use":
		a.emit(model.Live{Tool: b.name})
	case "text":
		a.say(c.Text, false)
	case "thinking":
		a.say(c.Thinking, true)
	}
}

func (a *assembly) grow(b *block, d sdk.MessageStreamEventUnionDelta) {
	switch d.Type {
	case "text_delta":
		b.text.WriteString(d.Text)
		a.say(d.Text, false)
	case "thinking_delta":
		b.thinking.WriteString(d.Thinking)
		a.say(d.Thinking, true)
	case "signature_delta":
		b.signature.WriteString(d.Signature)
	case "input_json_delta":
		b.input.WriteString(d.PartialJSON)
	}
}

func (a *assembly) say(text string, reasoning bool) {
	if text != "" {
		a.emit(model.Live{Text: text, Reasoning: reasoning})
	}
}

func (a *assembly) emit(l model.Live) {
	if a.live != nil {
		a.live(l)
	}
}

// count takes the totals of message_delta; what it leaves out stands as
// message_start said it.
func (a *assembly) count(u sdk.MessageDeltaUsage) {
	a.usage.OutputTokens = max(a.usage.OutputTokens, u.OutputTokens)
	if u.JSON.InputTokens.Valid() {
		a.usage.InputTokens = u.InputTokens
	}
	if u.JSON.CacheCreationInputTokens.Valid() {
		a.usage.CacheCreationInputTokens = u.CacheCreationInputTokens
	}
	if u.JSON.CacheReadInputTokens.Valid() {
		a.usage.CacheReadInputTokens = u.CacheReadInputTokens
	}
	if cost := wire.Cost(json.RawMessage(u.RawJSON())); cost != nil { // a router's
		a.cost = cost
	}
	if u.JSON.OutputTokensDetails.Valid() {
		a.usage.OutputTokensDetails = u.OutputTokensDetails
	}
}

// answer is what came. Its stream has ended.
func (a *assembly) answer(info model.Info, requestID string) model.Answer {
	msg := model.Message{Role: model.Assistant, Wire: wireName}
	var native []json.RawMessage
	stop := a.reason()
	for i, b := range a.blocks {
		cut := stop == model.StopLength && i == len(a.blocks)-1
		if raw := b.native(cut); raw != nil {
			native = append(native, raw)
		}
		if n, ok := b.neutral(cut); ok {
			msg.Blocks = append(msg.Blocks, n)
		}
	}
	if stop == model.StopRefusal && msg.Text() == "" && a.refusal != "" {
		msg.Blocks = append(msg.Blocks, model.Block{Text: a.refusal})
	}
	raw, _ := wire.JSON(native)
	msg.Native = wire.Keep(info.ID, raw)
	return model.Answer{Message: msg, Stop: stop, Usage: a.total(), Cost: a.cost, Model: a.model, RequestID: requestID}
}

func (a *assembly) reason() model.Stop {
	switch a.stop {
	case sdk.StopReasonMaxTokens, sdk.StopReasonModelContextWindowExceeded, sdk.StopReasonPauseTurn:
		return model.StopLength
	case sdk.StopReasonRefusal:
		return model.StopRefusal
	}
	for _, b := range a.blocks {
		if b.kind == "tool_use" {
			return model.StopTools
		}
	}
	return model.StopEnd
}

func (a *assembly) total() model.Usage {
	hour := min(a.usage.CacheCreation.Ephemeral1hInputTokens, a.usage.CacheCreationInputTokens)
	return model.Usage{
		Input: max(0, a.usage.InputTokens), CacheRead: max(0, a.usage.CacheReadInputTokens),
		CacheWrite: max(0, a.usage.CacheCreationInputTokens-max(0, hour)), CacheWrite1h: max(0, hour),
		Output: max(0, a.usage.OutputTokens), Reasoning: max(0, a.usage.OutputTokensDetails.ThinkingTokens),
	}
}

func (b *block) neutral(cut bool) (model.Block, bool) {
	switch b.kind {
	case "text":
		return model.Block{Text: b.text.String()}, b.text.Len() > 0
	case "thinking":
		return model.Block{Reasoning: b.thinking.String()}, b.thinking.Len() > 0
	case "tool_use":
		return model.Block{Call: &model.ToolCall{ID: b.id, Name: b.name, Args: wire.Args(b.input.String(), cut)}}, true
	}
	return model.Block{}, false
}

// native is the block as the API takes it back: what began it, with what came
// after. Nil: the API would refuse it.
func (b *block) native(cut bool) json.RawMessage {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal([]byte(b.raw), &fields) != nil {
		return nil
	}
	switch b.kind {
	case "text":
		if blank(b.text.String()) {
			return nil
		}
		fields["text"] = quoted(b.text.String())
	case "thinking":
		fields["thinking"], fields["signature"] = quoted(b.thinking.String()), quoted(b.signature.String())
	case "tool_use":
		fields["input"] = wire.Object(wire.Args(b.input.String(), cut))
	}
	raw, err := wire.JSON(fields)
	if err != nil {
		return nil
	}
	return raw
}

func quoted(s string) json.RawMessage {
	raw, _ := wire.JSON(s)
	return raw
}
