package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// round is a tool that answers with questions until it has what it needs. It
// returns a result, or nil and the next questions.
type round func(mcp.MultiRoundTripParams) (*mcp.CallToolResult, *server.InputRequestBuilder)

// addRounds adds the tools that ask by their answer, as servers do since
// 2026-07-28.
func addRounds(s *server.MCPServer) {
	for name, r := range map[string]round{
		"elicitation": asksName, "sampling": asksModel, "list_roots": asksRoots, "request_state": keepsState,
		"multiple_inputs": asksAll, "multi_round": asksTwice,
	} {
		add(s, "test_input_required_result_"+name, "Asks by its answer: "+strings.ReplaceAll(name, "_", " ")+".", anyArguments,
			func(_ context.Context, call mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				result, questions := r(call.Params.MultiRoundTripParams)
				if result == nil {
					return questions.ToolResult(), nil
				}
				return result, nil
			})
	}
	add(s, "test_input_required_result_tampered_state", "Refuses a state that it did not make.", anyArguments, signed)
	add(s, "test_input_required_result_capabilities", "Asks only what the client can answer.", anyArguments, fitting)
	add(s, "test_streaming_elicitation", "Asks by its answer on a stream.", anyArguments, func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return name("").ToolResult(), nil
	})
}

func form(message, field, kind string) mcp.ElicitationParams {
	return mcp.ElicitationParams{Message: message, RequestedSchema: map[string]any{
		"type": "object", "properties": map[string]any{field: map[string]any{"type": kind}}, "required": []string{field},
	}}
}

// name asks for a name.
func name(state string) *server.InputRequestBuilder {
	return server.NewInputRequestBuilder(state).Elicit("user_name", form("What is your name?", "name", "string"))
}

// field is what the person filled in, and whether they did.
func field(responses mcp.InputResponses, key, name string) (string, bool) {
	e := server.ElicitationResponse(responses, key)
	if e == nil {
		return "", false
	}
	fields, _ := e.Content.(map[string]any)
	value, ok := fields[name]
	return fmt.Sprint(value), ok
}

func text(format string, args ...any) *mcp.CallToolResult {
	return mcp.NewToolResultText(fmt.Sprintf(format, args...))
}

func asksName(p mcp.MultiRoundTripParams) (*mcp.CallToolResult, *server.InputRequestBuilder) {
	if who, ok := field(p.InputResponses, "user_name", "name"); ok {
		return text("Hello, %s!", who), nil
	}
	return nil, name("")
}

func asksModel(p mcp.MultiRoundTripParams) (*mcp.CallToolResult, *server.InputRequestBuilder) {
	if answer := server.SamplingResponse(p.InputResponses, "capital_question"); answer != nil {
		return text("%s", said(answer)), nil
	}
	return nil, server.NewInputRequestBuilder("").Sample("capital_question", prompt("What is the capital of France?", 100))
}

func asksRoots(p mcp.MultiRoundTripParams) (*mcp.CallToolResult, *server.InputRequestBuilder) {
	if roots := server.RootsResponse(p.InputResponses, "client_roots"); roots != nil {
		return text("Roots: %v", roots.Roots), nil
	}
	return nil, server.NewInputRequestBuilder("").Roots("client_roots")
}

func keepsState(p mcp.MultiRoundTripParams) (*mcp.CallToolResult, *server.InputRequestBuilder) {
	if p.RequestState == seal("confirm") && server.ElicitationResponse(p.InputResponses, "confirm") != nil {
		return text("state-ok"), nil
	}
	return nil, server.NewInputRequestBuilder(seal("confirm")).Elicit("confirm", form("Please confirm", "ok", "boolean"))
}

func asksAll(p mcp.MultiRoundTripParams) (*mcp.CallToolResult, *server.InputRequestBuilder) {
	who, named := field(p.InputResponses, "user_name", "name")
	greeting, roots := server.SamplingResponse(p.InputResponses, "greeting"), server.RootsResponse(p.InputResponses, "client_roots")
	if p.RequestState == seal("all") && named && greeting != nil && roots != nil {
		return text("%s, %s: %d roots", said(greeting), who, len(roots.Roots)), nil
	}
	return nil, name(seal("all")).Sample("greeting", prompt("Generate a greeting", 50)).Roots("client_roots")
}

func asksTwice(p mcp.MultiRoundTripParams) (*mcp.CallToolResult, *server.InputRequestBuilder) {
	first, second := seal("one"), seal("two")
	color, colored := field(p.InputResponses, "step2", "color")
	_, named := field(p.InputResponses, "step1", "name")
	switch {
	case p.RequestState == second && colored:
		return text("Your color is %s.", color), nil
	case p.RequestState == second || p.RequestState == first && named:
		return nil, server.NewInputRequestBuilder(second).Elicit("step2", form("Step 2: What is your favorite color?", "color", "string"))
	}
	return nil, server.NewInputRequestBuilder(first).Elicit("step1", form("Step 1: What is your name?", "name", "string"))
}

// seal makes a state that only this program can make.
func seal(state string) string {
	mac := hmac.New(sha256.New, []byte("known to this program"))
	mac.Write([]byte(state))
	return state + "." + hex.EncodeToString(mac.Sum(nil))
}

func signed(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	switch r.Params.RequestState {
	case "":
		return server.NewInputRequestBuilder(seal("signed")).Elicit("confirm", form("Please confirm", "ok", "boolean")).ToolResult(), nil
	case seal("signed"):
		return text("confirmed"), nil
	}
	return refuse(ctx, mcp.INVALID_PARAMS, "requestState was not made here", nil)
}

func fitting(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	questions, c := server.NewInputRequestBuilder(""), capabilities(ctx)
	if c != nil && c.Elicitation != nil {
		questions.Elicit("confirm", form("Please confirm", "ok", "boolean"))
	}
	if c != nil && c.Sampling != nil {
		questions.Sample("greeting", prompt("Generate a greeting", 50))
	}
	return questions.ToolResult(), nil
}
