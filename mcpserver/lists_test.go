package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
)

// TestListsThatChange: a client that has read the list, or asked to be told, is
// told when a loop is there that was not; others are not told.
func TestListsThatChange(t *testing.T) {
	const method = "notifications/resources/list_changed"
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		id := w.startClient("")
		p, silent := dial(t, w.s, modern), dial(t, w.s, modern)
		if modern {
			p.listen(`{"resourcesListChanged":true}`)
		} else {
			p.ask("resources/list", `{}`)
		}
		time.Sleep(5 * time.Second)
		w.change(id, 3, time.Second)
		want(t, "told of changes within a loop", len(p.times(method)), 0)
		for range 10 {
			w.startClient("")
			time.Sleep(300 * time.Millisecond) // 8 to 10.7 s
		}
		time.Sleep(5 * time.Second)
		want(t, "told of new loops", p.times(method), seconds(8, 9, 10, 11))
		want(t, "told who did not ask", len(silent.times(method)), 0)
	})
}

// TestLookingMakesNoStore: a client that reads, completes, subscribes and
// listens where no loop ever was leaves nothing behind, and is told when there
// is one.
func TestLookingMakesNoStore(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		var has atomic.Bool
		var opened atomic.Int32
		w.client = newClient(t, New(func(context.Context) (*loops.Engine, error) { opened.Add(1); return w.e, nil },
			&Options{HasStore: func() (bool, error) { return has.Load(), nil }}))
		p := dial(t, w.s, modern)
		var list struct{ Resources []struct{ URI string } }
		p.read("resources/list", `{}`, &list)
		want(t, "resources", fmt.Sprint(list.Resources), "[{loops://recent}]")
		var read struct{ Contents []struct{ Text string } }
		p.read("resources/read", `{"uri":"loops://recent"}`, &read)
		want(t, "recent loops", read.Contents[0].Text, `{"items":[],"next":"There are no loops yet: loop_start begins one."}`)
		p.ask("resources/read", `{"uri":"loop://draft-0001"}`)
		p.ask("completion/complete", `{"ref":{"type":"ref/prompt","name":"loop_review"},"argument":{"name":"loop_id","value":""}}`)
		p.ask("prompts/list", `{}`)
		p.follow("loops://recent")
		if modern {
			p.listen(`{"resourcesListChanged":true}`)
		}
		time.Sleep(time.Minute)
		want(t, "openings", opened.Load(), 0)
		has.Store(true)
		w.startClient("")
		time.Sleep(5 * time.Second)
		want(t, "updates", p.updates("loops://recent"), seconds(60))
		want(t, "list changes", p.times("notifications/resources/list_changed"), seconds(60))
	})
}

// TestAStoreMadeElsewhere: another process makes the first loop.
func TestAStoreMadeElsewhere(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		var has atomic.Bool
		p := dial(t, New(func(context.Context) (*loops.Engine, error) { return w.e, nil },
			&Options{HasStore: func() (bool, error) { return has.Load(), nil }}), modern)
		p.follow("loops://recent")
		time.Sleep(time.Minute)
		w.startClient("") // through a server of its own
		has.Store(true)
		time.Sleep(lookAgain)
		want(t, "updates", len(p.updates("loops://recent")), 1)
	})
}

// TestListeningOpensTheStoreLater: clients that listen to lists from the start,
// as Claude Code does, may only be looking.
func TestListeningOpensTheStoreLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		var opened atomic.Int32
		p := dial(t, New(func(context.Context) (*loops.Engine, error) { opened.Add(1); return w.e, nil }, nil), true)
		p.listen(`{"toolsListChanged":true,"resourcesListChanged":true,"promptsListChanged":true}`)
		time.Sleep(settleFirst - time.Millisecond)
		want(t, "openings", opened.Load(), 0)
		time.Sleep(time.Second)
		want(t, "openings", opened.Load(), 1)
	})
}

// TestTheWatchBreaks: what changed while there was no watch is told when there
// is one again.
func TestTheWatchBreaks(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		id, other := w.startClient(""), w.startClient("")
		broken := errors.New("no connection")
		e := &countingEngine{engineAPI: w.e, add: func(int, int) {}}
		p := dial(t, newServer(func(context.Context) (engineAPI, error) { return e, nil }, nil), modern)
		p.follow("loop://"+id, "loop://"+other, "loops://recent")
		e.fail(broken)
		w.change(id, 1, 5*time.Second)
		time.Sleep(20 * time.Second)
		before := len(p.updates("loop://" + id))
		w.change(id, 1, 0)
		want(t, "updates without a watch", len(p.updates("loop://"+id)), before)
		e.fail(nil)
		time.Sleep(lookAgain)
		want(t, "updates when there is one", len(p.updates("loop://"+id)), before+1)
		want(t, "updates of what did not change", len(p.updates("loop://"+other)), 0)
	})
}
