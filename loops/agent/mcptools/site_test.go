//go:build unix

package mcptools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// site is an MCP server on HTTP that can be replaced and disturbed.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	inner   http.Handler
	disturb func(w http.ResponseWriter, r *http.Request, method string) bool // true: it has answered
	seen    []string                                                         // methods, in order
}

func newSite(t *testing.T, inner http.Handler) *site {
	s := &site{inner: inner}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var message struct {
		Method string `json:"method"`
	}
	_ = json.Unmarshal(body, &message)
	s.mu.Lock()
	s.seen = append(s.seen, strings.TrimSpace(r.Method+" "+message.Method))
	inner, disturb := s.inner, s.disturb
	s.mu.Unlock()
	if disturb == nil || !disturb(w, r, message.Method) {
		inner.ServeHTTP(w, r)
	}
}

func (s *site) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *site) saw() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *site) calls() (n int) {
	for _, method := range s.saw() {
		if method == "POST tools/call" {
			n++
		}
	}
	return n
}

// webTools are mcp-go's server with two tools. One hangs until its call is given
// up; over the older transport it never hears of that, and ended ends it.
func webTools(ended <-chan struct{}) *mcpserver.MCPServer {
	s := mcpserver.NewMCPServer("web", "1", mcpserver.WithToolCapabilities(true))
	s.AddTool(mcp.NewTool("echo", mcp.WithReadOnlyHintAnnotation(true)), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		data, err := json.Marshal(r.Params.Arguments)
		return mcp.NewToolResultText(string(data)), err
	})
	s.AddTool(mcp.NewTool("hang"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-ctx.Done():
		case <-ended:
		}
		return nil, errors.New("given up")
	})
	return s
}

// modern speaks both eras; sessions is a server of the older one that insists on
// its sessions.
func modern() http.Handler { return mcpserver.NewStreamableHTTPServer(webTools(nil)) }

func sessions() http.Handler {
	inner := mcpserver.NewStreamableHTTPServer(webTools(nil), mcpserver.WithStateful(true))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte(`"server/discover"`)) {
			jsonRPCError(w, http.StatusBadRequest, "no session")
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func jsonRPCError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"`+message+`"}}`)
}

func (s *site) server() Server { return Server{URL: s.URL + "/mcp?key=secret-in-the-address"} }
