package streamhttp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
)

func TestMalformedMessages(t *testing.T) {
	w := live(t, nil, nil)
	w.greet()
	for name, test := range map[string]struct {
		q      request
		status int
		want   string
	}{
		"nothing":              {request{}, 400, "null: error -32700"},
		"no JSON":              {request{body: "{"}, 400, "null: error -32700"},
		"a batch":              {request{body: `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`}, 400, "null: error -32600"},
		"a text":               {request{body: `"x"`}, 400, "null: error -32600"},
		"an id in a list":      {request{body: `{"jsonrpc":"2.0","id":[1],"method":"ping"}`}, 400, "null: error -32600"},
		"no method":            {request{body: `{"jsonrpc":"2.0","id":1}`}, 400, "1: error -32600"},
		"JSON-RPC 1":           {request{body: `{"jsonrpc":"1.0","id":1,"method":"ping"}`}, 400, "1: error -32600"},
		"deep":                 {request{body: strings.Repeat("[", 100_000)}, 400, "null: error -32700"},
		"two messages":         {request{body: `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`}, 400, "null: error -32700"},
		"an answer to nothing": {request{body: `{"jsonrpc":"2.0","id":"x","result":{}}`}, 202, ""},
		"not said to be JSON":  {request{body: "{}", header: map[string]string{"Content-Type": "text/plain"}}, 415, ""},
		"an unknown version":   {request{body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`, header: map[string]string{mcp.HeaderProtocolVersion: "2024-01-01"}}, 400, "1: error -32600"},
		"PUT":                  {request{http: "PUT", body: "{}"}, 405, ""},
	} {
		got := w.ask(test.q)
		if got.status != test.status || test.want != "" && !cmp.Equal(got.summaries(), []string{test.want}) {
			t.Errorf("%s: %d %.200s", name, got.status, got.body)
		}
	}
	other := *w
	other.url = w.server.URL + "/"
	if got := other.ask(request{http: "GET"}); got.status != http.StatusNotFound || !strings.Contains(got.body, "/mcp") {
		t.Errorf("elsewhere: %d %s", got.status, got.body)
	}
}

func TestLongMessages(t *testing.T) {
	w := live(t, nil, &Options{MaxBody: 200_000})
	w.greet()
	long := strings.Repeat("x", 200_000)
	if got := w.ask(request{body: callBody("1", "echo", `{"text":"`+long[:190_000]+`"}`, "")}); got.status != http.StatusOK {
		t.Errorf("what fits: %d", got.status)
	}
	if got := w.ask(request{body: callBody("1", "echo", `{"text":"`+long+`"}`, "")}); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("what does not: %d %.100s", got.status, got.body)
	}
	if held := w.handler.load.bytes.Load(); held != 0 {
		t.Errorf("%d bytes are held after the last answer", held)
	}
}

// TestLargeMessagesAreBoundedTogether: many of them can't fill the memory, and short ones get through.
func TestLargeMessagesAreBoundedTogether(t *testing.T) {
	g, s := newGate()
	w := live(t, s, &Options{MaxBody: 200_000})
	large := `{"name":"` + strings.Repeat("x", 190_000) + `"}`
	refused := 0
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		status := make(chan int, 1)
		go func() {
			resp, err := w.try(ctx, modernCall(fmt.Sprint(i), "gate", large))
			if err == nil {
				defer resp.Body.Close()
				status <- resp.StatusCode
			}
		}()
		select {
		case <-g.began:
		case code := <-status:
			if refused++; code != http.StatusServiceUnavailable {
				t.Errorf("status %d", code)
			}
		}
	}
	if refused == 0 || refused == 20 {
		t.Errorf("%d of 20 were refused", refused)
	}
	if got := w.ask(modernCall("1", "echo", `{"text":"x"}`)); got.status != http.StatusOK {
		t.Errorf("a short one: %d %s", got.status, got.body)
	}
	close(g.goOn)
	w.until("bytes are held", func() bool { return w.handler.load.bytes.Load() == 0 })
}

// TestOneOwnerCanNotTakeAllPlaces.
func TestOneOwnerCanNotTakeAllPlaces(t *testing.T) {
	g, s := newGate()
	w := live(t, s, &Options{MaxInFlight: 3, MaxStreams: 2, Tokens: map[string]string{"ann": "ann's token has 24 bytes", "bob": "bob's token has 24 bytes"}})
	w.token = "ann's token has 24 bytes"
	for i := range 3 {
		g.begin(w, modernCall(fmt.Sprint(i), "gate", `{}`))
	}
	if got := w.ask(modernCall("9", "echo", `{}`)); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("a fourth call: %d %s", got.status, got.body)
	}
	bob := *w
	bob.token = "bob's token has 24 bytes"
	if got := bob.ask(modernCall("9", "echo", `{"text":"x"}`)); got.status != http.StatusOK {
		t.Errorf("somebody else's: %d %s", got.status, got.body)
	}
	close(g.goOn)
	w.until("the calls do not end", func() bool { return w.handler.load.count(w.handler.load.calls) == 0 })
	for range 2 {
		next, _, _ := w.open(listenRequest("1", `{"toolsListChanged":true}`))
		next()
	}
	if got := w.ask(listenRequest("1", `{"toolsListChanged":true}`)); got.status != http.StatusServiceUnavailable {
		t.Errorf("a third stream: %d %s", got.status, got.body)
	}
	if got := w.ask(modernCall("9", "echo", `{"text":"x"}`)); got.status != http.StatusOK {
		t.Errorf("a call beside the streams: %d %s", got.status, got.body)
	}
}

// TestTheSessionUnusedLongestMakesRoom, and none that is in use does.
func TestTheSessionUnusedLongestMakesRoom(t *testing.T) {
	w := live(t, nil, &Options{MaxSessions: 2})
	var all []*world
	for range 3 {
		one := *w
		one.greet()
		all = append(all, &one)
	}
	for i, want := range []int{http.StatusNotFound, http.StatusOK, http.StatusOK} {
		if got := all[i].ask(request{body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`}); got.status != want {
			t.Errorf("session %d: %d, want %d", i, got.status, want)
		}
	}
	for _, one := range all[1:] {
		one.open(request{http: "GET"})
	}
	if got := w.ask(request{body: initialize}); got.status != http.StatusServiceUnavailable {
		t.Errorf("one more while all are in use: %d %s", got.status, got.body)
	}
}

