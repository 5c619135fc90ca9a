package openai

import (
	"context"
	"encoding/json"
	"strings"

	sdk "github.com/sashabaranov/go-openai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

const (
	answerName   = "answer" // of the schema of a structured answer
	maxCacheKey  = 64       // bytes
	maxCallID    = 64       // bytes, on Responses
	maxChatID    = 40       // bytes, on Chat
	errorMark    = "Error: "
	kindFunction = "function_call"
)

func (m *Model) openResponses(ctx context.Context, r model.Request) (rawStream, error) {
	stream, err := m.client.CreateResponseStream(ctx, m.responsesRequest(r))
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// responsesRequest is r in the API's words. Nothing is stored at the provider,
// so reasoning comes back encrypted and goes with the next request.
func (m *Model) responsesRequest(r model.Request) sdk.CreateResponseRequest {
	store := false
	q := sdk.CreateResponseRequest{
		Model: m.cfg.Model, Instructions: r.System, Input: m.input(r.Messages), MaxOutputTokens: int(r.MaxTok), Store: &store,
	}
	if m.vendor {
		q.PromptCacheKey = wire.CacheKey(r.CacheKey, maxCacheKey)
	}
	if reasons(m.cfg.Model) {
		q.Include = []sdk.ResponseInclude{sdk.ResponseIncludeReasoningEncryptedContent}
	}
	if m.cfg.Effort != "" {
		q.Reasoning = &sdk.ResponseReasoning{Effort: m.cfg.Effort}
	}
	for _, t := range r.Tools {
		q.Tools = append(q.Tools, sdk.ResponseTool{Type: sdk.ToolTypeFunction, Parameters: map[string]any{
			"name": t.Name, "description": t.Description, "parameters": wire.Schema(t.Schema),
			"strict": false, // here the default is true, which schemas of others' tools do not meet
		}})
	}
	if len(r.Schema) > 0 {
		q.Text = &sdk.ResponseTextConfig{Format: &sdk.ResponseTextFormat{Type: "json_schema", Name: answerName, Schema: r.Schema, Strict: true}}
	}
	return q
}

// reasons reports whether a model may reason. OpenAI refuses to encrypt the
// reasoning of one that does not.
func reasons(name string) bool {
	name = strings.ToLower(name[strings.LastIndex(name, "/")+1:])
	for _, prefix := range []string{"gpt-4", "gpt-3.5", "chatgpt-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return !strings.Contains(name, "-chat-latest")
}

// input is a conversation as a list of items.
func (m *Model) input(all []model.Message) []any {
	own := map[string]bool{} // calls that go back as this model made them
	items := []any{}
	for _, msg := range all {
		if raw, ok := wire.Kept(m.info.ID, msg.Native); ok && msg.Wire == Responses {
			var native []json.RawMessage
			if json.Unmarshal(raw, &native) == nil {
				for _, c := range msg.Calls() {
					own[c.ID] = true
				}
				for _, item := range native {
					items = append(items, item)
				}
				continue
			}
		}
		items = append(items, neutralItems(msg, own)...)
	}
	return items
}

type inputMessage struct {
	Type    string `json:"type"`
	Role    string `json:"role"`
	Content string `json:"content"`
}

type inputCall struct {
	Type      string `json:"type"`
	CallID    string `json:"call_id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type inputResult struct {
	Type   string `json:"type"`
	CallID string `json:"call_id"`
	Output string `json:"output"`
}

// neutralItems builds a message anew, without reasoning.
func neutralItems(msg model.Message, own map[string]bool) []any {
	var items []any
	for _, b := range msg.Blocks {
		switch {
		case b.Result != nil:
			items = append(items, inputResult{Type: "function_call_output", CallID: callID(b.Result.ID, own, maxCallID), Output: resultText(*b.Result)})
		case b.Call != nil:
			items = append(items, inputCall{Type: kindFunction, CallID: wire.CallID(b.Call.ID, maxCallID), Name: b.Call.Name, Arguments: string(wire.Object(b.Call.Args))})
		case b.Text != "":
			items = append(items, inputMessage{Type: "message", Role: string(msg.Role), Content: b.Text})
		}
	}
	return items
}

// callID is the id of a result: as the call that it answers went out.
func callID(id string, own map[string]bool, longest int) string {
	if own[id] {
		return id
	}
	return wire.CallID(id, longest)
}

// resultText says of a result that it is an error, for which the APIs have no
// member.
func resultText(r model.ToolResult) string {
	if r.Error && !strings.HasPrefix(strings.ToLower(r.Text), "error") {
		return errorMark + r.Text
	}
	return r.Text
}
