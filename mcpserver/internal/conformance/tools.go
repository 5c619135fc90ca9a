package main

import (
	"context"
	"encoding/json"
	"time"

	"example.com/loop-mcp/mcpserver/streamhttp"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const (
	pixel   = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==" // a red dot, PNG
	silence = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="                                     // WAV
)

const anyArguments = `{"type":"object"}`

// schema2020 is the schema that the suite wants back word for word.
const schema2020 = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",
 "$defs":{"address":{"$anchor":"addressDef","type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}}}},
 "properties":{"name":{"type":"string"},"address":{"$ref":"#/$defs/address"},"contactMethod":{"type":"string","enum":["phone","email"]},"phone":{"type":"string"},"email":{"type":"string"}},
 "allOf":[{"anyOf":[{"required":["phone"]},{"required":["email"]}]}],
 "if":{"properties":{"contactMethod":{"const":"phone"}},"required":["contactMethod"]},"then":{"required":["phone"]},"else":{"required":["email"]},
 "additionalProperties":false}`

// add adds a tool whose schema is JSON.
func add(s *server.MCPServer, name, description, schema string, handle server.ToolHandlerFunc) {
	s.AddTool(mcp.NewToolWithRawSchema(name, description, json.RawMessage(schema)), handle)
}

// says is a tool that always answers the same.
func says(content ...mcp.Content) server.ToolHandlerFunc {
	return func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: content}, nil
	}
}

func addTools(s *server.MCPServer) {
	add(s, "test_simple_text", "Answers with a text.", anyArguments, says(mcp.NewTextContent("This is a simple text response for testing.")))
	add(s, "test_image_content", "Answers with an image.", anyArguments, says(mcp.NewImageContent(pixel, "image/png")))
	add(s, "test_audio_content", "Answers with a sound.", anyArguments, says(mcp.NewAudioContent(silence, "audio/wav")))
	add(s, "test_embedded_resource", "Answers with a resource.", anyArguments, says(embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")))
	add(s, "test_multiple_content_types", "Answers with a text, an image and a resource.", anyArguments, says(
		mcp.NewTextContent("Multiple content types test:"), mcp.NewImageContent(pixel, "image/png"),
		embedded("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`)))
	add(s, "test_error_handling", "Answers with an error.", anyArguments, func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("This tool intentionally returns an error for testing"), nil
	})
	add(s, "json_schema_2020_12_tool", "Has a schema with much of JSON Schema 2020-12.", schema2020, says(mcp.NewTextContent("ok")))
	add(s, "test_x_mcp_header", "Has an argument that clients repeat in a header.",
		`{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}`, says(mcp.NewTextContent("ok")))
	add(s, "test_tool_with_progress", "Reports progress three times.", anyArguments, progress)
	add(s, "test_tool_with_logging", "Logs three messages.", anyArguments, logs)
	add(s, "test_logging_tool", "Logs three messages.", anyArguments, logs)
	add(s, "test_missing_capability", "Needs a client that can sample.", anyArguments, needsSampling)
	add(s, "test_reconnection", "Closes its stream and goes on.", anyArguments, func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		streamhttp.Disconnect(ctx)
		return mcp.NewToolResultText("The stream was closed and the call went on."), nil
	})
	add(s, "test_trigger_tool_change", "Changes the list of tools.", anyArguments, func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		add(s, "test_changed", "Is there since the list was changed.", anyArguments, says(mcp.NewTextContent("ok")))
		return mcp.NewToolResultText("changed"), nil
	})
	add(s, "test_trigger_prompt_change", "Changes the list of prompts.", anyArguments, func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.AddPrompt(mcp.NewPrompt("test_changed", mcp.WithPromptDescription("Is there since the list was changed.")), prompts(mcp.NewTextContent("ok")))
		return mcp.NewToolResultText("changed"), nil
	})
}

func embedded(uri, kind, text string) mcp.Content {
	return mcp.NewEmbeddedResource(mcp.TextResourceContents{URI: uri, MIMEType: kind, Text: text})
}

// progress sends its notifications without a pause: a transport that loses one
// of them does so then.
func progress(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if r.Params.Meta == nil || r.Params.Meta.ProgressToken == nil {
		return mcp.NewToolResultText("nobody asked for progress"), nil
	}
	for _, n := range []int{0, 50, 100} {
		err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, string(mcp.MethodNotificationProgress),
			map[string]any{"progressToken": r.Params.Meta.ProgressToken, "progress": n, "total": 100})
		if err != nil {
			return nil, err
		}
	}
	// The suite's client drops progress that arrives together with the answer.
	<-time.After(20 * time.Millisecond)
	return mcp.NewToolResultText("progress reported"), nil
}

func logs(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	for _, text := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
		err := server.ServerFromContext(ctx).SendLogMessageToClient(ctx, mcp.NewLoggingMessageNotification(mcp.LoggingLevelInfo, "conformance", text))
		if err != nil {
			return nil, err
		}
	}
	<-time.After(20 * time.Millisecond)
	return mcp.NewToolResultText("Tool with logging executed successfully"), nil
}

func needsSampling(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if c := capabilities(ctx); c == nil || c.Sampling == nil {
		return refuse(ctx, mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs a client that can sample",
			map[string]any{"requiredCapabilities": map[string]any{"sampling": map[string]any{}}})
	}
	return mcp.NewToolResultText("ok"), nil
}

// capabilities are those that a request of the new era declares.
func capabilities(ctx context.Context) *mcp.ClientCapabilities {
	if info := server.RequestProtocolInfoFromContext(ctx); info != nil {
		return info.ClientCapabilities
	}
	return nil
}
