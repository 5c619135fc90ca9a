package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/mcpserver/tasks"
	"example.com/loop-mcp/mcpserver/tasks/taskstest"
	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
)

// held is work that lasts until the task is cancelled.
func held(ctx context.Context, _ taskstest.Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails) {
	<-ctx.Done()
	return nil, nil
}

// TestPushes: the acknowledgement, how the task stands, each change, the end; each the task that
// tasks/get shows.
func TestPushes(t *testing.T) {
	bubble(t, nil, func(h *host) {
		id := h.begin("confirm_delete", `{}`)
		synctest.Wait()
		l := h.listen(10, takesAsks, fmt.Sprintf(`{"taskIds":["nope",%q,%[1]q],"toolsListChanged":true,"resourceSubscriptions":["loop://x"]}`, id))
		want := map[string]any{"taskIds": []any{id}, "toolsListChanged": true, "resourceSubscriptions": []any{"loop://x"}}
		if diff := cmp.Diff(want, l.acknowledged()); diff != "" {
			t.Errorf("granted:\n%s", diff)
		}
		check := func(status string) {
			t.Helper()
			pushed, asked := l.task(), h.get(id)
			delete(pushed, "_meta")
			delete(asked, "resultType")
			if diff := cmp.Diff(asked, pushed); diff != "" || pushed["status"] != status {
				t.Errorf("pushed %v, want %s; against tasks/get:\n%s", pushed, status, diff)
			}
		}
		check("input_required")
		h.ack("tasks/update", fmt.Sprintf(`"taskId":%q,"inputResponses":{"confirm":{"action":"accept"}}`, id))
		check("completed")
		time.Sleep(time.Hour)
		l.quiet()
		h.server.SendNotificationToAllClients("notifications/tools/list_changed", nil)
		l.stop()
		if r := <-l.ended; r.Error != nil || r.Result["resultType"] != "complete" {
			t.Errorf("the stream ended with %+v", r)
		}
		l.ended <- reply{}
	})
}

// TestPushesToAClientThatCannotAsk show what its tasks/get would.
func TestPushesToAClientThatCannotAsk(t *testing.T) {
	bubble(t, nil, func(h *host) {
		id := h.begin("confirm_delete", `{}`)
		synctest.Wait()
		l := h.listen(10, takes, fmt.Sprintf(`{"taskIds":[%q]}`, id))
		l.acknowledged()
		if push := l.task(); push["status"] != "working" || push["inputRequests"] != nil {
			t.Errorf("pushed %v, want a task at work", push)
		}
	})
}

// TestAStreamOfTasksAlone stays open, although mcp-go has nothing to send on it; one of unknown tasks
// has nothing to stay open for.
func TestAStreamOfTasksAlone(t *testing.T) {
	bubble(t, nil, func(h *host) {
		h.backend.Start("t1", held)
		l := h.listen(10, takes, `{"taskIds":["t1"]}`)
		if diff := cmp.Diff(map[string]any{"taskIds": []any{"t1"}}, l.acknowledged()); diff != "" {
			t.Errorf("granted:\n%s", diff)
		}
		l.task()
		time.Sleep(time.Hour)
		select {
		case r := <-l.ended:
			t.Fatalf("the stream ended: %+v", r)
		default:
		}
		none := h.listen(10, takes, `{"taskIds":["nope"]}`)
		if diff := cmp.Diff(map[string]any{}, none.acknowledged()); diff != "" {
			t.Errorf("granted of an unknown task:\n%s", diff)
		}
		none.ended <- <-none.ended
	})
}

