package taskstest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// Mount adds the tools of the conformance suite's tasks scenarios to s:
//
//	greet {name}                   answers at once, never a task
//	slow_compute {seconds, label}  takes its time; a task where the client takes one
//	failing_job                    only as a task; its result is an error of the tool
//	protocol_error_job             a task that fails with a JSON-RPC error
//	confirm_delete {filename}      a task that asks once
//	multi_input                    a task that asks for two things at a time
//	test_tool_with_task            only as a task; asks before it begins one
func (b *Backend) Mount(s *server.MCPServer) {
	s.AddTool(tool("greet", "Greets somebody at once.", "name", "string"), greet)
	s.AddTool(tool("slow_compute", "Computes for some seconds.", "seconds", "number", "label", "string"), b.slow)
	s.AddTool(tool("failing_job", "A task whose result is an error."), b.job(true, func(context.Context, Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails) {
		return mcp.NewToolResultError("the job failed, as it should"), nil
	}))
	s.AddTool(tool("protocol_error_job", "A task that fails with a JSON-RPC error."), b.job(false, func(context.Context, Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails) {
		return nil, &mcp.JSONRPCErrorDetails{Code: mcp.INTERNAL_ERROR, Message: "the job crashed, as it should"}
	}))
	s.AddTool(tool("confirm_delete", "A task that asks for confirmation.", "filename", "string"), b.job(false, asking("confirm")))
	s.AddTool(tool("multi_input", "A task that asks for two things at a time."), b.job(false, asking("one", "two")))
	s.AddTool(tool("test_tool_with_task", "Asks for a name, then goes on as a task."), b.named)
}

func tool(name, text string, properties ...string) mcp.Tool {
	schema := map[string]any{}
	for i := 0; i < len(properties); i += 2 {
		schema[properties[i]] = map[string]any{"type": properties[i+1]}
	}
	raw, _ := json.Marshal(map[string]any{"type": "object", "properties": schema}) // plain data: can't fail
	return mcp.NewToolWithRawSchema(name, text, raw)
}

func greet(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return mcp.NewToolResultText(fmt.Sprintf("Hello, %s!", r.GetString("name", "stranger"))), nil
}

// job is a tool that is one task, or its work done at once where the client takes no task and the
// tool can do without.
func (b *Backend) job(only bool, work Work) server.ToolHandlerFunc {
	return func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		switch {
		case tasks.Offered(ctx):
			tasks.Accept(ctx, b.Start(newID(), work))
			return mcp.NewToolResultText("it goes on as a task"), nil
		case only:
			tasks.Require(ctx)
			return mcp.NewToolResultError("it works as a task only"), nil
		}
		result, failure := work(ctx, func(context.Context, map[string]mcp.InputRequest) (map[string]json.RawMessage, error) {
			return nil, errors.New("nobody can be asked without a task")
		})
		if failure != nil {
			return nil, errors.New(failure.Message)
		}
		return result, nil
	}
}

func (b *Backend) slow(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	d, label := time.Duration(r.GetFloat("seconds", 1)*float64(time.Second)), r.GetString("label", "")
	return b.job(false, func(ctx context.Context, _ Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return mcp.NewToolResultText(fmt.Sprintf("computed %s for %s", label, d)), nil
	})(ctx, r)
}

// asking is work that asks for a confirmation for each key, all at a time.
func asking(keys ...string) Work {
	return func(ctx context.Context, ask Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails) {
		inputs := map[string]mcp.InputRequest{}
		for _, key := range keys {
			inputs[key] = mcp.NewElicitationInputRequest(form("Please confirm "+key+".", "confirm", "boolean"))
		}
		answers, err := ask(ctx, inputs)
		if err != nil {
			return mcp.NewToolResultError(err.Error()), nil
		}
		return mcp.NewToolResultText("confirmed: " + strings.Join(slices.Sorted(maps.Keys(answers)), ", ")), nil
	}
}

func form(message, field, kind string) mcp.ElicitationParams {
	return mcp.ElicitationParams{Mode: mcp.ElicitationModeForm, Message: message, RequestedSchema: map[string]any{
		"type": "object", "properties": map[string]any{field: map[string]any{"type": kind}}, "required": []string{field},
	}}
}

// named asks for a name first, by an answer that asks, and is a task from then on.
func (b *Backend) named(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if !tasks.Offered(ctx) {
		tasks.Require(ctx)
		return mcp.NewToolResultError("it works as a task only"), nil
	}
	const key = "user_name"
	response, ok := server.InputResponse(r.Params.InputResponses, key)
	if !ok || response.DecodeFor(mcp.MethodElicitationCreate) != nil || response.Elicitation == nil {
		return server.NewInputRequestBuilder("asked").Elicit(key, form("What is your name?", "name", "string")).ToolResult(), nil //nolint:nilerr // an answer that is none is asked for again
	}
	fields, _ := response.Elicitation.Content.(map[string]any)
	return b.job(true, func(context.Context, Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails) {
		return mcp.NewToolResultText(fmt.Sprintf("Hello, %v!", fields["name"])), nil
	})(ctx, r)
}

func newID() string { return "task-" + strings.ToLower(rand.Text()) }
