package openai

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

// chatAnswer is an answer of the Chat Completions API as it grows.
type chatAnswer struct {
	live func(model.Live)

	id, model        string
	text, refusal    strings.Builder
	thought, content strings.Builder   // reasoning and reasoning_content: servers have one of them, or both with the same text
	details          []json.RawMessage // reasoning_details, in pieces
	calls            []*growingCall
	finish           string
	usage            json.RawMessage
	some             bool
}

type growingCall struct {
	index    *int
	id, name string
	args     strings.Builder
	extra    json.RawMessage
}

type chunk struct {
	ID      string          `json:"id"`
	Model   string          `json:"model"`
	Choices []choice        `json:"choices"`
	Usage   json.RawMessage `json:"usage"`
	Error   json.RawMessage `json:"error"`
}

type choice struct {
	Index  int    `json:"index"`
	Delta  delta  `json:"delta"`
	Finish string `json:"finish_reason"`
}

type delta struct {
	Content          json.RawMessage   `json:"content"` // a text; Mistral's reasoning models: parts
	Refusal          string            `json:"refusal"`
	Reasoning        string            `json:"reasoning"`         // OpenRouter, Ollama, vLLM, Groq
	ReasoningContent string            `json:"reasoning_content"` // DeepSeek, llama.cpp, older vLLM
	Details          []json.RawMessage `json:"reasoning_details"` // OpenRouter
	Calls            []callDelta       `json:"tool_calls"`
}

type callDelta struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"` // a text; from some servers the object itself
	} `json:"function"`
	Extra json.RawMessage `json:"extra_content"`
}

func (a *chatAnswer) begun() bool { return a.some }

// ended is false even after the finish: the usage comes later.
func (a *chatAnswer) ended() bool { return false }

func (a *chatAnswer) closed() error {
	if a.finish == "" {
		return errors.New("the stream closed without a finish_reason")
	}
	return nil
}

func (a *chatAnswer) add(raw []byte) error {
	var c chunk
	if err := json.Unmarshal(raw, &c); err != nil {
		return malformed(err)
	}
	if len(c.Error) > 0 && string(c.Error) != "null" {
		return problem(raw)
	}
	a.id, a.model = or(a.id, c.ID), or(a.model, c.Model)
	if len(c.Usage) > 0 && string(c.Usage) != "null" {
		a.usage = c.Usage
	}
	for _, ch := range c.Choices {
		if ch.Index != 0 {
			continue
		}
		a.grow(ch.Delta)
		if ch.Finish == "error" {
			return problem([]byte(`{"message":"the provider ended its answer with an error and gave no reason"}`))
		}
		a.finish = or(ch.Finish, a.finish)
	}
	return nil
}

func (a *chatAnswer) grow(d delta) {
	text, thought := contentOf(d.Content)
	a.thought.WriteString(d.Reasoning)
	a.content.WriteString(d.ReasoningContent)
	a.say(or(or(d.ReasoningContent, d.Reasoning), thought), true)
	if d.Reasoning == "" && d.ReasoningContent == "" {
		a.thought.WriteString(thought)
	}
	a.text.WriteString(text)
	a.refusal.WriteString(d.Refusal)
	a.say(text+d.Refusal, false)
	a.details = append(a.details, d.Details...)
	for _, c := range d.Calls {
		a.call(c)
	}
}

func (a *chatAnswer) say(text string, reasoning bool) {
	if text != "" {
		a.some = true
		a.live(model.Live{Text: text, Reasoning: reasoning})
	}
}

// call takes a piece of a tool call. Servers differ: a call's pieces share an
// index, or have none and only the first has an id; and some give each whole
// call the index 0.
func (a *chatAnswer) call(d callDelta) {
	var c *growingCall
	for _, known := range a.calls {
		if d.Index != nil && known.index != nil && *known.index == *d.Index {
			c = known
		}
	}
	if c == nil && d.Index == nil && len(a.calls) > 0 {
		c = a.calls[len(a.calls)-1]
	}
	if c == nil || d.ID != "" && c.id != "" && d.ID != c.id {
		c = &growingCall{index: d.Index}
		a.calls = append(a.calls, c)
	}
	c.id = or(c.id, d.ID)
	if c.name == "" && d.Function.Name != "" {
		c.name = d.Function.Name
		a.some = true
		a.live(model.Live{Tool: c.name})
	}
	c.args.WriteString(argsOf(d.Function.Arguments))
	if len(d.Extra) > 0 {
		c.extra = d.Extra
	}
}

func (a *chatAnswer) answer(info model.Info, requestID string) model.Answer {
	msg := model.Message{Role: model.Assistant, Wire: Chat}
	if thought := or(a.content.String(), a.thought.String()); thought != "" {
		msg.Blocks = append(msg.Blocks, model.Block{Reasoning: thought})
	}
	if text := a.text.String() + a.refusal.String(); text != "" {
		msg.Blocks = append(msg.Blocks, model.Block{Text: text})
	}
	for i, c := range a.calls {
		if c.id == "" { // results must name what they answer
			c.id = "call_" + rand.Text()
		}
		cut := a.finish == "length" && i == len(a.calls)-1
		msg.Blocks = append(msg.Blocks, model.Block{Call: &model.ToolCall{ID: c.id, Name: c.name, Args: wire.Args(c.args.String(), cut)}})
	}
	msg.Native = wire.Keep(info.ID, a.native(msg))
	u, cost := count(a.usage)
	return model.Answer{Message: msg, Stop: a.reason(), Usage: u, Cost: cost, Model: a.model, RequestID: or(requestID, a.id)}
}

func (a *chatAnswer) reason() model.Stop {
	switch {
	case a.finish == "length":
		return model.StopLength
	case a.finish == "content_filter" || a.refusal.Len() > 0:
		return model.StopRefusal
	case len(a.calls) > 0: // some servers say "stop"
		return model.StopTools
	}
	return model.StopEnd
}

// nativeMessage is an answer as its server takes it back.
type nativeMessage struct {
	chatMessage
	Refusal          string            `json:"refusal,omitempty"`
	Reasoning        string            `json:"reasoning,omitempty"`
	ReasoningContent string            `json:"reasoning_content,omitempty"`
	Details          []json.RawMessage `json:"reasoning_details,omitempty"`
}

func (a *chatAnswer) native(msg model.Message) json.RawMessage {
	n := nativeMessage{
		chatMessage: chatMessage{Role: "assistant"}, Refusal: a.refusal.String(),
		Reasoning: a.thought.String(), ReasoningContent: a.content.String(), Details: joined(a.details),
	}
	if text := a.text.String(); text != "" {
		n.Content = &text
	}
	for i, c := range msg.Calls() {
		n.Calls = append(n.Calls, chatCall{ID: c.ID, Type: "function", Extra: a.calls[i].extra,
			Function: chatFunction{Name: c.Name, Arguments: string(wire.Object(c.Args))}})
	}
	if n.Content == nil && n.Calls == nil && n.Refusal == "" {
		return json.RawMessage("null") // servers take no empty message
	}
	return marshal(n)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
