package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/server"
)

// inEras runs a test in a bubble for a client of each era.
func inEras(t *testing.T, test func(t *testing.T, modern bool)) {
	t.Helper()
	for name, modern := range map[string]bool{"legacy": false, "modern": true} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, modern) }) })
	}
}

// change changes a loop n times, with pauses between.
func (w *world) change(id string, n int, pause time.Duration) {
	w.t.Helper()
	for i := range n {
		w.ok("loop_approve", args("loop_id", id, "decision", "set_limits", "limits", map[string]int{"max_tool_calls": 50 + i + int(time.Now().Unix()%50)}))
		time.Sleep(pause)
	}
}

func seconds(n ...float64) (times []time.Duration) {
	for _, s := range n {
		times = append(times, time.Duration(s*float64(time.Second)))
	}
	return times
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestUpdatesOnceASecond: the first change is told at once, those of the next
// second together, the last one always, and nothing when nothing happens.
func TestUpdatesOnceASecond(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		id, other := w.startClient(""), w.startClient("")
		p := dial(t, w.s, modern)
		stream := p.follow("loop://" + id)
		w.change(id, 12, 200*time.Millisecond) // 0 to 2.2 s
		w.change(other, 3, time.Second)
		time.Sleep(10 * time.Second)
		want(t, "updates", p.updates("loop://"+id), seconds(0, 1, 2, 3))
		want(t, "updates of a loop that nobody follows", len(p.updates("loop://"+other)), 0)
		w.change(id, 1, 0)
		want(t, "updates after a rest", len(p.updates("loop://"+id)), 5)
		for _, n := range p.told {
			if modern && n.stream != fmt.Sprint(stream) || !modern && n.stream != "" {
				t.Errorf("%+v belongs to another subscription than %d", n, stream)
			}
		}
	})
}

// TestResourcesOfOneLoopTakeTurns: at most one notification a second a loop,
// however many of its resources are followed, and none of them starves.
func TestResourcesOfOneLoopTakeTurns(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		id := w.startClient("")
		uris := []string{"loop://" + id, "loop://" + id + "/transcript"}
		p := dial(t, w.s, modern)
		p.follow(append(uris, "loops://recent")...)
		w.change(id, 1, 5*time.Second)
		want(t, "updates of the loop", p.updates(uris[0]), seconds(0))
		want(t, "updates of its transcript", p.updates(uris[1]), seconds(1))
		want(t, "updates of the recent ones", p.updates("loops://recent"), seconds(0))
		w.change(id, 40, 100*time.Millisecond) // 5 to 8.9 s
		time.Sleep(5 * time.Second)
		want(t, "updates of the loop", p.updates(uris[0])[1:], seconds(5, 7, 9))
		want(t, "updates of its transcript", p.updates(uris[1])[1:], seconds(6, 8, 10))
	})
}

// TestIterationsAreToldUntilTheyStand: an iteration is told when it is committed
// and not any more when the next one is.
func TestIterationsAreToldUntilTheyStand(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		id := w.startClient("")
		p := dial(t, w.s, modern)
		first, second := "loop://"+id+"/iterations/1", "loop://"+id+"/iterations/2"
		p.follow(first, second)
		w.change(id, 1, 5*time.Second)
		want(t, "updates before it is committed", len(p.updates(first)), 0)
		at := w.ok("loop_inspect", args("loop_id", id)).get("attention.id")
		w.ok("loop_continue", args("loop_id", id, "attention_id", at, "output", "one", "done", false))
		time.Sleep(5 * time.Second)
		if got := p.updates(first); len(got) == 0 {
			t.Error("nobody was told of the first iteration")
		}
		before := len(p.updates(first))
		at = w.ok("loop_inspect", args("loop_id", id)).get("attention.id")
		w.ok("loop_continue", args("loop_id", id, "attention_id", at, "output", "two", "done", false))
		time.Sleep(5 * time.Second)
		w.change(id, 1, 5*time.Second)
		if got := len(p.updates(first)) - before; got > 1 {
			t.Errorf("the first iteration was told %d times after the second was there", got)
		}
		if len(p.updates(second)) == 0 {
			t.Error("nobody was told of the second iteration")
		}
	})
}

