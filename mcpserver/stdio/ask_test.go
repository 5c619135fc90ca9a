package stdio

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// newAsking returns a server whose tool ask asks the person for at most seconds and answers with what came of it.
func newAsking() *server.MCPServer {
	s := newServer()
	s.AddTool(mcp.NewTool("ask"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(r.GetFloat("seconds", 3600)*float64(time.Second)), fmt.Errorf("time is up"))
		defer cancel()
		res, err := server.ServerFromContext(ctx).RequestElicitation(ctx, mcp.ElicitationRequest{Params: mcp.ElicitationParams{
			Mode: r.GetString("mode", ""), Message: "ok?", URL: "u", ElicitationID: "e", RequestedSchema: map[string]any{"type": "object"},
		}})
		if err != nil {
			return mcp.NewToolResultText("error: " + err.Error()), nil
		}
		content, _ := json.Marshal(res.Content)
		return mcp.NewToolResultText(fmt.Sprintf("%s %s", res.Action, content)), nil
	})
	return s
}

func initializeWith(caps string) string {
	return strings.Replace(initialize, `{"roots":{}}`, caps, 1)
}

const elicits = `{"elicitation":{}}`

func answerLine(id, result string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
}

// asking starts a peer that declared caps.
func asking(t *testing.T, caps string) *peer {
	t.Helper()
	p := startPeer(t, newAsking(), nil)
	checkSummaries(t, p.send(initializeWith(caps)), `"init": {}`)
	return p
}

// wrote compares the lines.
func wrote(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("wrote\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const firstAsk = `{"id":"ask-1","jsonrpc":"2.0","method":"elicitation/create","params":{"message":"ok?","requestedSchema":{"type":"object"},"elicitationId":"e","url":"u"}}`

// TestAPersonIsAskedDuringACall, and other calls go on meanwhile.
func TestAPersonIsAskedDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := asking(t, elicits)
		wrote(t, p.send(callLine("1", "ask", `{}`, "")), firstAsk)
		checkSummaries(t, p.send(callLine("3", "echo", `{"text":"x"}`, "")), "3: x")
		checkSummaries(t, p.send(answerLine(`"ask-1"`, `{"action":"accept","content":{"a":1}}`)+strings.Repeat("\n"+answerLine(`"ask-1"`, `{"action":"decline"}`), 50)), `1: accept {"a":1}`)
		p.endWell()
	})
}

// TestWhoNeverDeclaredElicitationIsNotAsked: mcp-go itself would send the request to anybody.
func TestWhoNeverDeclaredElicitationIsNotAsked(t *testing.T) {
	for _, tt := range []struct{ caps, args, want string }{
		{`{}`, `{}`, "1: error: session does not support elicitation"},
		{`{"roots":{}}`, `{}`, "1: error: session does not support elicitation"},
		{`{"elicitation":{"url":{}}}`, `{}`, "1: error: session does not support elicitation"},
		{`{"elicitation":{"form":{}}}`, `{"mode":"url"}`, "1: error: session does not support elicitation"},
		{`{"elicitation":{}}`, `{"mode":"url"}`, "1: error: session does not support elicitation"},
		{`{"elicitation":{}}`, `{}`, "elicitation/create"},
		{`{"elicitation":{"form":{}}}`, `{}`, "elicitation/create"},
		{`{"elicitation":{"url":{}}}`, `{"mode":"url"}`, "elicitation/create"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := asking(t, tt.caps)
			checkSummaries(t, p.send(callLine("1", "ask", tt.args, "")), tt.want)
			p.end()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newAsking(), nil)
		checkSummaries(t, p.send(callLine("1", "ask", `{}`, "")), "1: error: session does not support elicitation")
		modern := strings.Replace(modernMeta, `Capabilities":{}`, `Capabilities":`+elicits, 1)
		got := p.send(callLine("2", "ask", `{}`, modern))
		if len(got) != 1 || !strings.Contains(got[0], "not supported") {
			t.Errorf("a modern request was answered with %s", got)
		}
		p.endWell()
	})
}

