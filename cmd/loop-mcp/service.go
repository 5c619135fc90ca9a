package main

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/mcpserver"
	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// service is what every transport serves: the MCP server and the layers around it.
type service struct {
	server *server.MCPServer
	before func(context.Context, string, json.RawMessage) (context.Context, json.RawMessage)
	around func(context.Context, string, json.RawMessage, func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage
}

// service puts the layers around the tools. The first call that needs the store
// opens it.
func (l *lazyHost) service() service {
	version, _ := build()
	s := l.settings
	offer := &mcpserver.Options{
		Version: version, MaxWait: time.Duration(s.MaxWait), Files: files{s.library()}, HasStore: s.hasStore,
		Approvals: s.Approvals, Retention: cmp.Or(time.Duration(s.Retention), kvstate.DefaultRetention), Logger: l.options.log,
	}
	layer := tasks.New(mcpserver.NewTasks(l.engine, offer), &tasks.Options{Info: &mcp.Implementation{Name: "loop", Version: version}, Logger: l.options.log})
	around := func(ctx context.Context, method string, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage {
		return layer.Around(ctx, method, msg, func(ctx context.Context, msg json.RawMessage) mcp.JSONRPCMessage {
			return mcpserver.Around(ctx, method, msg, next)
		})
	}
	return service{server: mcpserver.New(l.engine, offer), before: mcpserver.KeepArguments, around: around}
}
