package streamhttp

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// FuzzPost sends anything: the answer is a status of HTTP, a document that is JSON, and no call or
// session that nobody knows of.
func FuzzPost(f *testing.F) {
	for _, q := range []request{
		{body: initialize}, {body: "{"}, {body: "[]"}, {body: `{"jsonrpc":"2.0","id":1e400,"method":"ping"}`},
		{body: callBody("1", "count", `{"to":2}`, `"progressToken":1`)}, {body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`},
		modernCall("1", "echo", `{"text":"x"}`), modernProgress("1", "count", `{"to":2}`, "1"), listenRequest("1", `{}`),
		{body: `{"jsonrpc":"2.0","id":"ask-1","result":{"action":"accept"}}`},
	} {
		f.Add(q.body, q.header[mcp.HeaderProtocolVersion], q.header[mcp.HeaderMethod], q.header[mcp.HeaderName], "application/json, text/event-stream", "")
	}
	f.Add("{}", "2026-07-28", "x", "=?base64?!?=", "text/event-stream;q=0", "0-0")
	h := New(newAsking(), &Options{MaxBody: 1 << 16})
	f.Cleanup(func() { _ = h.Shutdown(f.Context()) })
	f.Fuzz(func(t *testing.T, body, version, method, name, accept, last string) {
		session := send(t, h, time.Minute, http.MethodPost, initialize, nil).Header().Get(headerSession)
		if session == "" {
			t.Fatal("no session")
		}
		header := map[string]string{mcp.HeaderProtocolVersion: version, mcp.HeaderMethod: method, mcp.HeaderName: name, "Accept": accept, mcp.HeaderLastEventID: last, headerSession: session}
		for _, kind := range []string{http.MethodPost, http.MethodGet} {
			w := send(t, h, 20*time.Millisecond, kind, body, header)
			if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
				t.Errorf("status %d", w.Code)
			}
			if media := w.Header().Get("Content-Type"); media == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		send(t, h, time.Minute, http.MethodDelete, "", map[string]string{headerSession: session})
		h.sessions.mu.Lock()
		defer h.sessions.mu.Unlock()
		if h.sessions.all[session] != nil {
			t.Error("the session is still there")
		}
	})
	deadline := time.After(5 * time.Second)
	for h.load.count(h.load.calls) > 0 {
		select {
		case <-deadline:
			f.Fatal("calls are left")
		case <-time.After(time.Millisecond):
		}
	}
}

// send hands a request to the handler as a local connection does, and leaves when its
// patience ends.
func send(t *testing.T, h *Handler, patience time.Duration, kind, body string, header map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	ctx, leave := context.WithTimeout(t.Context(), patience)
	defer leave()
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, &net.UnixAddr{})
	r := httptest.NewRequestWithContext(ctx, kind, "http://localhost/mcp", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// FuzzEventID: what parses is written as it was read.
func FuzzEventID(f *testing.F) {
	f.Add("0-0")
	f.Add("18446744073709551615-1")
	f.Add("-")
	f.Fuzz(func(t *testing.T, id string) {
		number, seq, err := parseEventID(id)
		if err != nil {
			return
		}
		again, seqAgain, err := parseEventID((&stream{number: number}).eventID(seq))
		if err != nil || again != number || seqAgain != seq {
			t.Errorf("%q: %d %d, then %d %d (%v)", id, number, seq, again, seqAgain, err)
		}
	})
}
