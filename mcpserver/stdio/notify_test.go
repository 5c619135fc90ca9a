package stdio

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// TestProgressBurst: 10,000 notifications without a pause all arrive, in order, before the answer.
func TestProgressBurst(t *testing.T) {
	for name, era := range map[string]string{"legacy": "", "modern": modernMeta} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const count = 10_000
				p := startPeer(t, newServer(), nil)
				got := p.send(callLine("1", "progress", fmt.Sprintf(`{"count":%d,"token":"a"}`, count), era))
				if len(got) != count+1 {
					t.Fatalf("%d lines, want %d", len(got), count+1)
				}
				for i, line := range got[:count] {
					if r := parseReply(t, line); r.Method != "notifications/progress" || r.Params.Progress != i {
						t.Fatalf("line %d is %s", i, line)
					}
				}
				checkSummaries(t, got[count:], "1: done")
				p.endWell()
			})
		})
	}
}

// TestProgressStaysWithItsCall: many calls at once, several senders in each; no notification comes
// after its own call's answer and none is lost.
func TestProgressStaysWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls, senders, count = 20, 4, 200
		s := newServer()
		s.AddTool(mcp.NewTool("chorus"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			var wg sync.WaitGroup
			for range senders {
				wg.Go(func() { _, _ = sendProgress(ctx, r) })
			}
			wg.Wait()
			return mcp.NewToolResultText("done"), nil
		})
		p := startPeer(t, s, nil)
		var lines []string
		for i := range calls {
			lines = append(lines, callLine(fmt.Sprint(i), "chorus", fmt.Sprintf(`{"count":%d,"token":"%d"}`, count, i), ""))
		}
		seen := map[string]int{}
		for _, line := range p.send(lines...) {
			r := parseReply(t, line)
			if r.Method != "" {
				seen[r.Params.Token]++
				continue
			}
			if n := seen[string(r.ID)]; n != senders*count {
				t.Errorf("call %s was answered after %d notifications, want %d", r.ID, n, senders*count)
			}
		}
		p.endWell()
	})
}

// TestTwoConnections: two Serve calls share a server and nothing else.
func TestTwoConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		a, b := startPeer(t, s, nil), startPeer(t, s, nil)
		checkSummaries(t, a.send(initialize), `"init": {}`)
		checkSummaries(t, a.send(callLine("1", "wait", "{}", "")))
		checkSummaries(t, b.send(callLine("1", "whoami", "{}", "")), "1:  roots=false ")
		checkSummaries(t, b.send(cancelLine("1")))
		checkSummaries(t, a.send(pingLine("1")), "1: -32600") // still in flight
		checkSummaries(t, b.send(callLine("2", "progress", `{"count":2}`, "")),
			"notifications/progress", "notifications/progress", "2: done")
		checkSummaries(t, a.send(callLine("2", "whoami", "{}", "")), "2: l roots=true 2025-11-25")
		checkSummaries(t, a.send(cancelLine("1")))
		a.endWell()
		b.endWell()
	})
}

// TestSubscriptionsAreBounded: a client can't make a session remember without limit.
func TestSubscriptionsAreBounded(t *testing.T) {
	var u rpc.URIs
	half := strings.Repeat("x", rpc.URIsLimit/2)
	for _, step := range []struct {
		uri string
		ok  bool
	}{{"a" + half, true}, {"a" + half, true}, {"b" + half, false}, {"c", true}} {
		if err := u.SubscribeToResourceErr(step.uri); (err == nil) != step.ok {
			t.Errorf("subscribe to %.1s…: %v", step.uri, err)
		}
	}
	u.UnsubscribeFromResource("a" + half)
	u.UnsubscribeFromResource("a" + half)
	if err := u.SubscribeToResourceErr("b" + half); err != nil || !u.IsSubscribedToResource("c") || u.IsSubscribedToResource("a"+half) {
		t.Errorf("after unsubscribing: %v, %d subscriptions", err, len(u.SubscribedResources()))
	}
}

