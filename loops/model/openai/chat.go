package openai

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	sdk "github.com/sashabaranov/go-openai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

// chatBody is a request as it goes out. The library's type has no member for
// the cache key, and its messages drop what servers want back as it came.
type chatBody struct {
	sdk.ChatCompletionRequest
	Messages []json.RawMessage `json:"messages"`
	CacheKey string            `json:"prompt_cache_key,omitempty"`
}

func (m *Model) openChat(ctx context.Context, r model.Request) (rawStream, error) {
	body := m.chatRequest(r)
	raw, err := wire.JSON(body)
	if err != nil {
		return nil, err
	}
	stream, err := m.client.CreateChatCompletionStream(withBody(ctx, raw), body.ChatCompletionRequest)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// chatRequest is r in the API's words.
func (m *Model) chatRequest(r model.Request) chatBody {
	q := sdk.ChatCompletionRequest{
		Model: m.cfg.Model, Stream: true, ReasoningEffort: m.cfg.Effort,
		StreamOptions: &sdk.StreamOptions{IncludeUsage: true},
	}
	m.setMax(&q, int(r.MaxTok))
	for _, t := range r.Tools {
		q.Tools = append(q.Tools, sdk.Tool{Type: sdk.ToolTypeFunction, Function: &sdk.FunctionDefinition{
			Name: t.Name, Description: t.Description, Parameters: wire.Schema(t.Schema),
		}})
	}
	if len(r.Schema) > 0 {
		q.ResponseFormat = &sdk.ChatCompletionResponseFormat{
			Type:       sdk.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &sdk.ChatCompletionResponseFormatJSONSchema{Name: answerName, Schema: r.Schema, Strict: true},
		}
	}
	body := chatBody{ChatCompletionRequest: q, Messages: m.chatMessages(r)}
	if m.vendor {
		body.CacheKey = wire.CacheKey(r.CacheKey, maxCacheKey)
	}
	return body
}

// setMax bounds the output. Servers know max_tokens; OpenAI's reasoning models,
// wherever they are served, refuse it.
func (m *Model) setMax(q *sdk.ChatCompletionRequest, n int) {
	q.MaxTokens = n //nolint:staticcheck // deprecated by OpenAI, and all that other servers know
	if m.vendor || errors.Is(sdk.NewReasoningValidator().Validate(*q), sdk.ErrReasoningModelMaxTokensDeprecated) {
		q.MaxTokens, q.MaxCompletionTokens = 0, n //nolint:staticcheck // see above
	}
}

// chatMessages is a conversation in the API's words.
func (m *Model) chatMessages(r model.Request) []json.RawMessage {
	own := map[string]bool{} // calls that go back as this model made them
	out := []json.RawMessage{}
	if r.System != "" {
		out = append(out, marshal(chatMessage{Role: "system", Content: &r.System}))
	}
	for _, msg := range spokenOnce(r.Messages) {
		if raw, ok := wire.Kept(m.info.ID, msg.Native); ok && msg.Wire == Chat && string(raw) != "null" {
			for _, c := range msg.Calls() {
				own[c.ID] = true
			}
			out = append(out, raw)
			continue
		}
		out = append(out, neutralMessages(msg, own)...)
	}
	return out
}

// spokenOnce makes one message of texts that a user says in a row: the templates of
// some local models refuse a role that speaks twice.
func spokenOnce(all []model.Message) []model.Message {
	var out []model.Message
	for _, msg := range all {
		if n := len(out); n > 0 && msg.Role == model.User && out[n-1].Role == model.User && onlyText(msg) && onlyText(out[n-1]) {
			out[n-1].Blocks = append(slices.Clone(out[n-1].Blocks), msg.Blocks...)
			continue
		}
		out = append(out, msg)
	}
	return out
}

func onlyText(m model.Message) bool {
	return !slices.ContainsFunc(m.Blocks, func(b model.Block) bool { return b.Call != nil || b.Result != nil })
}

// chatMessage is a message without what only its maker understands.
type chatMessage struct {
	Role    string     `json:"role"`
	Content *string    `json:"content"`
	Calls   []chatCall `json:"tool_calls,omitempty"`
	CallID  string     `json:"tool_call_id,omitempty"`
}

type chatCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function chatFunction `json:"function"`
	// Extra is what Google's compatible server hands out: a signature that it
	// wants back.
	Extra json.RawMessage `json:"extra_content,omitempty"`
}

type chatFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// neutralMessages builds a message anew, without reasoning. Each result of a
// tool is a message of its own, and they come first.
func neutralMessages(msg model.Message, own map[string]bool) []json.RawMessage {
	var out []json.RawMessage
	var texts []string
	rest := chatMessage{Role: string(msg.Role)}
	for _, b := range msg.Blocks {
		switch {
		case b.Result != nil:
			text := resultText(*b.Result)
			out = append(out, marshal(chatMessage{Role: "tool", CallID: callID(b.Result.ID, own, maxChatID), Content: &text}))
		case b.Call != nil:
			rest.Calls = append(rest.Calls, chatCall{ID: wire.CallID(b.Call.ID, maxChatID), Type: "function",
				Function: chatFunction{Name: b.Call.Name, Arguments: string(wire.Object(b.Call.Args))}})
		case b.Text != "":
			texts = append(texts, b.Text)
		}
	}
	if text := strings.Join(texts, "\n\n"); text != "" {
		rest.Content = &text
	}
	if rest.Content != nil || len(rest.Calls) > 0 {
		out = append(out, marshal(rest))
	}
	return out
}

func marshal(v any) json.RawMessage {
	raw, _ := wire.JSON(v)
	return raw
}
