package stdio

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// TestCancel: the context ends, nothing is written for the call, others go on, and the id is free.
func TestCancel(t *testing.T) {
	for name, era := range map[string]string{"legacy": "", "modern": modernMeta} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPeer(t, newServer(), nil)
				checkSummaries(t, p.send(callLine("1", "wait", "{}", era), callLine(`"1"`, "wait", "{}", era)))
				checkSummaries(t, p.send(cancelLine("2"), cancelLine("{}"), cancelLine("null")))
				checkSummaries(t, p.send(cancelLine("1.0")))
				checkSummaries(t, p.send(callLine("1", "echo", `{"text":"again"}`, era)), "1: again")
				checkSummaries(t, p.send(cancelLine(`"\u0031"`)))
				p.endWell() // at once: nothing runs any more
			})
		})
	}
}

// TestCancelledIDIsFree: even while the cancelled call's handler goes on; its end frees nothing else.
func TestCancelledIDIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		g := newGate()
		s.AddTool(mcp.NewTool("stubborn"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			g.pass()
			return mcp.NewToolResultText("unwanted"), nil
		})
		p := startPeer(t, s, nil)
		checkSummaries(t, p.send(callLine("1", "stubborn", "{}", "")))
		<-g.reached
		checkSummaries(t, p.send(cancelLine("1"), callLine("1", "wait", "{}", "")))
		close(g.open)
		checkSummaries(t, p.answers())
		checkSummaries(t, p.send(pingLine("1")), "1: -32600")
		checkSummaries(t, p.send(cancelLine("1")))
		p.endWell()
	})
}

// TestCancelSilencesQueuedNotifications: a call cancelled while its notifications wait for a slow
// client writes none of them, and its sender goes on.
func TestCancelSilencesQueuedNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, t.Context(), newServer(), nil)
		p.write(pingLine(`"first"`) + "\n")
		synctest.Wait() // the writer holds this answer; what follows is queued behind it
		p.write(callLine("1", "progress", `{"count":100000,"token":"a"}`, "") + "\n")
		p.write(pingLine(`"last"`) + "\n")
		synctest.Wait()
		p.write(cancelLine("1") + "\n")
		synctest.Wait()
		p.startReading()
		checkSummaries(t, p.answers(), `"first": {}`, `"last": {}`)
		p.endWell()
	})
}

// TestCancelBeforeStart: a call cancelled while it waits behind initialize never runs; a cancelled
// initialize is answered all the same; what was read after it sees what it established.
func TestCancelBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		hooks := &server.Hooks{}
		hooks.AddBeforeInitialize(func(context.Context, any, *mcp.InitializeRequest) { g.pass() })
		ran := false
		s := newServer(server.WithHooks(hooks))
		s.AddTool(mcp.NewTool("ran"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			ran = true
			return mcp.NewToolResultText(""), nil
		})
		p := startPeer(t, s, nil)
		checkSummaries(t, p.send(initialize, callLine("1", "ran", "{}", ""), callLine("2", "whoami", "{}", "")))
		<-g.reached
		checkSummaries(t, p.send(cancelLine("1"), cancelLine(`"init"`)))
		close(g.open)
		checkSummaries(t, p.answers(), `"init": {}`, "2: l roots=true 2025-11-25")
		if ran {
			t.Error("the cancelled call ran")
		}
		p.endWell()
	})
}

// TestDuplicateID: the second request with an id in flight is refused, one after the answer is not.
func TestDuplicateID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), nil)
		checkSummaries(t, p.send(callLine("7", "wait", `{"seconds":1}`, ""), pingLine("7.0")), "7.0: -32600")
		checkSummaries(t, p.send(pingLine(`"7"`)), `"7": {}`)
		rest, err := p.end()
		checkSummaries(t, rest, "7: waited")
		if err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), nil)
		for range 1000 {
			checkSummaries(t, p.send(pingLine("7")), "7: {}")
		}
		p.endWell()
	})
}

