package loopstest

import (
	"context"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

// seen is a watch whose heads are read one by one.
type seen struct {
	t     *testing.T
	heads chan loops.Head
}

// watch starts to read and stops at the end of the test.
func watch(t *testing.T, store loops.Store, id loops.ID, after uint64) seen {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	heads := make(chan loops.Head)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(heads)
		for h, err := range store.Watch(ctx, id, after) {
			if err != nil {
				t.Errorf("Watch: %v", err)
				return
			}
			select {
			case heads <- h:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return seen{t, heads}
}

// until reads heads until loop id is at revision rev or newer.
func (w seen) until(id loops.ID, rev uint64) loops.Head {
	w.t.Helper()
	last := map[loops.ID]uint64{}
	for h := range w.heads {
		if h.Rev <= last[h.ID] {
			w.t.Fatalf("Watch yielded revision %d of %s after %d", h.Rev, h.ID, last[h.ID])
		}
		last[h.ID] = h.Rev
		if h.ID == id && h.Rev >= rev {
			return h
		}
	}
	w.t.Fatalf("Watch ended before revision %d of %s", rev, id)
	return loops.Head{}
}

func (w seen) nothing() {
	w.t.Helper()
	timer := time.NewTimer(30 * time.Millisecond)
	defer timer.Stop()
	select {
	case h, open := <-w.heads:
		w.t.Fatalf("Watch yielded %s at %d (open: %v)", h.ID, h.Rev, open)
	case <-timer.C:
	}
}

func testWatch(t *testing.T, store loops.Store) {
	a := create(t, store, queued("watch-aaaa"))
	b := create(t, store, queued("watch-bbbb"))
	all := watch(t, store, "", 0)
	got := map[loops.ID]uint64{}
	for range 2 {
		h := <-all.heads
		got[h.ID] = h.Rev
	}
	same(t, "the present heads", map[loops.ID]uint64{a.ID: a.Rev, b.ID: b.Rev}, got)
	all.nothing()
	newer := watch(t, store, "", a.Rev)
	same(t, "the present head after a revision", b.ID, newer.until(b.ID, 0).ID)
	newer.nothing()
	a.Why = "changed"
	a = commit(t, store, a)
	for _, w := range []seen{all, newer} {
		h := w.until(a.ID, a.Rev)
		same(t, "the head that changed", a.Head().Summary, h.Summary)
	}
	c := create(t, store, queued("watch-cccc"))
	all.until(c.ID, c.Rev)
	newer.until(c.ID, c.Rev)
}

func testWatchOne(t *testing.T, store loops.Store) {
	coming := watch(t, store, "watch-aaaa", 0)
	create(t, store, queued("watch-bbbb"))
	coming.nothing()
	a := create(t, store, queued("watch-aaaa"))
	coming.until(a.ID, a.Rev)
	after := watch(t, store, a.ID, a.Rev)
	after.nothing()
	a = commit(t, store, a)
	coming.until(a.ID, a.Rev)
	after.until(a.ID, a.Rev)
}

func testWatchSlow(t *testing.T, store loops.Store) {
	s := create(t, store, queued("slow-aaaa"))
	w := watch(t, store, "", 0)
	w.until(s.ID, s.Rev)
	const commits = 100
	for range commits {
		s = commit(t, store, s)
	}
	n := 0
	for h := range w.heads {
		n++
		if h.Rev == s.Rev {
			break
		}
	}
	// One head may have been on its way when the commits began.
	if n > commits/2 {
		t.Fatalf("a reader that did not read was given %d heads of %d", n, commits)
	}
}