// TestNotificationAfterTheAnswer: what a handler leaves running can't notify any more, and a session
// whose channel is asked for and not used doesn't stop.
func TestNotificationAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		late := make(chan error, 1)
		s.AddTool(mcp.NewTool("leave"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			for range 3 * rpc.MailboxPlaces {
				server.ClientSessionFromContext(ctx).NotificationChannel()
			}
			go func() {
				<-time.After(time.Second)
				late <- s.SendNotificationToClient(ctx, "notifications/progress", nil)
			}()
			return sendProgress(ctx, r)
		})
		p := startPeer(t, s, nil)
		checkSummaries(t, p.send(callLine("1", "leave", "{}", "")), "notifications/progress", "1: done")
		if err := <-late; err == nil {
			t.Error("a notification after the answer was taken")
		}
		p.endWell()
	})
}

// TestNotificationAfterCancellation: it is an error, which ends a handler that only ever notifies.
func TestNotificationAfterCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		ended := make(chan struct{})
		s.AddTool(mcp.NewTool("endless"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			defer close(ended)
			for {
				if err := s.SendNotificationToClient(ctx, "notifications/progress", nil); err != nil {
					return nil, err
				}
				<-time.After(time.Second)
			}
		})
		p := startPeer(t, s, nil)
		checkSummaries(t, p.send(callLine("1", "endless", "{}", "")), "notifications/progress")
		checkSummaries(t, p.send(cancelLine("1")))
		<-ended
		p.endWell()
	})
}

// TestListen: a modern subscription is acknowledged first, gets what it asked for with its own id,
// blocks nothing, and ends unanswered when cancelled and answered at the end of input.
func TestListen(t *testing.T) {
	listen := func(id, want string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"method":"subscriptions/listen","params":{"notifications":` + want + "," + modernMeta + `}}}`
	}
	synctest.Test(t, func(t *testing.T) {
		hooks := &server.Hooks{}
		var mu sync.Mutex
		sessions := map[string]server.ClientSession{}
		hooks.AddOnRegisterSession(func(_ context.Context, s server.ClientSession) {
			mu.Lock()
			defer mu.Unlock()
			sessions[s.SessionID()] = s
		})
		s := newServer(server.WithHooks(hooks))
		p := startPeer(t, s, nil)
		s.AddTool(mcp.NewTool("before"), nil)
		const ack = "notifications/subscriptions/acknowledged"
		checkSummaries(t, p.send(
			listen("9007199254740993", `{"toolsListChanged":true}`)), ack)
		checkSummaries(t, p.send(
			listen(`"b"`, `{"resourceSubscriptions":["loop://x"]}`)), ack)
		checkSummaries(t, p.send(pingLine("2")), "2: {}")

		s.AddTool(mcp.NewTool("after"), nil)
		got := p.answers()
		checkSummaries(t, got, "notifications/tools/list_changed")
		if !strings.Contains(got[0], `"io.modelcontextprotocol/subscriptionId":9007199254740993}`) {
			t.Errorf("not tagged with the subscription: %s", got[0])
		}
		for id, session := range sessions {
			if session.(server.SessionWithResourceSubscriptions).IsSubscribedToResource("loop://x") {
				if err := s.SendNotificationToSpecificClient(id, "notifications/resources/updated", map[string]any{"uri": "loop://x"}); err != nil {
					t.Error(err)
				}
			}
		}
		got = p.answers()
		checkSummaries(t, got, "notifications/resources/updated")
		if r := parseReply(t, got[0]); r.Params.Meta[mcp.MetaKeySubscriptionID] != "b" {
			t.Errorf("not tagged with the subscription: %s", got[0])
		}

		checkSummaries(t, p.send(cancelLine("9007199254740993")))
		s.AddTool(mcp.NewTool("unheard"), nil)
		start := time.Now()
		rest, err := p.end()
		checkSummaries(t, rest, `"b": {}`)
		if took := time.Since(start); err != nil || took > 0 {
			t.Errorf("end of input: %v after %v, want at once", err, took)
		}
	})
}

// TestLegacyBroadcast: a legacy client hears of changes after its notifications/initialized, a client
// that never initialized doesn't.
func TestLegacyBroadcast(t *testing.T) {
	const initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		p := startPeer(t, s, nil)
		p.send(initialized)
		s.AddTool(mcp.NewTool("one"), nil)
		checkSummaries(t, p.answers())
		checkSummaries(t, p.send(initialize), `"init": {}`)
		s.AddTool(mcp.NewTool("two"), nil)
		checkSummaries(t, p.answers())
		p.send(initialized)
		s.AddTool(mcp.NewTool("three"), nil)
		checkSummaries(t, p.answers(), "notifications/tools/list_changed")
		p.endWell()
	})
}
