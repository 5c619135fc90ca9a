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
		Version: version, MaxWait: time.Duration(s.MaxWait), Files: files{s.library()}, Approvals: s.Approvals,
		Retention: cmp.Or(time.Duration(s.Retention), kvstate.DefaultRetention), Logger: l.options.log,
	}
	layer := tasks.New(mcpserver.NewTasks(l.engine, offer), &tasks.Options{Info: &mcp.Implementation{Name: "loop", Version: version}, Logger: l.options.log})
	return service{server: mcpserver.New(l.engine, offer), before: mcpserver.KeepArguments, around: layer.Around}
}
