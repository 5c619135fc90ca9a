// Conformance serves what the official conformance suite wants of a server, its
// tools, resources and prompts, on this project's own Streamable HTTP transport
// and tasks layer. The suite then tests these two; it is run by
// .ci/clients/conformance. It prints the endpoint's URL and serves until its
// standard input ends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"example.com/loop-mcp/mcpserver/streamhttp"
	"example.com/loop-mcp/mcpserver/tasks"
	"example.com/loop-mcp/mcpserver/tasks/taskstest"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is what counts
		stop()
	}()
	var backend taskstest.Backend
	layer := tasks.New(&backend, &tasks.Options{Info: &mcp.Implementation{Name: "conformance", Version: "1"}})
	s := fixtures(&backend)
	logging := levels{server: s}
	h := streamhttp.New(s, &streamhttp.Options{Before: logging.before, Around: refusals(layer.Around)})
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "http://%s/mcp\n", l.Addr())
	if err := h.Serve(ctx, l); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// fixtures is a server with everything that the suite calls by name.
func fixtures(backend *taskstest.Backend) *server.MCPServer {
	s := server.NewMCPServer("conformance", "1",
		server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true), server.WithPromptCapabilities(true),
		server.WithCompletions(), server.WithLogging(), server.WithElicitation(),
	)
	addTools(s)
	addQuestions(s)
	addRounds(s)
	addResources(s)
	addPrompts(s)
	backend.Mount(s)
	return s
}

// refusals gives the tools what mcp-go keeps from handlers: an error of the
// protocol as their answer.
func refusals(around func(context.Context, string, json.RawMessage, tasks.Next) mcp.JSONRPCMessage) func(context.Context, string, json.RawMessage, tasks.Next) mcp.JSONRPCMessage {
	return func(ctx context.Context, method string, msg json.RawMessage, next tasks.Next) mcp.JSONRPCMessage {
		refused := new(mcp.JSONRPCErrorDetails)
		answer := around(context.WithValue(ctx, refusalKey{}, refused), method, msg, next)
		if refused.Code == 0 {
			return answer
		}
		var request struct{ ID mcp.RequestId }
		_ = json.Unmarshal(msg, &request) // the transport has read it
		return mcp.JSONRPCError{JSONRPC: mcp.JSONRPC_VERSION, ID: request.ID, Error: *refused}
	}
}

type refusalKey struct{}

// refuse makes the answer of the call an error of the protocol.
func refuse(ctx context.Context, code int, message string, data any) (*mcp.CallToolResult, error) {
	*ctx.Value(refusalKey{}).(*mcp.JSONRPCErrorDetails) = mcp.JSONRPCErrorDetails{Code: code, Message: message, Data: data}
	return mcp.NewToolResultError(message), nil
}
