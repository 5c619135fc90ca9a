package streamhttp

import (
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
	s := newAsking()
	h := New(s, &Options{MaxBody: 1 << 16})
	f.Cleanup(func() { _ = h.Shutdown(f.Context()) })
	srv := httptest.NewServer(h)
	f.Cleanup(srv.Close)
	f.Fuzz(func(t *testing.T, body, version, method, name, accept, last string) {
		w := &world{T: t, handler: h, server: srv, client: srv.Client(), url: srv.URL + "/mcp"}
		w.greet()
		header := map[string]string{mcp.HeaderMethod: method, mcp.HeaderName: name, "Accept": accept, mcp.HeaderLastEventID: last}
		if version != "" {
			header[mcp.HeaderProtocolVersion] = version
		}
		for _, kind := range []string{http.MethodPost, http.MethodGet} {
			if kind == http.MethodGet && last == "" || strings.Contains(body, "subscriptions/listen") && strings.Contains(body, "true") {
				continue // streams without an end
			}
			resp, err := w.try(t.Context(), request{http: kind, body: body, header: header})
			if err != nil {
				continue // the client itself refuses such a header
			}
			if resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("status %d", resp.StatusCode)
			}
			resp.Body.Close()
		}
		w.ask(request{http: "DELETE"})
		h.sessions.mu.Lock()
		defer h.sessions.mu.Unlock()
		if h.sessions.all[w.session] != nil {
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