// TestErasAlternate: each request shows its own client, whoever spoke before.
func TestErasAlternate(t *testing.T) {
	nameless := strings.Replace(modernMeta, `,"io.modelcontextprotocol/clientInfo":{"name":"m","version":"2"}`, "", 1)
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), nil)
		checkSummaries(t, p.send(callLine("0", "whoami", "{}", "")), "0:  roots=false ")
		checkSummaries(t, p.send(callLine("1", "whoami", "{}", modernMeta)), "1: m roots=false 2026-07-28")
		checkSummaries(t, p.send(callLine("2", "whoami", "{}", "")), "2:  roots=false ")
		checkSummaries(t, p.send(initialize), `"init": {}`)
		for i := range 3 {
			id := fmt.Sprint(10 * (i + 1))
			checkSummaries(t, p.send(callLine(id, "whoami", "{}", "")), id+": l roots=true 2025-11-25")
			checkSummaries(t, p.send(callLine(id, "whoami", "{}", modernMeta)), id+": m roots=false 2026-07-28")
			checkSummaries(t, p.send(callLine(id, "whoami", "{}", nameless)), id+":  roots=false 2026-07-28")
		}
		refused := strings.Replace(initialize, `"params":{`, `"params":{`+modernMeta+"},", 1)
		checkSummaries(t, p.send(refused), `"init": -32601`)
		checkSummaries(t, p.send(callLine("9", "whoami", "{}", "")), "9: l roots=true 2025-11-25")
		p.endWell()
	})
}

// TestBefore: it sees the bytes as they came, invalid UTF-8 included, and what it returns is served
// under the client's id; a panic in it is an answer.
func TestBefore(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.AddTool(mcp.NewTool("value"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText(fmt.Sprint(ctx.Value(key{}))), nil
		})
		var raw string
		p := startPeer(t, s, &Options{Before: func(ctx context.Context, method string, msg json.RawMessage) (context.Context, json.RawMessage) {
			switch {
			case method == "ping":
				panic("secret")
			case server.ClientSessionFromContext(ctx) == nil:
				t.Error("Before has no session")
			}
			raw = string(msg)
			return context.WithValue(ctx, key{}, "added"), []byte(callLine(`"other"`, "value", "{}", ""))
		}})
		line := callLine("1", "echo", "{\"text\":\"a\xff\xfeb\"}", "")
		checkSummaries(t, p.send(line), "1: added")
		if raw != line {
			t.Errorf("Before saw %q, want %q", raw, line)
		}
		checkSummaries(t, p.send(pingLine("2")), "2: -32603")
		p.endWell()
	})
}

// TestAround: it may answer a request itself, with a code of its own, or leave it to the server; the
// answer goes under the client's id.
func TestAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), &Options{Around: func(ctx context.Context, method string, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage {
			switch {
			case server.ClientSessionFromContext(ctx) == nil:
				t.Error("Around has no session")
			case method == "tasks/get":
				return mcp.NewJSONRPCError(mcp.NewRequestId("other"), -32021, "not for you", nil)
			case method == "tools/list":
				panic("secret")
			}
			return next(ctx, msg)
		}})
		checkSummaries(t, p.send(`{"jsonrpc":"2.0","id":1,"method":"tasks/get"}`), "1: -32021")
		checkSummaries(t, p.send(pingLine("2")), "2: {}")
		checkSummaries(t, p.send(`{"jsonrpc":"2.0","id":3,"method":"tools/list"}`), "3: -32603")
		p.endWell()
	})
}

// TestPanic: a handler's panic is an internal error without the panic's text.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), nil)
		got := p.send(callLine("1", "panic", "{}", ""))
		checkSummaries(t, got, "1: -32603")
		if strings.Contains(got[0], "secret") {
			t.Errorf("the answer tells the panic: %s", got[0])
		}
		checkSummaries(t, p.send(pingLine("2")), "2: {}")
		p.endWell()
	})
}

// TestUnwritableAnswer: a result JSON can't hold is an error for that request only.
func TestUnwritableAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.AddTool(mcp.NewTool("odd"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultStructured(map[string]any{"f": func() {}}, "x"), nil
		})
		p := startPeer(t, s, nil)
		checkSummaries(t, p.send(callLine("1", "odd", "{}", "")), "1: -32603")
		p.endWell()
	})
}

// TestFirstMessage: called once, by the first message that is one.
func TestFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		p := startPeer(t, newServer(), &Options{FirstMessage: func() { calls++ }})
		p.send("junk", "", "[]", "{}")
		if calls != 0 {
			t.Errorf("called %d times before a valid message", calls)
		}
		p.send(pingLine("1"))
		p.send(pingLine("2"))
		if calls != 1 {
			t.Errorf("called %d times, want once", calls)
		}
		p.endWell()
	})
}