// TestUnsubscribed: who unsubscribes hears nothing more, and the last to go
// ends the watch.
func TestUnsubscribed(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		watched := countWatches(w)
		id := w.startClient("")
		p, q := dial(t, w.s, modern), dial(t, w.s, !modern)
		stream := p.follow("loop://" + id)
		q.follow("loop://"+id, "loops://recent")
		w.change(id, 1, 2*time.Second)
		want(t, "watches", watched(), [2]int{1, 1})
		if modern {
			p.write(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, stream))
		} else {
			p.ask("resources/unsubscribe", fmt.Sprintf(`{"uri":"loop://%s"}`, id))
			p.ask("resources/unsubscribe", fmt.Sprintf(`{"uri":"loop://%s"}`, id))
			p.ask("resources/unsubscribe", `{"uri":"loop://never-seen"}`)
		}
		w.change(id, 1, 2*time.Second)
		want(t, "updates of who left", len(p.updates("loop://"+id)), 1)
		want(t, "updates of who stayed", len(q.updates("loop://"+id)), 2)
		q.hangUp()
		synctest.Wait()
		want(t, "watches", watched(), [2]int{1, 0})
		p.follow("loops://recent")
		w.change(id, 1, 2*time.Second)
		want(t, "updates after all left", len(p.updates("loops://recent")), 1)
		want(t, "watches", watched(), [2]int{2, 1})
	})
}

// countWatches returns how many watches of all loops were begun, and how many
// are open.
func countWatches(w *world) func() [2]int {
	counts := make(chan [2]int, 1)
	counts <- [2]int{}
	add := func(all, open int) {
		c := <-counts
		counts <- [2]int{c[0] + all, c[1] + open}
	}
	w.s = nil
	w.client = newClient(w.t, newServer(func(context.Context) (engineAPI, error) {
		return &countingEngine{engineAPI: w.e, add: add}, nil
	}, nil))
	return func() [2]int {
		c := <-counts
		counts <- c
		return c
	}
}

// TestSubscriptionsThatAreRefused: what is not there can't be followed.
func TestSubscriptionsThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		id := w.startClient("")
		p := dial(t, w.s, false)
		for uri, text := range map[string]string{
			"loop://draft-9999": "no loop", "loop://../etc": "no resource", "http://x": "no resource", "loop://" + id + "/": "no resource",
			"loop://" + id + "/iterations/51": "no resource", "loops://all": "no resource", "loop://" + id + "/iterations/00000000000000000000000000001": "no resource",
		} {
			a := p.refused(-32002, "resources/subscribe", fmt.Sprintf(`{"uri":%q}`, uri), text)
			if a.Error.Data["uri"] != uri {
				t.Errorf("%q: data %v", uri, a.Error.Data)
			}
		}
		p.refused(-32602, "resources/subscribe", `{"uri":7}`)
		p.refused(-32602, "resources/subscribe", `{"uri":""}`, "uri: is missing")
		p.refused(-32602, "resources/subscribe", `{"uri":null}`, "uri: is missing")

		m := dial(t, w.s, true)
		m.follow("loop://draft-9999", "loop://"+id, "loop://x", "loop://"+id)
		got := m.log.String()
		if !strings.Contains(got, fmt.Sprintf(`"notifications":{"resourceSubscriptions":["loop://%s"]}`, id)) {
			t.Errorf("acknowledged %s", got)
		}
		a := m.refused(-32602, "subscriptions/listen", `{"notifications":{"resourceSubscriptions":["loop://draft-9999","loop://x"]}}`, "no loop")
		if a.Error.Data["uri"] != "loop://draft-9999" || strings.Count(m.log.String(), "acknowledged") != 1 {
			t.Errorf("refused %v", m.log.String())
		}
		m.listen(`{"resourceSubscriptions":["loop://draft-9999"],"promptsListChanged":true}`)
		if got := m.log.String(); !strings.Contains(got, `"notifications":{"promptsListChanged":true}`) {
			t.Errorf("acknowledged %s", got)
		}
	})
}

// TestTooManySubscriptions: a session is bounded.
func TestTooManySubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		id := w.startClient(`,"limits":{"max_iterations":1000}`)
		p := dial(t, w.s, false)
		for n := 1; n <= maxSubscriptions; n++ {
			p.follow(fmt.Sprintf("loop://%s/iterations/%d", id, n))
		}
		p.refused(-32602, "resources/subscribe", fmt.Sprintf(`{"uri":"loop://%s"}`, id), "256 resources", "unsubscribe some first")
		p.follow("loop://" + id + "/iterations/1") // again is no more
		p.ask("resources/unsubscribe", fmt.Sprintf(`{"uri":"loop://%s/iterations/1"}`, id))
		p.follow("loop://" + id)
	})
}

