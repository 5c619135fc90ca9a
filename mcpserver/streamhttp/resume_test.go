package streamhttp

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func from(id string) request {
	return request{http: "GET", header: map[string]string{mcp.HeaderLastEventID: id}}
}

// newPolling has a tool that ends the connection before its answer, in the middle of its progress.
func newPolling() *server.MCPServer {
	s := newServer()
	s.AddTool(mcp.NewTool("poll"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		notifyProgress(ctx, r, 1)
		left := Disconnect(ctx)
		notifyProgress(ctx, r, 2)
		return mcp.NewToolResultText(fmt.Sprint(left)), nil
	})
	return s
}

// TestAClientThatWasSentAwayComesBackForTheAnswer (SEP-1699).
func TestAClientThatWasSentAwayComesBackForTheAnswer(t *testing.T) {
	w := live(t, newPolling(), nil)
	w.greet()
	got := w.ask(request{body: callBody("1", "poll", `{}`, `"progressToken":7`)})
	if len(got.events) == 0 || got.events[0].data != "" || got.events[0].retry == "" {
		t.Fatalf("nothing to come back with: %s", got.body)
	}
	last := got.events[len(got.events)-1]
	rest := w.ask(from(last.id))
	all := append(got.summaries(), rest.summaries()...)
	if !cmp.Equal(all, []string{"7 1", "7 2", "1: true"}) {
		t.Errorf("in both parts %q", all)
	}
}

// TestWhoCanNotComeBackIsNotSentAway.
func TestWhoCanNotComeBackIsNotSentAway(t *testing.T) {
	w := live(t, newPolling(), nil)
	if got := w.ask(modernCall("1", "poll", `{}`)).summaries(); !cmp.Equal(got, []string{"1: false"}) {
		t.Errorf("a modern client: %q", got)
	}
	w.greet()
	q := request{body: callBody("1", "poll", `{}`, ""), header: map[string]string{"Accept": "application/json"}}
	if got := w.ask(q).summaries(); !cmp.Equal(got, []string{"1: false"}) {
		t.Errorf("one that takes no stream: %q", got)
	}
	got := w.ask(request{body: strings.Replace(initialize, "2025-11-25", "2025-03-26", 1), header: map[string]string{headerSession: "", mcp.HeaderProtocolVersion: ""}})
	w.session, w.version = got.header.Get(headerSession), ""
	if got := w.ask(request{body: callBody("1", "poll", `{}`, "")}).summaries(); !cmp.Equal(got, []string{"1: false"}) {
		t.Errorf("one of 2025-03-26: %q", got)
	}
	if Disconnect(t.Context()) {
		t.Error("a context of no request can be disconnected")
	}
}

func TestEventIDsThatAreNone(t *testing.T) {
	w := live(t, nil, nil)
	w.greet()
	w.ask(request{body: callBody("1", "count", `{"to":3}`, `"progressToken":7`)})
	for _, id := range []string{"x", "1", "-", "1-x", "2-99", "99-1", "0-1", "-1--1", strings.Repeat("9", 40) + "-1"} {
		if got := w.ask(from(id)); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", id, got.status, got.body)
		}
	}
	other := *w
	other.greet()
	if got := other.ask(from("2-1")); got.status != http.StatusBadRequest {
		t.Errorf("an id of another session: %d %s", got.status, got.body)
	}
	if got := w.ask(from("2-1")); !cmp.Equal(got.summaries(), []string{"7 2", "7 3", "1: 3"}) {
		t.Errorf("after the first: %d %q", got.status, got.summaries())
	}
}

// TestEventsAreBounded: what does not fit is forgotten, oldest first, and a client that needs it is
// told so instead of given less.
func TestEventsAreBounded(t *testing.T) {
	const limit = 100_000
	w := live(t, nil, &Options{MaxEventBytes: limit})
	w.greet()
	w.ask(request{body: callBody("1", "count", `{"to":1000}`, `"progressToken":7`)})
	if got := w.ask(from("2-0")); got.status != http.StatusBadRequest || !strings.Contains(got.body, "not kept") {
		t.Errorf("from the beginning: %d %.200s", got.status, got.body)
	}
	if got := w.ask(from("2-999")); !cmp.Equal(got.summaries(), []string{"7 1000", "1: 1000"}) {
		t.Errorf("the end: %d %.200s", got.status, got.body)
	}
	large := strings.Repeat("x", limit)
	w.ask(request{body: callBody("1", "echo", `{"text":"`+large+`"}`, ""), header: map[string]string{"Accept": "text/event-stream"}})
	if got := w.ask(from("3-0")); got.status != http.StatusBadRequest {
		t.Errorf("an answer that is too long to be kept: %d %.200s", got.status, got.body)
	}
	for range 20 {
		other := *w
		other.greet()
		other.ask(request{body: callBody("1", "count", `{"to":1000}`, `"progressToken":7`)})
	}
	s := w.handler.sessions.events
	if s.size > limit || len(s.queue) > 2*s.live+64 {
		t.Errorf("%d bytes are kept in a queue of %d with %d live", s.size, len(s.queue), s.live)
	}
	w.ask(request{http: "DELETE"})
}

func TestNoEventsAreKeptWhereNoneAreWanted(t *testing.T) {
	w := live(t, nil, &Options{MaxEventBytes: -1})
	w.greet()
	got := w.ask(request{body: callBody("1", "count", `{"to":1}`, `"progressToken":7`)})
	if !cmp.Equal(got.summaries(), []string{"7 1", "1: 1"}) || got.events[0].data == "" {
		t.Errorf("%s", got.body)
	}
	if back := w.ask(from(got.events[0].id)); back.status != http.StatusBadRequest {
		t.Errorf("%d %s", back.status, back.body)
	}
}