// TestWhatIsNoAnswerAnswersNothing: none of it ends the server, another call or the question of
// somebody else.
func TestWhatIsNoAnswerAnswersNothing(t *testing.T) {
	const large = 300 << 10
	for name, tt := range map[string]struct{ line, want string }{
		"a refusal":          {`{"jsonrpc":"2.0","id":"ask-1","error":{"code":-32601,"message":"Method not found"}}`, "1: error: the client answered with error -32601: Method not found"},
		"an odd refusal":     {`{"jsonrpc":"2.0","id":"ask-1","error":"no"}`, "1: error: the client's response can't be read"},
		"no action":          {answerLine(`"ask-1"`, `{}`), "1: error: the client's response has the action"},
		"another action":     {answerLine(`"ask-1"`, `{"action":"ACCEPT"}`), "1: error: the client's response has the action"},
		"an action as list":  {answerLine(`"ask-1"`, `{"action":["accept"]}`), "1: error: the client's response is no result of elicitation/create"},
		"a list":             {answerLine(`"ask-1"`, `[]`), "1: error: the client's response is no result of elicitation/create"},
		"null":               {answerLine(`"ask-1"`, `null`), "1: error: the client's response"},
		"far too much":       {answerLine(`"ask-1"`, `{"action":"accept","content":{"a":"`+strings.Repeat("x", large)+`"}}`), "1: error: the client's response is longer than"},
		"another id":         {answerLine(`"ask-2"`, `{"action":"accept"}`), ""},
		"a number as id":     {answerLine(`1`, `{"action":"accept"}`), ""},
		"no id":              {`{"jsonrpc":"2.0","result":{"action":"accept"}}`, ""},
		"the id null":        {answerLine(`null`, `{"action":"accept"}`), ""},
		"the id in a list":   {answerLine(`["ask-1"]`, `{"action":"accept"}`), ""},
		"another id's error": {`{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"x"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := asking(t, elicits)
				wrote(t, p.send(callLine("1", "ask", `{}`, "")), firstAsk)
				got := p.send(tt.line)
				if tt.want == "" {
					wrote(t, got)
					got = p.send(answerLine(`"ask-1"`, `{"action":"decline"}`))
					tt.want = "1: decline"
				}
				if len(got) != 1 || !strings.HasPrefix(summary(t, got[0]), tt.want) {
					t.Errorf("wrote %.300q, want %q", got, tt.want)
				}
				again := answerLine(`"ask-1"`, `{"action":"accept"}`)
				wrote(t, p.send(strings.Repeat(again+"\n", 50)+again)) // nobody waits any more
				p.endWell()
			})
		})
	}
}

// TestAQuestionEndsWithItsCall and with its time; the client is told, and its late answer is nothing.
func TestAQuestionEndsWithItsCall(t *testing.T) {
	cancelled := func(n, why string) string {
		return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"` + why + `","requestId":"ask-` + n + `"}}`
	}
	synctest.Test(t, func(t *testing.T) {
		p := asking(t, elicits)
		wrote(t, p.send(callLine("1", "ask", `{}`, "")), firstAsk)
		wrote(t, p.send(cancelLine("1")), cancelled("1", "context canceled"))
		wrote(t, p.send(answerLine(`"ask-1"`, `{"action":"accept"}`)))

		p.send(callLine("2", "ask", `{"seconds":5}`, ""))
		time.Sleep(5 * time.Second)
		got := p.answers()
		if len(got) != 2 || got[0] != cancelled("2", "time is up") || summary(t, got[1]) != "2: error: time is up" {
			t.Errorf("wrote %q", got)
		}
		p.endWell()
	})
}

// TestAQuestionEndsWithTheInput at once: nobody can answer any more, and the call's own last words
// are still written.
func TestAQuestionEndsWithTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := asking(t, elicits)
		p.send(callLine("1", "ask", `{}`, ""))
		began := time.Now()
		rest, err := p.end()
		if err != nil || time.Since(began) != 0 {
			t.Errorf("ended after %s with %v", time.Since(began), err)
		}
		checkSummaries(t, rest, "1: error: the client has ended its side of the connection")
	})
}

// TestManyQuestionsAtOnce are answered in any order, each its own call, and bounded.
func TestManyQuestionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := asking(t, elicits)
		for i := range 64 {
			if got := p.send(callLine(fmt.Sprint(i), "ask", `{}`, "")); len(got) != 1 {
				t.Fatalf("question %d: %q", i, got)
			}
		}
		checkSummaries(t, p.send(callLine("64", "ask", `{}`, "")), "64: error: 64 requests wait for this client's responses already")
		for i := 63; i >= 0; i-- {
			got := p.send(answerLine(fmt.Sprintf(`"ask-%d"`, i+1), fmt.Sprintf(`{"action":"accept","content":%d}`, i)))
			checkSummaries(t, got, fmt.Sprintf("%d: accept %d", i, i))
		}
		p.endWell()
	})
}

// TestAClientThatDoesNotReadIsNotAsked: the question ends with its time all the same.
func TestAClientThatDoesNotReadIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, t.Context(), newAsking(), nil)
		p.write(initializeWith(elicits) + "\n" + callLine("1", "echo", `{"text":"`+strings.Repeat("x", 2*outboxLimit)+`"}`, "") + "\n")
		synctest.Wait()
		p.write(callLine("2", "ask", `{"seconds":5}`, "") + "\n")
		time.Sleep(6 * time.Second)
		p.startReading()
		got := p.answers()
		if len(got) != 3 || summary(t, got[2]) != "2: error: time is up" {
			t.Errorf("%d lines, the last %.100q", len(got), got[len(got)-1])
		}
		p.endWell()
	})
}