func TestAnUnusedSessionEnds(t *testing.T) {
	w := live(t, nil, &Options{SessionIdle: time.Millisecond})
	got := w.ask(request{body: initialize})
	w.session = got.header.Get(headerSession)
	w.until("the session is still there", func() bool {
		w.handler.sessions.mu.Lock()
		defer w.handler.sessions.mu.Unlock()
		return len(w.handler.sessions.all) == 0
	})
	if got := w.ask(request{body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`}); got.status != http.StatusNotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestASessionInUseDoesNotEnd(t *testing.T) {
	w := live(t, nil, &Options{SessionIdle: time.Millisecond, KeepAlive: time.Millisecond})
	var resp *http.Response
	for resp == nil || resp.StatusCode == http.StatusNotFound { // it may end before it is used
		got := w.ask(request{body: initialize})
		w.session = got.header.Get(headerSession)
		var err error
		if resp, err = w.try(t.Context(), request{http: "GET"}); err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil { // some seventy keep-alives
		t.Errorf("the stream ended: %v", err)
	}
}

// TestASlowReaderHoldsUpNobody: it is cut off, its modern call with it, and others go on.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	w := live(t, nil, &Options{WriteTimeout: 20 * time.Millisecond})
	w.greet()
	for _, q := range []request{modernProgress("1", "count", loud, "1"), {body: callBody("1", "count", loud, `"progressToken":1`)}} {
		conn := w.raw(q)
		w.until("the call does not end", func() bool { return w.handler.load.count(w.handler.load.calls) == 0 })
		conn.Close()
	}
	if got := w.ask(request{body: callBody("2", "echo", `{"text":"x"}`, "")}); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// raw sends a request over a connection that nobody reads.
func (w *world) raw(q request) net.Conn {
	w.Helper()
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(w.url, "http://"), "/mcp"))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	method := q.http
	if method == "" {
		method = http.MethodPost
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: %d\r\n", method, len(q.body))
	if w.session != "" && q.header[mcp.HeaderProtocolVersion] == "" {
		fmt.Fprintf(&text, "%s: %s\r\n", headerSession, w.session)
	}
	for name, value := range q.header {
		if value != "" {
			fmt.Fprintf(&text, "%s: %s\r\n", name, value)
		}
	}
	if _, err := io.WriteString(conn, text.String()+"\r\n"+q.body); err != nil {
		w.Fatal(err)
	}
	return conn
}

// TestAHalfClosedConnection: a client that says it will send no more is gone, as net/http sees it.
func TestAHalfClosedConnection(t *testing.T) {
	g, s := newGate()
	w := live(t, s, nil)
	conn := w.raw(modernCall("1", "gate", `{"name":"a"}`))
	<-g.began
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-g.ended; got != "a cancelled" {
		t.Error(got)
	}
}
