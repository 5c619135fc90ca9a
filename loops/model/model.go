package model

import (
	"context"
	"encoding/json"
	"strings"
)

// Model is one model of one provider. Safe for concurrent use.
type Model interface {
	// Info says what the model is. It costs nothing and never changes.
	Info() Info
	// Generate makes one call. Live text goes to live as it arrives, which may
	// be nil and must not block. Every error is an [*Error], except that of a
	// ctx that ended, which wraps it too. An answer whose stream ended without
	// its terminal event is an error (Incomplete), never an answer.
	Generate(ctx context.Context, r Request, live func(Live)) (Answer, error)
}

// Info is what is known of a model.
type Info struct {
	ID            string // "anthropic/claude-sonnet-4-5": provider and model, for records
	Provider      string // "anthropic", "openai", "gemini" or the alias of a compatible server
	Model         string // the vendor's name
	Wire          string // "anthropic", "responses", "chat" or "gemini": whose Native it understands
	ContextWindow int64  // tokens; 0: unknown
	MaxOutput     int64  // tokens of one answer; 0: unknown
	Price         *Price // nil: unknown
	KeyEnv        string // the environment variable with the key, for messages; empty: none needed
}

// Request is one call.
type Request struct {
	System   string
	Messages []Message
	Tools    []Tool          // in an order that never changes within a loop, so that the prefix can be cached
	Schema   json.RawMessage // JSON Schema of the answer; empty: free text
	MaxTok   int64           // output tokens at most, reasoning included; 0: the model's own limit
	CacheKey string          // the same for all calls of a conversation; helps the provider's cache
}

// Tool is something that the model can ask for.
type Tool struct {
	Name        string // [a-zA-Z0-9_-]{1,64}
	Description string
	Schema      json.RawMessage // JSON Schema of its arguments, an object
}

// Role says who speaks.
type Role string

// The roles. Results of tools are the user's.
const (
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one turn of a conversation.
type Message struct {
	Role   Role            `json:"role"`
	Blocks []Block         `json:"blocks"`
	Wire   string          `json:"wire,omitempty"`   // of Native
	Native json.RawMessage `json:"native,omitempty"` // the provider's own form of an assistant's turn
	Cache  bool            `json:"cache,omitempty"`  // the prefix up to here stays the same: worth caching
}

// Block is a part of a message. Exactly one of its fields is set.
type Block struct {
	Text      string      `json:"text,omitempty"`
	Reasoning string      `json:"reasoning,omitempty"` // never sent to another wire
	Call      *ToolCall   `json:"call,omitempty"`
	Result    *ToolResult `json:"result,omitempty"`
}

// ToolCall is a tool that the model asks for.
type ToolCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"` // an object; what is not valid JSON is a JSON string of the text
}

// ToolResult answers a ToolCall.
type ToolResult struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Text  string `json:"text"`
	Error bool   `json:"error,omitempty"`
}

// Text returns a message of one text.
func Text(role Role, text string) Message {
	return Message{Role: role, Blocks: []Block{{Text: text}}}
}

// Text joins the texts of a message, without reasoning, calls and results.
func (m Message) Text() string {
	var text strings.Builder
	for _, b := range m.Blocks {
		text.WriteString(b.Text)
	}
	return text.String()
}

// Calls returns the tools that the message asks for, in order.
func (m Message) Calls() []ToolCall {
	var calls []ToolCall
	for _, b := range m.Blocks {
		if b.Call != nil {
			calls = append(calls, *b.Call)
		}
	}
	return calls
}

// Answer is what a call came to.
type Answer struct {
	Message   Message
	Stop      Stop
	Usage     Usage
	Cost      *int64 // micro-dollars, when the provider says so; else nil
	Model     string // as the provider names it
	RequestID string // of the provider, for its support
}

// Stop says why the model stopped.
type Stop string

// The reasons to stop.
const (
	StopEnd     Stop = "end"        // finished
	StopTools   Stop = "tools"      // waits for tool results
	StopLength  Stop = "max_tokens" // MaxTok or the model's own limit: the text is cut
	StopRefusal Stop = "refusal"    // the provider or model declined
)

// Usage counts tokens. The parts do not overlap: what was read from or written
// to a cache is not in Input. Reasoning is part of Output.
type Usage struct {
	Input        int64 `json:"input"`
	CacheRead    int64 `json:"cache_read,omitempty"`
	CacheWrite   int64 `json:"cache_write,omitempty"`    // kept for the provider's usual time
	CacheWrite1h int64 `json:"cache_write_1h,omitempty"` // kept for an hour
	Output       int64 `json:"output"`
	Reasoning    int64 `json:"reasoning,omitempty"`
}

// AllInput is every token that went in, cached ones included. Sums stop at the
// largest number, and a negative count is none: a server that counts nonsense
// must not lower what a loop has spent.
func (u Usage) AllInput() int64 {
	return add(add(u.Input, u.CacheRead), add(u.CacheWrite, u.CacheWrite1h))
}

// Total is every token in and out.
func (u Usage) Total() int64 { return add(u.AllInput(), u.Output) }

// Live is a piece of an answer as it arrives.
type Live struct {
	Text      string
	Reasoning bool   // Text is reasoning
	Tool      string // the name of a tool that the model asks for
}
