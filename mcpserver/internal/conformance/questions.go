package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// addQuestions adds the tools that ask the client during a call, as servers
// could until 2026-07-28.
func addQuestions(s *server.MCPServer) {
	add(s, "test_elicitation", "Asks for a name and an address.", `{"type":"object","properties":{"message":{"type":"string"}}}`, asks("User response", `{"type":"object",
 "properties":{"username":{"type":"string","description":"User's response"},"email":{"type":"string","description":"User's email address"}},
 "required":["username","email"]}`))
	add(s, "test_elicitation_sep1034_defaults", "Asks for values that have defaults.", anyArguments, asks("Elicitation completed", `{"type":"object","properties":{
 "name":{"type":"string","default":"John Doe"},"age":{"type":"integer","default":30},"score":{"type":"number","default":95.5},
 "status":{"type":"string","enum":["active","inactive","pending"],"default":"active"},"verified":{"type":"boolean","default":true}}}`))
	add(s, "test_elicitation_sep1330_enums", "Asks for choices of all forms.", anyArguments, asks("Elicitation completed", `{"type":"object","properties":{
 "untitledSingle":{"type":"string","enum":["option1","option2","option3"]},
 "titledSingle":{"type":"string","oneOf":[{"const":"value1","title":"First Option"},{"const":"value2","title":"Second Option"},{"const":"value3","title":"Third Option"}]},
 "legacyEnum":{"type":"string","enum":["opt1","opt2","opt3"],"enumNames":["Option One","Option Two","Option Three"]},
 "untitledMulti":{"type":"array","items":{"type":"string","enum":["option1","option2","option3"]}},
 "titledMulti":{"type":"array","items":{"anyOf":[{"const":"value1","title":"First Choice"},{"const":"value2","title":"Second Choice"},{"const":"value3","title":"Third Choice"}]}}}}`))
	add(s, "test_sampling", "Asks the client's model.", `{"type":"object","properties":{"prompt":{"type":"string"}}}`, samples)
}

// asks is a tool that asks the person what schema says.
func asks(prefix, schema string) server.ToolHandlerFunc {
	return func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var form map[string]any
		if err := json.Unmarshal([]byte(schema), &form); err != nil {
			return nil, err
		}
		result, err := server.ServerFromContext(ctx).RequestElicitation(ctx, mcp.ElicitationRequest{
			Params: mcp.ElicitationParams{Message: r.GetString("message", "Please fill this in."), RequestedSchema: form},
		})
		if err != nil {
			return mcp.NewToolResultError(err.Error()), nil
		}
		return mcp.NewToolResultText(fmt.Sprintf("%s: action=%s, content=%v", prefix, result.Action, result.Content)), nil
	}
}

func samples(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	result, err := server.ServerFromContext(ctx).RequestSampling(ctx, mcp.CreateMessageRequest{CreateMessageParams: prompt(r.GetString("prompt", ""), 100)}) //nolint:staticcheck // the suite still asks for it
	if err != nil {
		return mcp.NewToolResultError(err.Error()), nil
	}
	return mcp.NewToolResultText("LLM response: " + said(result)), nil
}

func prompt(text string, tokens int) mcp.CreateMessageParams {
	return mcp.CreateMessageParams{
		Messages: []mcp.SamplingMessage{{Role: mcp.RoleUser, Content: mcp.NewTextContent(text)}}, MaxTokens: tokens,
	}
}

// said is the text of a model's answer.
func said(result *mcp.CreateMessageResult) string {
	if text, ok := mcp.AsTextContent(result.Content); ok {
		return text.Text
	}
	return fmt.Sprint(result.Content)
}
