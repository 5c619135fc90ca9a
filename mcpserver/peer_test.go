package mcpserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/mcpserver/stdio"
	"github.com/mark3labs/mcp-go/server"
)

// peer is a client at the other end of the real stdio transport, in a bubble.
// It keeps a transcript.
type peer struct {
	t      *testing.T
	in     *io.PipeWriter
	modern bool
	id     int
	done   chan struct{}
	log    strings.Builder

	mu   sync.Mutex
	got  []string
	told []told // all notifications
}

// told is a notification and when it came, since the peer dialled.
type told struct {
	at     time.Duration
	method string
	uri    string
	stream string // subscriptionId
}

// dial serves s to a new client until hangUp or the end of the test.
func dial(t *testing.T, s *server.MCPServer, modern bool) *peer {
	t.Helper()
	return dialAs(t, s, modern, "")
}

// dialAs is dial for a client with the token of an owner.
func dialAs(t *testing.T, s *server.MCPServer, modern bool, owner string) *peer {
	t.Helper()
	before := KeepArguments
	if owner != "" {
		before = func(ctx context.Context, method string, msg json.RawMessage) (context.Context, json.RawMessage) {
			return KeepArguments(WithOwner(ctx, owner), method, msg)
		}
	}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &peer{t: t, in: inW, modern: modern, done: make(chan struct{})}
	began := time.Now()
	var served sync.WaitGroup
	served.Go(func() {
		err := stdio.Serve(t.Context(), s, inR, outW, &stdio.Options{Before: before, Around: Around, Grace: -1})
		if err != nil && t.Context().Err() == nil {
			t.Errorf("Serve: %v", err)
		}
		outW.Close()
	})
	served.Go(func() {
		lines := bufio.NewScanner(outR)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.got = append(p.got, lines.Text())
			var n struct {
				Method string
				Params struct {
					URI  string
					Meta map[string]json.RawMessage `json:"_meta"`
				}
			}
			if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
				t.Errorf("the server wrote %q", lines.Text())
			}
			if n.Method != "" {
				p.told = append(p.told, told{time.Since(began), n.Method, n.Params.URI, string(n.Params.Meta["io.modelcontextprotocol/subscriptionId"])})
			}
			p.mu.Unlock()
		}
	})
	go func() { served.Wait(); close(p.done) }()
	t.Cleanup(p.hangUp)
	if !modern {
		p.ask("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"old","version":"1"}}`)
		p.write(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		p.log.Reset()
	}
	return p
}

func (p *peer) hangUp() {
	p.in.Close()
	<-p.done
}

func (p *peer) write(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// heard returns what came since the last look, once nothing moves any more.
func (p *peer) heard() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	for _, line := range got {
		fmt.Fprintf(&p.log, "← %s\n", whose.ReplaceAllString(line, `"_meta":{…},"resultType"`))
	}
	return got
}

// whose is what each answer of the newer era says about the server, which has a
// golden file of its own.
var whose = regexp.MustCompile(`"_meta":\{"io.modelcontextprotocol/serverInfo":.*?\},"resultType"`)

// post sends a request and returns its id; the answer comes when it comes.
func (p *peer) post(method, params string) int {
	p.t.Helper()
	p.heard()
	p.id++
	if p.modern {
		params = strings.Replace("{"+modernMeta+","+params[1:], ",}", "}", 1)
	}
	line := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, p.id, method, params)
	fmt.Fprintf(&p.log, "→ %s\n", strings.Replace(line, modernMeta, `"_meta":{…}`, 1))
	p.write(line)
	return p.id
}

// answer is a JSON-RPC answer.
type answer struct {
	ID     int
	Result json.RawMessage
	Error  *struct {
		Code    int
		Message string
		Data    map[string]any
	}
}

// ask sends a request and returns its answer. What else comes stays unheard.
func (p *peer) ask(method, params string) answer {
	p.t.Helper()
	id := p.post(method, params)
	var a answer
	for _, line := range p.heard() {
		var one answer
		if json.Unmarshal([]byte(line), &one) == nil && one.ID == id {
			a = one
		}
	}
	if a.ID == 0 {
		p.t.Fatalf("%s %s: no answer", method, params)
	}
	return a
}

// read asks for something that must be there, decoded.
func (p *peer) read(method, params string, into any) {
	p.t.Helper()
	a := p.ask(method, params)
	if a.Error != nil {
		p.t.Fatalf("%s %s: %+v", method, params, *a.Error)
	}
	if err := json.Unmarshal(a.Result, into); err != nil {
		p.t.Fatal(err)
	}
}

// refused asks for what must be refused, with that code and each of the texts.
func (p *peer) refused(code int, method, params string, want ...string) answer {
	p.t.Helper()
	a := p.ask(method, params)
	if a.Error == nil || a.Error.Code != code {
		p.t.Fatalf("%s %.200s: want the error %d, got %s %+v", method, params, code, a.Result, a.Error)
	}
	for _, text := range want {
		if !strings.Contains(a.Error.Message, text) {
			p.t.Errorf("%s %.200s: error %q does not say %q", method, params, a.Error.Message, text)
		}
	}
	return a
}

// updates are the times at which the peer was told that a resource changed.
func (p *peer) updates(uri string) (times []time.Duration) {
	p.heard()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.told {
		if n.method == "notifications/resources/updated" && n.uri == uri {
			times = append(times, n.at)
		}
	}
	return times
}

// times are when notifications of a method came.
func (p *peer) times(method string) (times []time.Duration) {
	p.heard()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.told {
		if n.method == method {
			times = append(times, n.at)
		}
	}
	return times
}

// follow subscribes to resources, in the way of the peer's era, and returns the
// id of the stream of a modern one.
func (p *peer) follow(uris ...string) int {
	p.t.Helper()
	if !p.modern {
		for _, uri := range uris {
			p.read("resources/subscribe", fmt.Sprintf(`{"uri":%q}`, uri), &struct{}{})
		}
		return 0
	}
	list, _ := json.Marshal(uris)
	return p.listen(fmt.Sprintf(`{"resourceSubscriptions":%s}`, list))
}

// listen opens a stream and returns its id.
func (p *peer) listen(filter string) int {
	p.t.Helper()
	id := p.post("subscriptions/listen", fmt.Sprintf(`{"notifications":%s}`, filter))
	p.heard()
	return id
}
