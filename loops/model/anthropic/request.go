package anthropic

import (
	"encoding/json"
	"strings"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/packages/param"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

const (
	usualOutput = 32_000
	maxMarks    = 4  // cache marks that the API takes
	maxCallID   = 64 // bytes
)

// params is r in the API's words.
func (m *Model) params(r model.Request) sdk.MessageNewParams {
	p := sdk.MessageNewParams{Model: m.cfg.Model, MaxTokens: r.MaxTok}
	if p.MaxTokens <= 0 {
		p.MaxTokens = usualOutput
		if m.cfg.MaxOutput > 0 {
			p.MaxTokens = m.cfg.MaxOutput
		}
	}
	marks := maxMarks
	for _, t := range r.Tools {
		tool := &sdk.ToolParam{Name: t.Name, InputSchema: param.Override[sdk.ToolInputSchemaParam](wire.Schema(t.Schema))}
		if t.Description != "" {
			tool.Description = sdk.String(t.Description)
		}
		p.Tools = append(p.Tools, sdk.ToolUnionParam{OfTool: tool})
	}
	if n := len(p.Tools); n > 0 {
		p.Tools[n-1].OfTool.CacheControl = sdk.NewCacheControlEphemeralParam()
		marks--
	}
	if !blank(r.System) {
		p.System = []sdk.TextBlockParam{{Text: r.System, CacheControl: sdk.NewCacheControlEphemeralParam()}}
		marks--
	}
	if len(r.Schema) > 0 {
		p.OutputConfig.Format = param.Override[sdk.JSONOutputFormatParam](map[string]any{"type": "json_schema", "schema": r.Schema})
	}
	p.Messages = m.messages(r.Messages, marks)
	m.setEffort(&p)
	return p
}

func (m *Model) setEffort(p *sdk.MessageNewParams) {
	switch m.cfg.Effort {
	case "":
	case "none":
		p.Thinking = sdk.ThinkingConfigParamUnion{OfDisabled: &sdk.ThinkingConfigDisabledParam{}}
	default:
		p.Thinking = sdk.ThinkingConfigParamUnion{OfAdaptive: &sdk.ThinkingConfigAdaptiveParam{}}
		p.OutputConfig.Effort = sdk.OutputConfigEffort(m.cfg.Effort)
	}
}

// messages translates a conversation; the last of those that ask for it get a
// cache mark, as many as are left.
func (m *Model) messages(all []model.Message, marks int) []sdk.MessageParam {
	wanted := 0
	for _, msg := range all {
		if msg.Cache {
			wanted++
		}
	}
	own := map[string]bool{} // calls that go back as this model made them
	var out []sdk.MessageParam
	for _, msg := range all {
		mark := msg.Cache && wanted <= marks
		if msg.Cache {
			wanted--
		}
		content := m.content(msg, own)
		if len(content) == 0 {
			continue // the API takes no empty message
		}
		if mark {
			setMark(content)
		}
		out = append(out, sdk.MessageParam{Role: sdk.MessageParamRole(msg.Role), Content: content})
	}
	return out
}

func (m *Model) content(msg model.Message, own map[string]bool) []sdk.ContentBlockParamUnion {
	if raw, ok := wire.Kept(m.info.ID, msg.Native); ok && msg.Wire == wireName {
		var blocks []json.RawMessage
		if json.Unmarshal(raw, &blocks) == nil {
			for _, c := range msg.Calls() {
				own[c.ID] = true
			}
			return verbatim(blocks)
		}
	}
	return neutral(msg, own)
}

func verbatim(blocks []json.RawMessage) []sdk.ContentBlockParamUnion {
	out := make([]sdk.ContentBlockParamUnion, len(blocks))
	for i, b := range blocks {
		out[i] = param.Override[sdk.ContentBlockParamUnion](b)
	}
	return out
}

// neutral builds a message anew, without reasoning. Results of tools come first:
// the API wants them right after the calls.
func neutral(msg model.Message, own map[string]bool) []sdk.ContentBlockParamUnion {
	var results, rest []sdk.ContentBlockParamUnion
	for _, b := range msg.Blocks {
		switch {
		case b.Result != nil:
			results = append(results, result(*b.Result, own))
		case b.Call != nil:
			rest = append(rest, sdk.NewToolUseBlock(wire.CallID(b.Call.ID, maxCallID), wire.Object(b.Call.Args), b.Call.Name))
		case !blank(b.Text): // the API takes no blank text
			rest = append(rest, sdk.NewTextBlock(b.Text))
		}
	}
	return append(results, rest...)
}

func result(r model.ToolResult, own map[string]bool) sdk.ContentBlockParamUnion {
	id := r.ID
	if !own[id] {
		id = wire.CallID(id, maxCallID)
	}
	block := sdk.ToolResultBlockParam{ToolUseID: id}
	if !blank(r.Text) {
		block.Content = []sdk.ToolResultBlockParamContentUnion{{OfText: &sdk.TextBlockParam{Text: r.Text}}}
	}
	if r.Error {
		block.IsError = sdk.Bool(true)
	}
	return sdk.ContentBlockParamUnion{OfToolResult: &block}
}

// setMark puts a cache mark on the last block that can carry one.
func setMark(content []sdk.ContentBlockParamUnion) {
	for i := len(content) - 1; i >= 0; i-- {
		if mark := content[i].GetCacheControl(); mark != nil {
			*mark = sdk.NewCacheControlEphemeralParam()
			return
		}
		raw, own := content[i].Overrides()
		b, _ := raw.(json.RawMessage)
		if kind := typeOf(b); own && (kind == "text" || kind == "tool_use") {
			content[i] = param.Override[sdk.ContentBlockParamUnion](json.RawMessage(string(b[:len(b)-1]) + `,"cache_control":{"type":"ephemeral"}}`))
			return
		}
	}
}

func typeOf(block json.RawMessage) string {
	var b struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(block, &b) != nil {
		return ""
	}
	return b.Type
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }
