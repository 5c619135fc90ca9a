package kvstate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	want := map[loops.ID]loops.Loop{}
	memory := `{"text":"` + noiseOf(3<<20) + `"}`
	var blob string
	life := func(run func(t *testing.T, s *kvstate.Store)) {
		t.Run("life", func(t *testing.T) { run(t, open(t, stream(t, host(t, dir, embed.Power)), nil)) })
	}
	life(func(t *testing.T, store *kvstate.Store) {
		small := must[loops.State](t)(store.Create(t.Context(), loopstest.Sample("small-aaaa")))
		large := must[loops.State](t)(store.Create(t.Context(), newLoop("large-aaaa")))
		for n := range 40 {
			next := iterate(large, noiseOf(9000))
			if n == 20 {
				next.Memory = []byte(memory)
				next.New.Iteration.Memory = next.Memory
			}
			if n%10 == 0 {
				next.Best = &loops.Best{Iteration: next.Iteration, Score: 1, Output: next.Output}
			}
			large = must[loops.State](t)(store.Commit(t.Context(), next))
		}
		large.Why = "a commit that repeats all large values"
		large = must[loops.State](t)(store.Commit(t.Context(), large))
		held := newLoop("held-aaaa")
		held.Status, held.Claim = loops.Running, loops.Claim{Owner: store.Runner(), Token: "t"}
		must[loops.State](t)(store.Create(t.Context(), held))
		blob = must[string](t)(store.PutBlob(t.Context(), large.ID, []byte(noiseOf(700_000))))
		must[loops.ID](t)(store.Reserve(t.Context(), "request", large.ID))
		for _, s := range []loops.State{small, large} {
			l := must[loops.Loop](t)(store.History(t.Context(), s.ID))
			if diff := cmp.Diff(s, l.State, wholeBytes); diff != "" {
				t.Errorf("%s: %s", s.ID, diff)
			}
			want[s.ID] = l
		}
	})
	for range 2 {
		life(func(t *testing.T, store *kvstate.Store) {
			for id, w := range want {
				if diff := cmp.Diff(w, must[loops.Loop](t)(store.History(t.Context(), id)), wholeBytes); diff != "" {
					t.Errorf("history of %s: %s", id, diff)
				}
				if diff := cmp.Diff(w.State, must[loops.State](t)(store.Load(t.Context(), id)), wholeBytes); diff != "" {
					t.Errorf("load %s: %s", id, diff)
				}
			}
			if id := ready(t, store); id != "held-aaaa" {
				t.Errorf("handed out %s, want the loop of the runner that is gone", id)
			}
			if data := must[[]byte](t)(store.Blob(t.Context(), "large-aaaa", blob)); len(data) != 700_000 {
				t.Errorf("the blob has %d bytes", len(data))
			}
			if id := must[loops.ID](t)(store.Reserve(t.Context(), "request", "another")); id != "large-aaaa" {
				t.Errorf("the request is bound to %s", id)
			}
			// It goes on from here, and the values that did not change are found.
			s := must[loops.State](t)(store.Commit(t.Context(), iterate(want["large-aaaa"].State, "more")))
			want["large-aaaa"] = must[loops.Loop](t)(store.History(t.Context(), s.ID))
			if string(s.Memory) != memory {
				t.Errorf("%d bytes of memory are left", len(s.Memory))
			}
		})
	}
}

// ready returns the next loop that wants a worker.
func ready(t *testing.T, s *kvstate.Store) loops.ID {
	t.Helper()
	id, rev, err := s.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := must[loops.State](t)(s.Load(t.Context(), id)); got.Rev != rev {
		t.Errorf("Ready named revision %d of %s, stored is %d", rev, id, got.Rev)
	}
	return id
}

