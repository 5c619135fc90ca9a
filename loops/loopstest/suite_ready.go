package loopstest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

func testReady(t *testing.T, store loops.Store) {
	soon := time.Now().Add(time.Hour)
	past := time.Now().Add(-time.Hour)
	cases := []struct {
		status loops.Status
		wake   time.Time
		want   bool
	}{
		{loops.Queued, time.Time{}, true},
		{loops.Running, time.Time{}, true},
		{loops.Cancelling, time.Time{}, true},
		{loops.Waiting, past, true},
		{loops.Waiting, soon, false},
		{loops.YourTurn, time.Time{}, false},
		{loops.YourTurn, past, true},
		{loops.NeedsInput, time.Time{}, false},
		{loops.NeedsInput, past, true},
		{loops.NeedsInput, soon, false},
		{loops.Paused, time.Time{}, false},
		{loops.Completed, time.Time{}, false},
		{loops.Failed, time.Time{}, false},
	}
	var want []loops.ID
	for n, c := range cases {
		s := queued(loopID(n))
		s.Status, s.WakeAt = c.status, c.wake
		create(t, store, s)
		if c.want {
			want = append(want, s.ID)
		}
	}
	same(t, "the loops that were handed out", want, ready(t, store, len(want)))
	nothingReady(t, store)
}

func testWake(t *testing.T, store loops.Store) {
	wake := time.Now().Add(80 * time.Millisecond)
	for n, later := range []time.Duration{60, 0, 30} {
		s := queued(loopID(n))
		s.Status, s.WakeAt = loops.Waiting, wake.Add(later*time.Millisecond)
		create(t, store, s)
	}
	all := wake.Add(60 * time.Millisecond) // from then on the order is the store's
	var got []loops.ID
	for _, want := range []loops.ID{loopID(1), loopID(2), loopID(0)} {
		next := ready(t, store, 1)[0]
		if next != want && time.Now().Before(all) {
			t.Fatalf("the next loop is %s, want %s", next, want)
		}
		if at := load(t, store, next).WakeAt; time.Now().Before(at) {
			t.Fatalf("loop %s was handed out %s early", next, time.Until(at))
		}
		got = append(got, next)
	}
	slices.Sort(got)
	same(t, "the loops", []loops.ID{loopID(0), loopID(1), loopID(2)}, got)
	// A wake time that moves counts as it is now.
	s := load(t, store, loopID(0))
	s.WakeAt = time.Now().Add(time.Hour)
	s = commit(t, store, s)
	nothingReady(t, store)
	s.WakeAt = time.Now().Add(10 * time.Millisecond)
	commit(t, store, s)
	same(t, "the loop whose wake time moved", []loops.ID{loopID(0)}, ready(t, store, 1))
}

func testOnce(t *testing.T, store loops.Store) {
	s := create(t, store, queued("once-aaaa"))
	same(t, "the loop", []loops.ID{s.ID}, ready(t, store, 1))
	nothingReady(t, store)
	store.Requeue(s.ID)
	same(t, "the loop after Requeue", []loops.ID{s.ID}, ready(t, store, 1))
	nothingReady(t, store)
	s.Why = "changed"
	s = commit(t, store, s)
	same(t, "the loop after a change", []loops.ID{s.ID}, ready(t, store, 1))
	nothingReady(t, store)
	s.Status = loops.Paused
	commit(t, store, s)
	store.Requeue(s.ID)
	store.Requeue("nobody-aaaa")
	nothingReady(t, store)
}

func testClaims(t *testing.T, store loops.Store) {
	s := queued("claim-aaaa")
	s.Status, s.Claim = loops.Running, loops.Claim{Owner: store.Runner(), Token: "mine"}
	s = create(t, store, s)
	nothingReady(t, store)
	s.Claim = loops.Claim{Owner: "a runner that is gone", Token: "its"}
	s = commit(t, store, s)
	same(t, "the loop of a dead owner", []loops.ID{s.ID}, ready(t, store, 1))
	s.Claim = loops.Claim{Owner: store.Runner(), Token: "mine again"}
	s = commit(t, store, s)
	nothingReady(t, store)
	s.Claim = loops.Claim{}
	commit(t, store, s)
	same(t, "the loop that was let go", []loops.ID{s.ID}, ready(t, store, 1))
}

