package streamhttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// newAsking has a tool that asks the person and answers with what came of it.
func newAsking() *server.MCPServer {
	s := newServer()
	s.AddTool(mcp.NewTool("ask"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		res, err := server.ServerFromContext(ctx).RequestElicitation(ctx, mcp.ElicitationRequest{Params: mcp.ElicitationParams{
			Message: "ok?", RequestedSchema: map[string]any{"type": "object"},
		}})
		if err != nil {
			return mcp.NewToolResultText("error: " + err.Error()), nil
		}
		return mcp.NewToolResultText(fmt.Sprint(res.Action)), nil
	})
	return s
}

// greetWith makes a session of a client with other capabilities.
func (w *world) greetWith(caps string) {
	w.Helper()
	got := w.ask(request{body: strings.Replace(initialize, `{"roots":{}}`, caps, 1)})
	w.session, w.version = got.header.Get(headerSession), "2025-11-25"
}

// ask1 sends a call of ask and returns its stream and the id of the question.
func (w *world) ask1(ctx context.Context) (next func() (sse, bool), id string) {
	w.Helper()
	resp := w.send(ctx, request{body: callBody("1", "ask", "{}", "")})
	w.Cleanup(func() { resp.Body.Close() })
	next = events(resp.Body)
	for {
		e, ok := next()
		if !ok {
			w.Fatal("the stream ended before the question")
		}
		if strings.Contains(e.data, "elicitation/create") {
			var q struct{ ID string }
			if err := json.Unmarshal([]byte(e.data), &q); err != nil {
				w.Fatal(err)
			}
			return next, q.ID
		}
	}
}

// TestAPersonIsAskedOnTheStreamOfTheCall and the answer arrives as another POST.
func TestAPersonIsAskedOnTheStreamOfTheCall(t *testing.T) {
	w := live(t, newAsking(), nil)
	w.greetWith(`{"elicitation":{}}`)
	next, id := w.ask1(t.Context())
	if got := w.ask(request{body: fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"action":"decline"}}`, id)}); got.status != http.StatusAccepted {
		t.Errorf("the answer: %d %s", got.status, got.body)
	}
	if e, _ := next(); summary(e.data) != "1: decline" {
		t.Errorf("got %s", e.data)
	}
}

// TestAnAnswerCountsInItsSessionOnly: the ids of questions are small numbers.
func TestAnAnswerCountsInItsSessionOnly(t *testing.T) {
	w := live(t, newAsking(), nil)
	w.greetWith(`{"elicitation":{}}`)
	next, id := w.ask1(t.Context())
	other := *w
	other.greetWith(`{"elicitation":{}}`)
	other.ask(request{body: fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"action":"accept"}}`, id)})
	w.ask(request{body: fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"action":"cancel"}}`, id)})
	if e, _ := next(); summary(e.data) != "1: cancel" {
		t.Errorf("got %s", e.data)
	}
}

func TestWhoCanNotBeAskedIsNot(t *testing.T) {
	w := live(t, newAsking(), nil)
	w.greetWith(`{}`)
	if got := w.ask(request{body: callBody("1", "ask", "{}", "")}).summaries(); got[len(got)-1] != "1: error: session does not support elicitation" {
		t.Errorf("a client that declared nothing: %q", got)
	}
	w.greetWith(`{"elicitation":{}}`)
	q := request{body: callBody("1", "ask", "{}", ""), header: map[string]string{"Accept": "application/json"}}
	if got := w.ask(q).summaries(); !strings.HasPrefix(got[0], "1: error:") {
		t.Errorf("a client that takes no stream: %q", got)
	}
	modern := modernCall("1", "ask", "{}")
	modern.body = strings.Replace(modern.body, `Capabilities":{}`, `Capabilities":{"elicitation":{}}`, 1)
	if got := w.ask(modern).summaries(); !strings.Contains(got[0], "error") {
		t.Errorf("a modern client: %q", got)
	}
}
