package streamhttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// world is a handler on a server of net/http, and a client of both eras.
type world struct {
	*testing.T
	handler *Handler
	server  *httptest.Server
	client  *http.Client
	url     string
	token   string
	session string
	version string
}

// live starts a server with the tools of newServer.
func live(t *testing.T, s *server.MCPServer, opts *Options) *world {
	t.Helper()
	if s == nil {
		s = newServer()
	}
	if opts == nil {
		opts = &Options{}
	}
	h := New(s, opts)
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	srv.Start()
	w := &world{T: t, handler: h, server: srv, client: srv.Client(), url: srv.URL + "/mcp"}
	t.Cleanup(func() {
		_ = h.Shutdown(t.Context()) // which has ended: at once
		srv.CloseClientConnections()
		srv.Close()
		srv.Client().CloseIdleConnections()
	})
	return w
}

// newServer has tools that show what a transport does.
func newServer() *server.MCPServer {
	s := server.NewMCPServer("test", "1", server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true), server.WithLogging())
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	})
	s.AddTool(mcp.NewTool("count", mcp.WithNumber("to")), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		to := min(r.GetInt("to", 1), 5000)
		for i := 0; i < to && ctx.Err() == nil; i++ {
			notifyProgress(ctx, r, i+1)
		}
		return mcp.NewToolResultText(fmt.Sprint(to)), nil
	})
	s.AddTool(mcp.NewTool("panic"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic("no") })
	s.AddTool(mcp.NewTool("whoami"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		session := server.ClientSessionFromContext(ctx)
		info := session.(server.SessionWithClientInfo)
		return mcp.NewToolResultText(fmt.Sprintf("%s roots=%t %s", info.GetClientInfo().Name, info.GetClientCapabilities().Roots != nil, server.RequestProtocolVersion(ctx))), nil
	})
	return s
}

func notifyProgress(ctx context.Context, r mcp.CallToolRequest, n int) {
	if r.Params.Meta == nil || r.Params.Meta.ProgressToken == nil {
		return
	}
	params := map[string]any{"progressToken": r.Params.Meta.ProgressToken, "progress": n}
	if text := r.GetString("message", ""); text != "" {
		params["message"] = text
	}
	_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", params)
}

// request is what the tests send; zero values are what a client does.
type request struct {
	http   string // method; empty: POST
	body   string
	header map[string]string // an empty value deletes
	host   string
}

// send returns the response as it comes.
func (w *world) send(ctx context.Context, q request) *http.Response {
	w.Helper()
	resp, err := w.try(ctx, q)
	if err != nil {
		w.Fatal(err)
	}
	return resp
}

func (w *world) try(ctx context.Context, q request) (*http.Response, error) {
	method := q.http
	if method == "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, w.url, strings.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{headerSession: w.session, mcp.HeaderProtocolVersion: w.version} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if w.token != "" {
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	for name, value := range q.header {
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if q.host != "" {
		r.Host = q.host
	}
	return w.client.Do(r)
}

// said is a whole response.
type said struct {
	status int
	header http.Header
	body   string
	events []sse
}

// ask sends and reads to the end.
func (w *world) ask(q request) said {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	resp := w.send(ctx, q)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatalf("read the response: %v", err)
	}
	return said{resp.StatusCode, resp.Header, string(data), parseSSE(string(data))}
}

// sse is one event of a stream.
type sse struct{ id, retry, data string }

func parseSSE(text string) []sse {
	var all []sse
	for block := range strings.SplitSeq(text, "\n\n") {
		if e, ok := parseEvent(block); ok {
			all = append(all, e)
		}
	}
	return all
}

func parseEvent(block string) (e sse, ok bool) {
	for line := range strings.SplitSeq(block, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			e.id, ok = value, true
		case "retry":
			e.retry, ok = value, true
		case "data":
			e.data, ok = value, true
		}
	}
	return e, ok
}

// events reads a stream event by event.
func events(body io.Reader) func() (sse, bool) {
	lines := bufio.NewReader(body)
	return func() (sse, bool) {
		var block strings.Builder
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return sse{}, false
			}
			if line != "\n" {
				block.WriteString(line)
				continue
			}
			if e, ok := parseEvent(block.String()); ok {
				return e, true
			}
			block.Reset()
		}
	}
}

// call is the body of a tools/call. meta is the inside of _meta.
func callBody(id, tool, args, meta string) string {
	if meta != "" {
		meta = `,"_meta":{` + meta + `}`
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":%s%s}}`, id, tool, args, meta)
}

const modernMeta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"m","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}`

// modernHeader is what a client of 2026-07-28 sends with a call of a tool.
func modernHeader(method, name string) map[string]string {
	header := map[string]string{mcp.HeaderProtocolVersion: "2026-07-28", mcp.HeaderMethod: method, headerSession: ""}
	if name != "" {
		header[mcp.HeaderName] = name
	}
	return header
}

func modernCall(id, tool, args string) request {
	return request{body: callBody(id, tool, args, modernMeta), header: modernHeader("tools/call", tool)}
}

func modernProgress(id, tool, args, token string) request {
	q := modernCall(id, tool, args)
	q.body = callBody(id, tool, args, modernMeta+`,"progressToken":`+token)
	return q
}

// loud are arguments of count that no buffer of a connection holds the progress of.
var loud = `{"to":3000,"message":"` + strings.Repeat("x", 10_000) + `"}`

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"l","version":"1"}}}`

// greet makes a session of the older era.
func (w *world) greet() said {
	w.Helper()
	w.session, w.version = "", ""
	got := w.ask(request{body: initialize})
	if got.status != http.StatusOK {
		w.Fatalf("initialize: %d %s", got.status, got.body)
	}
	w.session, w.version = got.header.Get(headerSession), "2025-11-25"
	if next := w.ask(request{body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`}); next.status != http.StatusAccepted {
		w.Fatalf("notifications/initialized: %d %s", next.status, next.body)
	}
	return got
}

// summary is a message in few words.
func summary(data string) string {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Progress json.Number
			Token    any `json:"progressToken"`
			URI      string
		}
		Result struct {
			Content []struct{ Text string }
		}
		Error *struct {
			Code    int
			Message string
		}
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(data))).Decode(&m); err != nil {
		return data
	}
	switch {
	case m.Error != nil:
		return fmt.Sprintf("%s: error %d", m.ID, m.Error.Code)
	case m.Method == "notifications/progress":
		return fmt.Sprintf("%v %s", m.Params.Token, m.Params.Progress)
	case m.Method != "":
		return strings.TrimSpace(m.Method + " " + m.Params.URI)
	case len(m.Result.Content) > 0:
		return fmt.Sprintf("%s: %s", m.ID, m.Result.Content[0].Text)
	}
	return fmt.Sprintf("%s: result", m.ID)
}

func (s said) summaries() []string {
	if !strings.HasPrefix(s.header.Get("Content-Type"), "text/event-stream") {
		return []string{summary(s.body)}
	}
	var all []string
	for _, e := range s.events {
		if e.data != "" {
			all = append(all, summary(e.data))
		}
	}
	return all
}