// TestOwnersHearOfTheirOwn: who has another token neither sees nor hears of a
// loop, not even that there is one more.
func TestOwnersHearOfTheirOwn(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		ann, bob := dialAs(t, w.s, modern, "ann"), dialAs(t, w.s, modern, "bob")
		for _, p := range []*peer{ann, bob} {
			p.ask("resources/list", `{}`)
			p.follow("loops://recent")
			if modern {
				p.listen(`{"resourcesListChanged":true}`)
			}
		}
		time.Sleep(time.Second)
		ann.ask("tools/call", fmt.Sprintf(`{"name":"loop_start","arguments":%s}`, fmt.Sprintf(clientArgs, "")))
		time.Sleep(time.Second)
		var list struct{ Resources []struct{ URI string } }
		ann.read("resources/list", `{}`, &list)
		uri := list.Resources[len(list.Resources)-1].URI
		ann.follow(uri)
		ann.ask("tools/call", fmt.Sprintf(`{"name":"loop_pause","arguments":{"loop_id":%q}}`, strings.TrimPrefix(uri, "loop://")))
		time.Sleep(5 * time.Second)
		want(t, "ann's updates", [3]int{len(ann.updates(uri)), len(ann.updates("loops://recent")), len(ann.times("notifications/resources/list_changed"))}, [3]int{1, 2, 1})
		want(t, "what bob hears", len(bob.told)-map[bool]int{true: 2}[modern], 0) // two acknowledgements
		code := map[bool]int{false: -32002, true: -32602}[modern]
		bob.refused(code, "resources/read", fmt.Sprintf(`{"uri":%q}`, uri), "no loop")
		bob.refused(code, "resources/read", fmt.Sprintf(`{"uri":"%s/transcript"}`, uri), "no loop")
		bob.refused(-32602, "prompts/get", fmt.Sprintf(`{"name":"loop_review","arguments":{"loop_id":%q}}`, strings.TrimPrefix(uri, "loop://")), "no loop")
		if !modern {
			bob.refused(code, "resources/subscribe", fmt.Sprintf(`{"uri":%q}`, uri), "no loop")
		}
		var c struct{ Completion struct{ Values []string } }
		bob.read("completion/complete", `{"ref":{"type":"ref/resource","uri":"loop://{id}"},"argument":{"name":"id","value":""}}`, &c)
		want(t, "ids that bob can complete", len(c.Completion.Values), 0)
		bob.read("resources/list", `{}`, &list)
		want(t, "resources of bob", len(list.Resources), 1)
	})
}

// TestRetentionTakesALoop: no watch tells it, so somebody has to look.
func TestRetentionTakesALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		id := w.startClient("")
		e := &countingEngine{engineAPI: w.e, add: func(int, int) {}}
		p := dial(t, newServer(func(context.Context) (engineAPI, error) { return e, nil }, nil), true)
		p.listen(fmt.Sprintf(`{"resourcesListChanged":true,"resourceSubscriptions":["loop://%s"]}`, id))
		time.Sleep(time.Minute)
		e.hide(loops.ID(id))
		time.Sleep(sweep)
		want(t, "list changes", len(p.times("notifications/resources/list_changed")), 1)
		want(t, "updates", len(p.updates("loop://"+id)), 1)
		time.Sleep(3 * sweep)
		want(t, "list changes", len(p.times("notifications/resources/list_changed")), 1)
	})
}

// TestAClientThatDoesNotRead keeps nobody waiting, neither the engine nor other
// clients, and gets the last change when it reads again.
func TestAClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		id := w.startClient("")
		h := toolsFor(func(context.Context) (engineAPI, error) { return w.e, nil }, nil).hub
		var mu sync.Mutex
		full, sent := true, map[string]int{}
		locked := func(do func()) { mu.Lock(); defer mu.Unlock(); do() }
		h.send = func(session, _ string, _ map[string]any) error {
			mu.Lock()
			defer mu.Unlock()
			if session == "slow" && full {
				return server.ErrNotificationChannelBlocked
			}
			sent[session]++
			return nil
		}
		for _, session := range []string{"slow", "quick"} {
			h.join(session)
			if err := h.add(session, "", id, interest{method: "m", uri: "loop://" + id}); err != nil {
				t.Fatal(err)
			}
		}
		h.ready(t.Context())
		time.Sleep(2 * time.Second)
		locked(func() { clear(sent) })
		w.change(id, 50, 100*time.Millisecond)
		time.Sleep(10 * time.Second)
		locked(func() {
			if sent["slow"] != 0 || sent["quick"] < 5 || sent["quick"] > 7 {
				t.Errorf("sent %v", sent)
			}
			full = false
		})
		time.Sleep(10 * time.Second)
		locked(func() { want(t, "notifications to the slow one", sent["slow"], 1) })
		h.leave("slow")
		h.leave("quick")
		h.leave("quick")
	})
}

// TestSessionsThatAreGone can't follow anything any more: their request was
// slower than their end.
func TestSessionsThatAreGone(t *testing.T) {
	h := toolsFor(nil, nil).hub
	h.join("a")
	h.leave("a")
	if err := h.add("a", "", "draft-0001", interest{}); !errors.Is(err, loops.ErrRefused) || len(h.topics) != 0 || h.follower != nil || h.sender != nil {
		t.Errorf("%v, %+v", err, h)
	}
}