// TestTwoStores is what two processes on one server see of each other.
func TestTwoStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		var dead atomic.Bool
		alive := func(owner string) bool { return owner == "one" && !dead.Load() }
		one := open(t, js, &kvstate.Options{Runner: "one"})
		two := open(t, js, &kvstate.Options{Runner: "two", Alive: alive})
		a := must[loops.State](t)(one.Create(t.Context(), newLoop("both-aaaa")))
		for n := range 300 { // long enough for snapshots of either
			mine, theirs := one, two
			if n%2 == 1 {
				mine, theirs = two, one
			}
			stale := a
			a = must[loops.State](t)(mine.Commit(t.Context(), iterate(a, text(1000))))
			if heads := must[[]loops.Head](t)(theirs.List(t.Context())); heads[0].Rev != a.Rev {
				t.Fatalf("the other store lists revision %d, want %d", heads[0].Rev, a.Rev)
			}
			if got := must[loops.State](t)(theirs.Load(t.Context(), a.ID)); !cmp.Equal(got, a) {
				t.Fatal(cmp.Diff(a, got))
			}
			if _, err := theirs.Commit(t.Context(), iterate(stale, "late")); !errors.Is(err, loops.ErrConflict) {
				t.Fatalf("a stale commit: %v", err)
			}
		}
		if n := records(t, js, a.ID); n > 200 {
			t.Errorf("%d records after 300 iterations: no snapshot", n)
		}
		if l := must[loops.Loop](t)(two.History(t.Context(), a.ID)); len(l.Iterations) != 300 {
			t.Errorf("%d iterations", len(l.Iterations))
		}
		// A claim keeps the other away until its owner dies.
		a.Status, a.Claim = loops.Running, loops.Claim{Owner: "one"}
		must[loops.State](t)(one.Commit(t.Context(), a))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if id, _, err := two.Ready(ctx); err == nil {
			t.Fatalf("%s was handed out", id)
		}
		dead.Store(true)
		if id := ready(t, two); id != a.ID {
			t.Errorf("%s was handed out", id)
		}
	})
}

