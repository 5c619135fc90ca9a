package remote_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/remote"
	"github.com/google/go-cmp/cmp"
)

func TestNobodyServesTheHandler(t *testing.T) {
	story(t, func(w *world) {
		out, err := w.Start(w.t.Context(), loops.StartRequest{Spec: spec(nil)})
		if err != nil {
			t.Fatal(err)
		}
		want := `name: nobody serves the handler "worker": the loop waits until somebody does, for example loop-mcp handler worker -- PROGRAM`
		if diff := cmp.Diff([]string{"body." + want}, out.Warnings); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Hour)
		if s := w.get(out.ID); s.Status != loops.Queued || !strings.Contains(s.Why, want) || s.Ledger.Starts != 0 {
			t.Errorf("%s with %d starts: %q", s.Status, s.Ledger.Starts, s.Why)
		}
		r := w.raw("worker")
		began := time.Now()
		k := r.take()
		if time.Since(began) > 3*time.Second {
			t.Errorf("taken %s after the handler came", time.Since(began))
		}
		k.say(`"type":"result","output":"ok"`)
		if s := w.settled(out.ID, loops.Completed); s.Ledger.Starts != 1 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

func TestHandlerThatLeavesBetweenTwoStarts(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		k := r.take()
		k.say(`"type":"result","output":"one","done":false`) // the commit charges the second start
		r.nc.Close()
		time.Sleep(time.Hour)
		s := w.get(id)
		if s.Status != loops.Queued || s.Ledger.Starts != 2 || s.Iteration != 1 || !strings.Contains(s.Why, "nobody serves") || s.Ledger.ActiveSeconds > 5 {
			t.Fatalf("%s, %+v: %q", s.Status, s.Ledger, s.Why)
		}
		k = w.raw("worker").take()
		if k.call.Start != 2 || k.call.Attempt != 1 {
			t.Errorf("goes on with %+v", k.call)
		}
		k.say(`"type":"result","output":"two"`)
		if s := w.settled(id, loops.Completed); s.Ledger.Starts != 2 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

func TestServerThatSaysItHasRoomAndTakesNothing(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		for range 5 {
			k := r.next()
			r.publish(k.to, fmt.Sprintf(`{"v":1,"type":"busy","key":%q,"text":"not now"}`, k.key))
		}
		time.Sleep(500 * time.Millisecond)
		s := w.get(id)
		if s.Status != loops.Queued || !strings.Contains(s.Why, `all servers of the handler "worker" are busy: not now`) || s.Ledger.Starts != 1 {
			t.Errorf("%s, %+v: %q", s.Status, s.Ledger, s.Why)
		}
		r.take().say(`"type":"result","output":"ok"`)
		if s := w.settled(id, loops.Completed); s.Ledger.Starts != 1 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

func TestServerWithoutRoomIsWaitedFor(t *testing.T) {
	story(t, func(w *world) {
		release := make(chan struct{})
		w.serve("worker", blocks(release), &remote.ServeOptions{Starts: 1})
		first, second := w.start(nil), w.start(nil)
		time.Sleep(time.Minute)
		a, b := w.get(first), w.get(second)
		if a.Status == loops.Queued {
			a, b = b, a
		}
		if a.Status != loops.Running || b.Status != loops.Queued || !strings.Contains(b.Why, "are busy") || b.Ledger.Starts > 1 {
			t.Errorf("%s and %s: %q", a.Status, b.Status, b.Why)
		}
		close(release)
		w.settled(first, loops.Completed)
		w.settled(second, loops.Completed)
	})
}

func TestNamesThatNoHandlerElsewhereHas(t *testing.T) {
	story(t, func(w *world) {
		for _, name := range []string{"a b", "*", ">", "a.*", ".a", "a.", "a..b", "é", strings.Repeat("a", 65), "a\tb", "$SYS"} {
			_, err := w.Start(w.t.Context(), loops.StartRequest{Spec: spec(func(s *loops.Spec) { s.Body.Name = name })})
			if err == nil || !strings.Contains(err.Error(), "body.name") {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, name := range []string{"a", "A-1_b", "team.render", strings.Repeat("a", 64)} {
			if err := remote.CheckName(name); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
	})
}