func testList(t *testing.T, store loops.Store) {
	want := map[loops.ID]uint64{}
	for n := range 50 {
		s := create(t, store, queued(loopID(n)))
		want[s.ID] = s.Rev
		if n%2 == 0 {
			s.Why = "changed"
			want[s.ID] = commit(t, store, s).Rev
		}
		got := map[loops.ID]uint64{}
		for _, h := range must[[]loops.Head](t)(store.List(t.Context())) {
			got[h.ID] = h.Rev
		}
		same(t, "the list", want, got)
	}
}

func testCount(t *testing.T, store loops.Store) {
	counter, ok := store.(loops.Counter)
	if !ok {
		return // the engine looks at the list
	}
	var all []loops.State
	check := func(what string, want int) {
		t.Helper()
		got, err := counter.CountLive(t.Context(), false)
		if err != nil || got != want {
			t.Fatalf("%s: CountLive says %d, %v; want %d", what, got, err, want)
		}
		if got, err = counter.CountLive(t.Context(), true); err != nil || got < want || got > want+len(all) {
			t.Fatalf("%s: CountLive says roughly %d, %v; there are %d", what, got, err, want)
		}
	}
	check("without any", 0)
	for n := range 6 {
		all = append(all, create(t, store, queued(loopID(n))))
		check("created", n+1)
	}
	for n, status := range []loops.Status{loops.Completed, loops.Capped, loops.Failed} {
		all[n].Status = status
		all[n] = commit(t, store, all[n])
		check("settled", 5-n)
	}
	all[1].Status = loops.Queued
	all[1] = commit(t, store, all[1])
	check("moved again", 4)
}

func testHead(t *testing.T, store loops.Store) {
	s := Sample("head-aaaa")
	s.Status, s.WakeAt, s.Claim = loops.Waiting, time.Now().Add(time.Hour).UTC(), loops.Claim{Owner: "x", Token: "y"}
	s = create(t, store, s)
	heads := must[[]loops.Head](t)(store.List(t.Context()))
	want := clone(s.Head())
	want.Rev = s.Rev
	same(t, "the list", []loops.Head{want}, heads)
}

func testMany(t *testing.T, store loops.Store) {
	const many, commits = 40, 12
	done := make(chan error, many)
	for n := range many {
		go func() {
			s, err := store.Create(t.Context(), queued(loopID(n)))
			for range commits {
				if err == nil {
					s, err = store.Commit(t.Context(), work(s, 500))
				}
			}
			done <- err
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	heads := must[[]loops.Head](t)(store.List(t.Context()))
	same(t, "loops in the list", many, len(heads))
	for _, h := range heads {
		l := history(t, store, h.ID)
		if h.Iteration != commits || len(l.Iterations) != commits || l.Rev != h.Rev {
			t.Fatalf("loop %s: the list says %d iterations at %d, the history %d at %d", h.ID, h.Iteration, h.Rev, len(l.Iterations), l.Rev)
		}
	}
}

func testContext(t *testing.T, store loops.Store) {
	s := create(t, store, queued("context-aaaa"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"Create":  func() error { _, err := store.Create(ctx, queued("late-aaaa")); return err },
		"Load":    func() error { _, err := store.Load(ctx, s.ID); return err },
		"History": func() error { _, err := store.History(ctx, s.ID); return err },
		"Commit":  func() error { c := s; c.Why = "late"; _, err := store.Commit(ctx, c); return err },
		"Reserve": func() error { _, err := store.Reserve(ctx, "late", s.ID); return err },
		"Update": func() error {
			return store.Update(ctx, "late", func([]byte) ([]byte, error) { return []byte("late"), nil })
		},
		"List":    func() error { _, err := store.List(ctx); return err },
		"Ready":   func() error { _, _, err := store.Ready(ctx); return err },
		"PutBlob": func() error { _, err := store.PutBlob(ctx, s.ID, []byte("late")); return err },
		"Blob":    func() error { _, err := store.Blob(ctx, s.ID, "none"); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want %v", name, err, context.Canceled)
		}
	}
	for range store.Watch(ctx, "", 0) { //nolint:errcheck // the loop is what is tested, not what it yields
		t.Error("Watch yielded something")
	}
	same(t, "the state", s, load(t, store, s.ID))
	heads := must[[]loops.Head](t)(store.List(t.Context()))
	if slices.ContainsFunc(heads, func(h loops.Head) bool { return h.ID == "late-aaaa" }) {
		t.Error("a loop was created with an ended context")
	}
}
