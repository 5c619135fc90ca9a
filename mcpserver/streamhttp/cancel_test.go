package streamhttp

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// gate is a tool that begins, and ends with its context or when it is let go.
type gate struct {
	began, ended chan string
	goOn         chan struct{}
	running      atomic.Int32
}

func newGate() (*gate, *server.MCPServer) {
	g := &gate{began: make(chan string, 1000), ended: make(chan string, 1000), goOn: make(chan struct{})}
	s := newServer()
	s.AddTool(mcp.NewTool("gate", mcp.WithString("name")), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		name := r.GetString("name", "")
		g.running.Add(1)
		defer g.running.Add(-1)
		notifyProgress(ctx, r, 1)
		g.began <- name
		select {
		case <-ctx.Done():
			g.ended <- name + " cancelled"
			return nil, ctx.Err()
		case <-g.goOn:
			notifyProgress(ctx, r, 2)
			g.ended <- name + " let go"
			return mcp.NewToolResultText(name), nil
		}
	})
	return g, s
}

// begin sends a call and waits until it is under way.
func (g *gate) begin(w *world, q request) (resp chan *http.Response, leave context.CancelFunc) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	resp = make(chan *http.Response, 1)
	go func() {
		defer close(resp)
		if r, err := w.try(ctx, q); err == nil {
			resp <- r
		}
	}()
	<-g.began
	return resp, cancel
}

func TestTheEndOfAModernConnectionIsACancellation(t *testing.T) {
	for _, q := range []request{modernCall("1", "gate", `{"name":"a"}`), modernProgress("1", "gate", `{"name":"a"}`, "1")} {
		g, s := newGate()
		w := live(t, s, nil)
		_, leave := g.begin(w, q)
		leave()
		if got := <-g.ended; got != "a cancelled" {
			t.Error(got)
		}
	}
}

// TestTheEndOfAnOlderConnectionIsNot: the call goes on, and its client can come back for the answer.
func TestTheEndOfAnOlderConnectionIsNot(t *testing.T) {
	g, s := newGate()
	w := live(t, s, nil)
	w.greet()
	resp, leave := g.begin(w, request{body: callBody("1", "gate", `{"name":"a"}`, `"progressToken":1`)})
	r := <-resp
	next := events(r.Body)
	next() // the empty one
	first, _ := next()
	leave()
	r.Body.Close()
	w.until("the server does not see the end", func() bool { return w.connected() == 0 })
	close(g.goOn)
	if got := <-g.ended; got != "a let go" {
		t.Error(got)
	}
	got := w.ask(request{http: "GET", header: map[string]string{mcp.HeaderLastEventID: first.id}})
	if got.status != http.StatusOK || !cmp.Equal(got.summaries(), []string{"1 2", "1: a"}) {
		t.Errorf("back for the answer: %d %s", got.status, got.body)
	}
	if again := w.ask(request{http: "GET", header: map[string]string{mcp.HeaderLastEventID: first.id}}); !cmp.Equal(got.events, again.events, cmp.AllowUnexported(sse{})) {
		t.Errorf("the second time %q, the first %q", again.events, got.events)
	}
}

func TestACancellationEndsItsCall(t *testing.T) {
	g, s := newGate()
	w := live(t, s, nil)
	w.greet()
	resp, _ := g.begin(w, request{body: callBody(`"x"`, "gate", `{"name":"a"}`, "")})
	other := *w
	other.greet()
	cancel := request{body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}`}
	if got := other.ask(cancel); got.status != http.StatusAccepted {
		t.Errorf("in another session: %d", got.status)
	}
	if g.running.Load() != 1 {
		t.Error("a call of another session was cancelled")
	}
	if got := w.ask(cancel); got.status != http.StatusAccepted {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := <-g.ended; got != "a cancelled" {
		t.Error(got)
	}
	if r := <-resp; r == nil {
		t.Error("the cancelled call has no end")
	} else if data, err := io.ReadAll(r.Body); err != nil || len(data) > 0 || r.StatusCode != http.StatusAccepted {
		t.Errorf("the cancelled call was answered: %d %s", r.StatusCode, data)
	}
	if got := w.ask(request{body: callBody(`"x"`, "echo", `{"text":"free"}`, "")}); !cmp.Equal(got.summaries(), []string{`"x": free`}) {
		t.Errorf("its id is not free: %s", got.body)
	}
}

// connected are the calls of the session whose clients are there.
func (w *world) connected() int {
	s := w.known()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, open := range s.streams {
		if open.live.Load() != nil {
			n++
		}
	}
	return n
}

func TestAnIDInFlightIsRefused(t *testing.T) {
	g, s := newGate()
	w := live(t, s, nil)
	w.greet()
	g.begin(w, request{body: callBody("1", "gate", `{}`, "")})
	if got := w.ask(request{body: callBody("1.0", "echo", `{}`, "")}); got.status != http.StatusBadRequest || !cmp.Equal(got.summaries(), []string{"1.0: error -32600"}) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := w.ask(request{body: callBody(`"1"`, "echo", `{"text":"x"}`, "")}); !cmp.Equal(got.summaries(), []string{`"1": x`}) {
		t.Errorf("a text is no number: %s", got.body)
	}
	close(g.goOn)
}

// TestTheEndOfASessionEndsItsCalls and only those.
func TestTheEndOfASessionEndsItsCalls(t *testing.T) {
	g, s := newGate()
	w := live(t, s, nil)
	w.greet()
	g.begin(w, request{body: callBody("1", "gate", `{"name":"a"}`, "")})
	other := *w
	other.greet()
	resp, _ := g.begin(&other, request{body: callBody("1", "gate", `{"name":"b"}`, "")})
	w.ask(request{http: "DELETE"})
	if got := <-g.ended; got != "a cancelled" {
		t.Error(got)
	}
	close(g.goOn)
	if got := <-g.ended; got != "b let go" {
		t.Error(got)
	}
	if r := <-resp; r == nil || r.StatusCode != http.StatusOK {
		t.Errorf("the other session's call: %v", r)
	}
}
