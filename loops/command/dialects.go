package command

import (
	"encoding/json"
	"strings"
)

// claudeLive reads claude -p --output-format stream-json. With
// --include-partial-messages each text comes in deltas and then as a whole.
func claudeLive(a *agentLog, e *agentEvent) bool {
	switch e.Type {
	case "stream_event":
		return claudeDelta(a, e.Event)
	case "assistant":
		if a.parts {
			return true
		}
		var m struct {
			Content []struct{ Type, Text, ID, Name string }
		}
		if json.Unmarshal(e.Message, &m) != nil {
			return false
		}
		for _, block := range m.Content {
			switch block.Type {
			case "text":
				a.whole(block.Text)
			case "tool_use", "server_tool_use":
				a.tool(block.ID, block.Name)
			}
		}
		return true
	case "result":
		if !a.told || e.IsError {
			a.whole(e.Result)
		}
		return true
	case "system":
		if e.Subtype == "api_retry" {
			a.problem(e.Error)
		}
		return true
	}
	return e.Type == "user"
}

func claudeDelta(a *agentLog, raw json.RawMessage) bool {
	var e struct {
		Type  string
		Block struct{ Type, ID, Name string } `json:"content_block"`
		Delta struct{ Type, Text string }
	}
	if json.Unmarshal(raw, &e) != nil {
		return false
	}
	a.parts = true
	switch {
	case e.Type == "content_block_start":
		a.ended = true
		if strings.HasSuffix(e.Block.Type, "tool_use") {
			a.tool(e.Block.ID, e.Block.Name)
		}
	case e.Delta.Type == "text_delta":
		a.delta(e.Delta.Text)
	}
	return true
}

// codexLive reads codex exec --json.
func codexLive(a *agentLog, e *agentEvent) bool {
	switch e.Type {
	case "error":
		a.problem(e.Message)
		return true
	case "turn.failed":
		a.problem(e.Error)
		return true
	case "item.started", "item.updated", "item.completed":
	default:
		return strings.HasPrefix(e.Type, "thread.") || strings.HasPrefix(e.Type, "turn.")
	}
	var item struct {
		ID, Type, Text, Server, Tool string
		Message                      json.RawMessage
	}
	if json.Unmarshal(e.Item, &item) != nil {
		return false
	}
	switch item.Type {
	case "agent_message":
		if e.Type == "item.completed" {
			a.whole(item.Text)
		}
	case "error":
		a.problem(item.Message)
	case "mcp_tool_call":
		a.tool(item.ID, strings.Trim(item.Server+"."+item.Tool, "."))
	case "reasoning", "todo_list":
	default: // command_execution, file_change, web_search and what is to come
		a.tool(item.ID, item.Type)
	}
	return true
}

// geminiLive reads gemini -o stream-json.
func geminiLive(a *agentLog, e *agentEvent) bool {
	if e.Type == "message" && e.Role == "assistant" {
		var text string
		if json.Unmarshal(e.Content, &text) != nil {
			return false
		}
		a.delta(text)
		return true
	}
	a.ended = true
	switch e.Type {
	case "tool_use":
		a.tool("", e.Tool)
	case "error":
		a.problem(e.Message)
	case "result":
		a.problem(e.Error)
	}
	switch e.Type {
	case "init", "message", "tool_use", "tool_result", "error", "result":
		return true
	}
	return false
}

// openCodeLive reads opencode run --format json.
func openCodeLive(a *agentLog, e *agentEvent) bool {
	if e.Type == "error" {
		a.problem(e.Error)
		return true
	}
	var part struct {
		Text, Tool string
		Call       string `json:"callID"`
	}
	if e.OpenCode == "" || json.Unmarshal(e.Part, &part) != nil {
		return false
	}
	switch e.Type {
	case "text":
		a.whole(part.Text)
	case "tool_use":
		a.tool(part.Call, part.Tool)
	case "step_start", "step_finish", "reasoning":
	default:
		return false
	}
	return true
}