// TestSnapshotWithoutOrigin settles a loop whose Origin the store has forgotten
// meanwhile.
func TestSnapshotWithoutOrigin(t *testing.T) {
	store, _ := fresh(t, nil)
	a := must[loops.State](t)(store.Create(t.Context(), newLoop("first-aaaa")))
	large := newLoop("large-aaaa")
	large.Origin.Spec.Goal = text(33 << 20) // more than all Origins that are remembered
	must[loops.State](t)(store.Create(t.Context(), large))
	a = iterate(a, "the end")
	a.Status = loops.Completed
	a = must[loops.State](t)(store.Commit(t.Context(), a))
	l := must[loops.Loop](t)(store.History(t.Context(), a.ID))
	if diff := cmp.Diff(a, l.State); diff != "" || len(l.Iterations) != 1 {
		t.Errorf("%d iterations; %s", len(l.Iterations), diff)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _ := fresh(t, nil)
		s := must[loops.State](t)(store.Create(t.Context(), newLoop("close-aaaa")))
		ready(t, store)
		errs := make(chan error, 2)
		go func() { _, _, err := store.Ready(t.Context()); errs <- err }()
		go func() {
			for _, err := range store.Watch(t.Context(), "", s.Rev) {
				errs <- err
			}
		}()
		synctest.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, loops.ErrClosed) {
				t.Errorf("got error %v, want %v", err, loops.ErrClosed)
			}
		}
		if _, err := store.Commit(t.Context(), s); !errors.Is(err, loops.ErrClosed) {
			t.Errorf("Commit: %v", err)
		}
		if _, err := store.List(t.Context()); !errors.Is(err, loops.ErrClosed) {
			t.Errorf("List: %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	store, _ := fresh(t, nil)
	s := newLoop("refused-aaaa")
	s.Origin.Labels = map[string]string{"long": strings.Repeat("x", 4000)}
	_, err := store.Create(t.Context(), s)
	if fields := loops.FieldErrors(err); len(fields) != 1 || fields[0].Field != "labels" {
		t.Errorf("labels that are too large: %v", err)
	}
	for _, id := range []loops.ID{"", "a.b", "a/b", ">", "ä", loops.ID(strings.Repeat("x", 129))} {
		s := newLoop(id)
		if _, err := store.Create(t.Context(), s); !errors.Is(err, loops.ErrInvalid) {
			t.Errorf("the id %q: %v", id, err)
		}
	}
	s = must[loops.State](t)(store.Create(t.Context(), newLoop("gap-aaaa")))
	s.Iteration = 2
	if _, err := store.Commit(t.Context(), s); err == nil {
		t.Error("an iteration without a record was stored")
	}
	if _, err := store.Commit(t.Context(), iterate(s, "three")); err == nil {
		t.Error("iterations with a gap were stored")
	}
	// Labels as large as an engine lets through, in any script.
	s = newLoop("labels-aaaa")
	s.Origin.Labels = map[string]string{}
	for n := range 8 {
		s.Origin.Labels[strings.Repeat(string(rune('a'+n)), 63)] = strings.Repeat("ü", 31)
	}
	s.Why = strings.Repeat("summary ü ", 50)
	s = must[loops.State](t)(store.Create(t.Context(), s))
	if got := must[[]loops.Head](t)(store.List(t.Context())); !cmp.Equal(find(got, s.ID).Labels, s.Origin.Labels) {
		t.Errorf("labels %v", find(got, s.ID).Labels)
	}
}

func find(heads []loops.Head, id loops.ID) loops.Head {
	for _, h := range heads {
		if h.ID == id {
			return h
		}
	}
	return loops.Head{}
}

// TestScanShowsWhatListReturns reads all heads in both ways.
func TestScanShowsWhatListReturns(t *testing.T) {
	store, js := fresh(t, nil)
	other := open(t, js, &kvstate.Options{Runner: "other"})
	for n := range 5 {
		must[loops.State](t)(store.Create(t.Context(), newLoop(loops.ID(fmt.Sprintf("scan-aaa%d", n)))))
		seen := map[loops.ID]uint64{}
		if err := other.Scan(t.Context(), func(h *loops.Head) { seen[h.ID] = h.Rev }); err != nil {
			t.Fatal(err)
		}
		heads := must[[]loops.Head](t)(other.List(t.Context()))
		for _, h := range heads {
			if seen[h.ID] != h.Rev {
				t.Errorf("%s is seen at revision %d, listed at %d", h.ID, seen[h.ID], h.Rev)
			}
		}
		if len(heads) != n+1 || len(seen) != n+1 {
			t.Errorf("%d loops are listed and %d seen of %d", len(heads), len(seen), n+1)
		}
	}
}

// TestLiveLoopsOfOtherProcessesCount counts with one store what another one does.
func TestLiveLoopsOfOtherProcessesCount(t *testing.T) {
	store, js := fresh(t, nil)
	other := open(t, js, &kvstate.Options{Runner: "other"})
	for n := range 20 {
		s := must[loops.State](t)(store.Create(t.Context(), newLoop(loops.ID(fmt.Sprintf("count-aa%02d", n)))))
		if roughly := must[int](t)(other.CountLive(t.Context(), true)); roughly < n/2+1 {
			t.Fatalf("roughly %d loops of %d are counted", roughly, n/2+1)
		}
		if live := must[int](t)(other.CountLive(t.Context(), false)); live != n/2+1 {
			t.Fatalf("%d loops of %d are counted", live, n/2+1)
		}
		if n%2 == 0 {
			s.Status = loops.Completed
			must[loops.State](t)(store.Commit(t.Context(), s))
		}
	}
}

// TestStartsOfTwoProcessesSideBySide exceed live_loops by no more than what is under
// way: the last start of one of them.
func TestStartsOfTwoProcessesSideBySide(t *testing.T) {
	const most = 30
	store, js := fresh(t, nil)
	other := open(t, js, &kvstate.Options{Runner: "other"})
	var starts sync.WaitGroup
	for _, s := range []*kvstate.Store{store, other} {
		e := loops.New(s, loops.Parts{Handlers: map[string]loops.Body{"work": loopstest.Script()}}, &loops.Options{LiveLoops: most})
		starts.Go(func() {
			for {
				_, err := e.Start(t.Context(), loops.StartRequest{Spec: loops.Spec{Goal: "x", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "work"}}})
				if refused, ok := errors.AsType[*loops.RefusedError](err); ok && refused.Code == "live_loops" {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	starts.Wait()
	if live := must[int](t)(store.CountLive(t.Context(), false)); live < most || live > most+1 {
		t.Errorf("%d loops are live, and %d may be", live, most)
	}
}
