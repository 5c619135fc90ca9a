package streamhttp

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// open sends a request whose response is a long stream.
func (w *world) open(q request) (next func() (sse, bool), resp *http.Response, leave context.CancelFunc) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	resp = w.send(ctx, q)
	w.Cleanup(func() { cancel(); resp.Body.Close() })
	return events(resp.Body), resp, cancel
}

func listenRequest(id, filter string) request {
	body := `{"jsonrpc":"2.0","id":` + id + `,"method":"subscriptions/listen","params":{"notifications":` + filter + `,"_meta":{` + modernMeta + `}}}`
	return request{body: body, header: modernHeader("subscriptions/listen", "")}
}

func TestModernSubscriptions(t *testing.T) {
	s := newServer()
	w := live(t, s, nil)
	next, resp, leave := w.open(listenRequest(`"sub"`, `{"toolsListChanged":true,"resourceSubscriptions":["loop://a"]}`))
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, resp.Header)
	}
	if e, _ := next(); summary(e.data) != "notifications/subscriptions/acknowledged" || !strings.Contains(e.data, `"io.modelcontextprotocol/subscriptionId":"sub"`) {
		t.Errorf("first %s", e.data)
	}
	s.SendNotificationToAllClients(mcp.MethodNotificationPromptsListChanged, nil) // not asked for
	s.SendNotificationToAllClients(mcp.MethodNotificationToolsListChanged, nil)
	if e, _ := next(); summary(e.data) != "notifications/tools/list_changed" || !strings.Contains(e.data, `subscriptionId":"sub"`) {
		t.Errorf("then %s", e.data)
	}
	leave()
	w.until("the stream is still registered", func() bool { return w.handler.load.count(w.handler.load.streams) == 0 })
}

func (l *load) count(counts map[string]int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := 0
	for _, n := range counts {
		all += n
	}
	return all
}

// until waits for something to be so.
func (w *world) until(problem string, so func() bool) {
	w.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); !so(); {
		select {
		case <-tick.C:
		case <-late:
			w.Fatal(problem)
		}
	}
}

// TestAListenStreamEndsWellWithTheServer: with its result.
func TestAListenStreamEndsWellWithTheServer(t *testing.T) {
	w := live(t, nil, nil)
	next, _, _ := w.open(listenRequest("5", `{"toolsListChanged":true}`))
	next()
	if err := w.handler.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if e, _ := next(); summary(e.data) != "5: result" {
		t.Errorf("last %q", e.data)
	}
	if _, more := next(); more {
		t.Error("the stream goes on")
	}
	for _, q := range []request{modernCall("1", "echo", `{}`), {body: initialize}} {
		if got := w.ask(q); got.status != http.StatusServiceUnavailable {
			t.Errorf("after the end: %d %s", got.status, got.body)
		}
	}
}

func TestOlderClientsAreToldOutsideRequests(t *testing.T) {
	s := newServer()
	w := live(t, s, nil)
	w.greet()
	next, _, _ := w.open(request{http: "GET"})
	if e, _ := next(); e.data != "" || e.id != "0-0" {
		t.Errorf("first %+v", e)
	}
	s.SendNotificationToAllClients(mcp.MethodNotificationToolsListChanged, nil)
	first, _ := next()
	if summary(first.data) != "notifications/tools/list_changed" {
		t.Errorf("then %+v", first)
	}
	// A newer connection takes over: the old one may have broken without anybody seeing it.
	again, _, leave := w.open(request{http: "GET"})
	again()
	if _, more := next(); more {
		t.Error("two connections get the same stream")
	}
	s.SendNotificationToAllClients(mcp.MethodNotificationToolsListChanged, nil)
	if e, _ := again(); summary(e.data) != "notifications/tools/list_changed" || e.id != "0-2" {
		t.Errorf("the newer one got %+v", e)
	}
	leave()
	w.until("the session has users", func() bool { return w.users() == 0 })
	s.SendNotificationToAllClients(mcp.MethodNotificationToolsListChanged, nil)
	back, _, _ := w.open(from(first.id))
	for range 2 {
		if e, _ := back(); summary(e.data) != "notifications/tools/list_changed" {
			t.Errorf("what was missed: %+v", e)
		}
	}
}

// TestAStuckConnectionIsTakenOver: a client that came back need not wait until the old one is given up.
func TestAStuckConnectionIsTakenOver(t *testing.T) {
	s := newServer()
	w := live(t, s, &Options{WriteTimeout: time.Hour})
	w.greet()
	stuck := w.raw(request{http: "GET"})
	w.until("nobody listens", func() bool { return w.known().outside.live.Load() != nil })
	large := map[string]any{"text": strings.Repeat("x", 1<<20)}
	for range 100 { // more than the buffers of a connection and of the session hold
		s.SendNotificationToAllClients(mcp.MethodNotificationToolsListChanged, large)
	}
	locked := 0
	w.until("the connection takes everything", func() bool {
		if locked++; w.known().outside.mu.TryLock() {
			w.known().outside.mu.Unlock()
			locked = 0
		}
		return locked == 300 // looks in a row, a millisecond apart
	})
	next, _, _ := w.open(request{http: "GET"})
	s.SendNotificationToAllClients(mcp.MethodNotificationToolsListChanged, nil)
	for {
		e, more := next()
		if !more {
			t.Fatal("the new connection ended")
		}
		if strings.Contains(e.data, "list_changed") {
			break
		}
	}
	stuck.Close()
}

// known is the session as the handler has it.
func (w *world) known() *clientSession {
	w.handler.sessions.mu.Lock()
	defer w.handler.sessions.mu.Unlock()
	return w.handler.sessions.all[w.session]
}

// users are the requests and streams of the session.
func (w *world) users() int {
	s := w.known()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users
}

// TestSilentStreamsAreKeptAlive, with comments that no client has to understand.
func TestSilentStreamsAreKeptAlive(t *testing.T) {
	g, s := newGate()
	w := live(t, s, &Options{KeepAlive: time.Millisecond})
	w.greet()
	for name, q := range map[string]request{
		"GET":           {http: "GET"},
		"listen":        listenRequest("1", `{"toolsListChanged":true}`),
		"a modern call": modernCall("1", "gate", `{"name":"a"}`),
		"an older call": {body: callBody("1", "gate", `{"name":"b"}`, "")},
	} {
		resp := w.send(t.Context(), q)
		buf, text := make([]byte, 1000), ""
		for !strings.Contains(text, ": still here\n\n") {
			n, err := resp.Body.Read(buf)
			if text += string(buf[:n]); err != nil {
				t.Fatalf("%s: %v after %q", name, err, text)
			}
		}
		defer resp.Body.Close()
	}
	close(g.goOn)
}

// TestAWaitThatWasKeptAliveHasItsAnswer in both eras.
func TestAWaitThatWasKeptAliveHasItsAnswer(t *testing.T) {
	for _, q := range []request{{body: callBody("1", "gate", `{"name":"a"}`, "")}, modernCall("1", "gate", `{"name":"a"}`)} {
		g, s := newGate()
		w := live(t, s, &Options{KeepAlive: time.Millisecond})
		w.greet()
		resp := w.send(t.Context(), q)
		if _, err := io.ReadFull(resp.Body, make([]byte, 200)); err != nil {
			t.Fatal(err)
		}
		close(g.goOn)
		data, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		got := parseSSE(string(data))
		if len(got) == 0 || summary(got[len(got)-1].data) != "1: a" {
			t.Errorf("%.300s", data)
		}
	}
}
