package stdio

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// modernMeta is the envelope of a 2026-07-28 request from client "m".
const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"m","version":"2"}`

const initialize = `{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"l","version":"1"}}}`

// newServer returns a server with one tool for each thing the transport can get wrong.
func newServer(opts ...server.ServerOption) *server.MCPServer {
	s := server.NewMCPServer("test", "1", append([]server.ServerOption{
		server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true),
	}, opts...)...)
	tool := func(name string, h server.ToolHandlerFunc) { s.AddTool(mcp.NewTool(name), h) }
	tool("echo", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	})
	tool("progress", sendProgress)
	tool("wait", func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-ctx.Done():
			return mcp.NewToolResultText("cut short"), nil
		case <-time.After(time.Duration(r.GetFloat("seconds", 3600) * float64(time.Second))):
			return mcp.NewToolResultText("waited"), nil
		}
	})
	tool("whoami", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		session := server.ClientSessionFromContext(ctx).(server.SessionWithClientInfo)
		return mcp.NewToolResultText(fmt.Sprintf("%s roots=%t %s", session.GetClientInfo().Name,
			session.GetClientCapabilities().Roots != nil, server.RequestProtocolVersion(ctx))), nil
	})
	tool("panic", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		panic("secret")
	})
	return s
}

// sendProgress sends count notifications as fast as it can and reports those mcp-go did not take.
func sendProgress(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	for i := range r.GetInt("count", 1) {
		err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress",
			map[string]any{"progressToken": r.GetString("token", ""), "progress": i})
		if err != nil {
			return mcp.NewToolResultError(err.Error()), nil
		}
	}
	return mcp.NewToolResultText("done"), nil
}

// call returns a tools/call line; era is "" or modernMeta, args a JSON object.
func callLine(id, tool, args, era string) string {
	meta := ""
	if era != "" {
		meta = "," + era + "}"
	}
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + args + meta + `}}`
}

func pingLine(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"method":"ping"}` }

func cancelLine(id string) string {
	return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`
}

// peer is the client of one Serve call inside a synctest bubble.
type peer struct {
	t      *testing.T
	in     *io.PipeWriter
	out    *io.PipeReader
	served chan error
	read   sync.WaitGroup

	mu  sync.Mutex
	got []string
}

// newPeer starts Serve. The peer reads nothing before read is called.
func newPeer(t *testing.T, ctx context.Context, s *server.MCPServer, opts *Options) *peer {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &peer{t: t, in: inW, out: outR, served: make(chan error, 1)}
	go func() {
		p.served <- Serve(ctx, s, inR, outW, opts)
		outW.Close()
	}()
	return p
}

// startPeer starts Serve and a client that reads.
func startPeer(t *testing.T, s *server.MCPServer, opts *Options) *peer {
	t.Helper()
	p := newPeer(t, t.Context(), s, opts)
	p.startReading()
	return p
}

func (p *peer) startReading() {
	p.read.Go(func() {
		lines := bufio.NewReader(p.out)
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				p.mu.Lock()
				p.got = append(p.got, strings.TrimSuffix(line, "\n"))
				p.mu.Unlock()
			}
			if err != nil {
				return
			}
		}
	})
}

// send writes the lines and returns what was answered once nothing moves any more.
func (p *peer) send(lines ...string) []string {
	p.t.Helper()
	p.write(strings.Join(lines, "\n") + "\n")
	return p.answers()
}

func (p *peer) write(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, text); err != nil {
		p.t.Fatalf("write to the server: %v", err)
	}
}

// answers returns the lines since the last call once nothing moves any more.
func (p *peer) answers() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got
}

// end closes the input and returns the last lines and Serve's error.
func (p *peer) end() ([]string, error) {
	p.in.Close()
	err := <-p.served
	p.read.Wait()
	return p.answers(), err
}

// endWell is end where nothing may be left over or go wrong.
func (p *peer) endWell() {
	p.t.Helper()
	rest, err := p.end()
	if err != nil || len(rest) > 0 {
		p.t.Errorf("at the end: %q, %v; want nothing", rest, err)
	}
}

// reply is the part of an answer or notification that tests look at.
type reply struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Token    string         `json:"progressToken"`
		Progress int            `json:"progress"`
		Meta     map[string]any `json:"_meta"`
	} `json:"params"`
	Result *struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	} `json:"result"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func parseReply(t *testing.T, line string) reply {
	t.Helper()
	var r reply
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("the server wrote %q: %v", line, err)
	}
	return r
}

// summary writes a reply as "id: text", "id: {}", "id: code" or "method".
func summary(t *testing.T, line string) string {
	t.Helper()
	switch r := parseReply(t, line); {
	case r.Method != "":
		return r.Method
	case r.Error != nil:
		return fmt.Sprintf("%s: %d", r.ID, r.Error.Code)
	case len(r.Result.Content) > 0:
		return fmt.Sprintf("%s: %s", r.ID, r.Result.Content[0].Text)
	default:
		return string(r.ID) + ": {}"
	}
}

// checkSummaries compares replies in order.
func checkSummaries(t *testing.T, got []string, want ...string) {
	t.Helper()
	var short []string
	for _, line := range got {
		short = append(short, summary(t, line))
	}
	if diff := cmp.Diff(want, short); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
}

// gate is a handler's stop: it says that it was reached and waits to be opened.
type gate struct{ reached, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) pass() {
	close(g.reached)
	<-g.open
}

// brokenWriter fails as a closed pipe does.
type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
