package mcpserver

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"
)

// result puts an answer into both halves of a tool result; a question to the
// person is one already.
func result(answer any) (*mcp.CallToolResult, error) {
	if round, ok := answer.(*mcp.CallToolResult); ok {
		return round, nil
	}
	data, err := encode(answer)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return &mcp.CallToolResult{
		Content:           []mcp.Content{mcp.NewTextContent(string(data))},
		StructuredContent: json.RawMessage(data),
	}, nil
}

// encode writes compact JSON and leaves <, > and & readable: some models see
// this text as it is.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