// TestManyChangesFewPushes: at most four a second, and the last state is among them.
func TestManyChangesFewPushes(t *testing.T) {
	bubble(t, nil, func(h *host) {
		h.backend.Start("t1", held)
		l := h.listen(1000, takes, `{"taskIds":["t1"]}`)
		l.acknowledged()
		for n := range 1000 {
			h.backend.Say("t1", fmt.Sprintf("step %d", n))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		pushes, last := len(l.channel), map[string]any(nil)
		for range pushes {
			last = l.task()
		}
		if pushes < 38 || pushes > 42 || last["statusMessage"] != "step 999" {
			t.Errorf("%d pushes in ten seconds, the last says %v; want forty and step 999", pushes, last["statusMessage"])
		}
	})
}

// TestASlowReaderMissesNoEnd: who reads nothing for an hour gets the newest state then.
func TestASlowReaderMissesNoEnd(t *testing.T) {
	bubble(t, nil, func(h *host) {
		h.backend.Start("t1", held)
		l := h.listen(0, takes, `{"taskIds":["t1"]}`)
		l.acknowledged()
		for n := range 100 {
			h.backend.Say("t1", fmt.Sprintf("step %d", n))
			time.Sleep(time.Minute)
		}
		_ = h.backend.Cancel(t.Context(), "t1")
		synctest.Wait()
		var seen []string
		for len(seen) == 0 || seen[len(seen)-1] != "cancelled" {
			seen = append(seen, fmt.Sprint(l.task()["status"]))
		}
		if len(seen) > 3 {
			t.Errorf("%d pushes waited, want only what was under way and the end", len(seen))
		}
	})
}

// TestAStreamEndsWithItsRequest: while it waits for a client that reads nothing, too.
func TestAStreamEndsWithItsRequest(t *testing.T) {
	bubble(t, nil, func(h *host) {
		h.backend.Start("t1", held)
		for _, read := range []bool{true, false} {
			l := h.listen(0, takes, `{"taskIds":["t1"]}`)
			if read {
				l.acknowledged()
				l.task()
			}
			synctest.Wait()
			l.stop()
			synctest.Wait()
			if len(l.ended) != 1 {
				t.Error("the request has not ended")
			}
		}
	})
}

// TestTwoHundredListeners to five tasks: each is told of every end.
func TestTwoHundredListeners(t *testing.T) {
	bubble(t, nil, func(h *host) {
		ids := ""
		for n := range 5 {
			id := fmt.Sprintf("t%d", n)
			h.backend.Start(id, held)
			ids += fmt.Sprintf(",%q", id)
		}
		var all []*listener
		for range 200 {
			all = append(all, h.listen(1000, takes, `{"taskIds":[`+ids[1:]+`]}`))
		}
		synctest.Wait()
		for n := range 5 {
			_ = h.backend.Cancel(t.Context(), fmt.Sprintf("t%d", n))
		}
		time.Sleep(time.Minute)
		for _, l := range all {
			l.acknowledged()
			ended := map[any]bool{}
			for len(l.channel) > 0 {
				if push := l.task(); push["status"] == "cancelled" {
					ended[push["taskId"]] = true
				}
			}
			if len(ended) != 5 {
				t.Fatalf("told of %d ends, want 5", len(ended))
			}
		}
	})
}

// flaky is a backend whose watches break off.
type flaky struct {
	*taskstest.Backend
	breaks atomic.Int32
}

func (f *flaky) Watch(ctx context.Context, id string) iter.Seq2[tasks.Task, error] {
	return func(yield func(tasks.Task, error) bool) {
		n := 0
		for task, err := range f.Backend.Watch(ctx, id) {
			if n++; n > 2 && f.breaks.Add(-1) >= 0 {
				yield(tasks.Task{}, errors.New("the store is gone for a moment"))
				return
			}
			if !yield(task, err) {
				return
			}
		}
	}
}

// TestATaskOutOfSight: a store that moves to another process breaks watches off; the end is told all
// the same.
func TestATaskOutOfSight(t *testing.T) {
	bubble(t, nil, func(h *host) {
		backend := &flaky{Backend: h.backend}
		backend.breaks.Store(3)
		h.layer = tasks.New(backend, nil)
		backend.Start("t1", held)
		l := h.listen(1000, takes, `{"taskIds":["t1"]}`)
		for n := range 20 {
			backend.Say("t1", fmt.Sprintf("step %d", n))
			time.Sleep(time.Second)
		}
		_ = backend.Cancel(t.Context(), "t1")
		time.Sleep(10 * time.Second)
		l.acknowledged()
		var last map[string]any
		for len(l.channel) > 0 {
			last = l.task()
		}
		if backend.breaks.Load() >= 0 || last["status"] != "cancelled" {
			t.Errorf("last told: %v, want the end", last)
		}
	})
}
