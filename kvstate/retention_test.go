package kvstate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		store := open(t, js, &kvstate.Options{Retention: 3 * time.Hour, Sweep: 30 * time.Minute})
		other := open(t, js, nil)
		settle := func(id loops.ID) loops.State {
			s := must[loops.State](t)(store.Create(t.Context(), newLoop(id)))
			for range 3 {
				s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, noiseOf(200_000))))
			}
			must[string](t)(store.PutBlob(t.Context(), id, []byte("a blob of "+id)))
			must[string](t)(store.PutBlob(t.Context(), id, []byte(noiseOf(300_000))))
			must[loops.ID](t)(store.Reserve(t.Context(), "request of "+string(id), id))
			s.Status = loops.Completed
			return must[loops.State](t)(store.Commit(t.Context(), s))
		}
		gone, again := settle("gone-aaaa"), settle("again-aaaa")
		if n := records(t, js, gone.ID); n != 1 {
			t.Errorf("a settled loop has %d records", n)
		}
		time.Sleep(2 * time.Hour)
		again.Status = loops.Paused
		again = must[loops.State](t)(store.Commit(t.Context(), again))
		if n := objectsOf(t, js, gone.ID); n != 2 { // its journal and its large blob
			t.Errorf("a settled loop has %d objects", n)
		}
		if n := keptOf(t, js, gone.ID); n != 1 {
			t.Errorf("a settled loop has %d small blobs", n)
		}
		time.Sleep(2 * time.Hour)
		for _, store := range []*kvstate.Store{store, other} {
			if heads := must[[]loops.Head](t)(store.List(t.Context())); len(heads) != 1 || heads[0].ID != again.ID {
				t.Errorf("listed are %+v", heads)
			}
		}
		if _, err := store.Load(t.Context(), gone.ID); !errors.Is(err, loops.ErrNotFound) {
			t.Errorf("Load: %v", err)
		}
		if n := objectsOf(t, js, gone.ID) + keptOf(t, js, gone.ID); n != 0 {
			t.Errorf("a loop that is gone has %d objects and blobs", n)
		}
		if n := objectsOf(t, js, again.ID) + keptOf(t, js, again.ID); n != 3 {
			t.Errorf("a loop that is there has %d objects and blobs", n)
		}
		if id := must[loops.ID](t)(store.Reserve(t.Context(), "request of gone-aaaa", "new-aaaa")); id != "new-aaaa" {
			t.Errorf("the request of a loop that is gone is bound to %s", id)
		}
		if id := must[loops.ID](t)(store.Reserve(t.Context(), "request of again-aaaa", "new-aaaa")); id != again.ID {
			t.Errorf("the request of a loop that is there is bound to %s", id)
		}
		if l := must[loops.Loop](t)(other.History(t.Context(), again.ID)); len(l.Iterations) != 3 {
			t.Errorf("%d iterations", len(l.Iterations))
		}
		// The id is free again, over the server's marker.
		fourth := must[loops.State](t)(store.Create(t.Context(), newLoop(gone.ID)))
		if _, err := store.Create(t.Context(), newLoop(gone.ID)); !errors.Is(err, loops.ErrExists) {
			t.Errorf("a second Create: %v", err)
		}
		must[loops.State](t)(store.Commit(t.Context(), iterate(fourth, "new")))
		must[loops.Loop](t)(other.History(t.Context(), gone.ID))
	})
}

// TestSeveralProcessesSweepAtOnce: at the same instant each of them removes what
// loops that are gone left behind. None complains, and what belongs to a loop
// that is there stays.
func TestSeveralProcessesSweepAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		said := &shared{}
		var stores []*kvstate.Store
		for n := range 4 {
			stores = append(stores, open(t, js, &kvstate.Options{Runner: fmt.Sprint("run-", n), Retention: 3 * time.Hour, Sweep: time.Hour, Logger: slog.New(said)}))
		}
		keep := func(id loops.ID) loops.State {
			s := must[loops.State](t)(stores[0].Create(t.Context(), newLoop(id)))
			s = must[loops.State](t)(stores[0].Commit(t.Context(), iterate(s, noiseOf(300_000))))
			must[string](t)(stores[0].PutBlob(t.Context(), id, []byte(noiseOf(300_001))))
			must[string](t)(stores[0].PutBlob(t.Context(), id, []byte("a blob of "+id)))
			must[loops.ID](t)(stores[0].Reserve(t.Context(), "request of "+string(id), id))
			return s
		}
		for n := range 20 {
			s := keep(loops.ID(fmt.Sprint("gone-", n)))
			s.Status = loops.Completed
			must[loops.State](t)(stores[0].Commit(t.Context(), s))
		}
		there := keep("there-aaaa")
		objects, kept := objectsOf(t, js, there.ID), keptOf(t, js, there.ID)
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		for n := range 20 {
			id := loops.ID(fmt.Sprint("gone-", n))
			if left := objectsOf(t, js, id) + keptOf(t, js, id); left != 0 {
				t.Errorf("%s left %d objects and blobs", id, left)
			}
		}
		if o, k := objectsOf(t, js, there.ID), keptOf(t, js, there.ID); o != objects || k != kept {
			t.Errorf("of a loop that is there %d objects and %d blobs are left, of %d and %d", o, k, objects, kept)
		}
		if id := must[loops.ID](t)(stores[3].Reserve(t.Context(), "request of there-aaaa", "new-aaaa")); id != there.ID {
			t.Errorf("its request is bound to %s", id)
		}
		must[loops.Loop](t)(stores[2].History(t.Context(), there.ID))
		if lines := said.all(); len(lines) != 0 {
			t.Errorf("the log says %q", lines)
		}
	})
}

// shared is a log of several stores.
type shared struct {
	mu sync.Mutex
	logged
}

func (s *shared) Handle(ctx context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.Handle(ctx, r)
}

func (s *shared) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s *shared) WithGroup(string) slog.Handler { return s }

func (s *shared) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines
}

func objectsOf(t *testing.T, js jetstream.JetStream, id loops.ID) int {
	t.Helper()
	objects := must[jetstream.ObjectStore](t)(js.ObjectStore(t.Context(), "LOOPBLOBS"))
	all, err := objects.List(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		t.Fatal(err)
	}
	n := 0
	for _, o := range all {
		if strings.HasPrefix(o.Name, string(id)+"/") {
			n++
		}
	}
	return n
}

// keptOf counts a loop's small blobs.
func keptOf(t *testing.T, js jetstream.JetStream, id loops.ID) int {
	t.Helper()
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPKEPT"))
	info := must[*jetstream.StreamInfo](t)(st.Info(t.Context(), jetstream.WithSubjectFilter("$KV.LOOPKEPT."+string(id)+".>")))
	return len(info.State.Subjects)
}

// A body keeps what it says in blobs that nothing but its memory names.
func TestBlobsThatOnlyMemoryNamesStayAsLongAsTheirLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		store := open(t, js, &kvstate.Options{Retention: 3 * time.Hour, Sweep: 10 * time.Minute})
		sizes := []int{0, 10, 20_000, 256 << 10, 256<<10 + 1, 900_000}
		keep := func(id loops.ID) (refs []string) {
			for _, size := range sizes {
				refs = append(refs, must[string](t)(store.PutBlob(t.Context(), id, []byte(noiseOf(size)))))
			}
			return refs
		}
		check := func(when string, id loops.ID, refs []string, want error) {
			t.Helper()
			for i, ref := range refs {
				data, err := store.Blob(t.Context(), id, ref)
				if !errors.Is(err, want) || err == nil && string(data) != noiseOf(sizes[i]) {
					t.Errorf("%s, blob of %d bytes: %d bytes, %v", when, sizes[i], len(data), err)
				}
			}
		}
		s := must[loops.State](t)(store.Create(t.Context(), newLoop("long-aaaa")))
		refs := keep(s.ID)
		orphans := keep("none-aaaa")
		raw := must[[]byte](t)(json.Marshal(refs))
		s.Memory, s.Notes = slices.Clip(raw), map[string]json.RawMessage{"all[0]": raw}
		s.Status = loops.NeedsInput
		s = must[loops.State](t)(store.Commit(t.Context(), s))
		time.Sleep(6 * time.Hour)
		check("after six hours", s.ID, refs, nil)
		check("of a loop that never was", "none-aaaa", orphans, loops.ErrNotFound)
		s.Memory, s.Notes = nil, nil // the next start may still go back to them
		for range 3 {                // snapshots replace the records that named them
			s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, noiseOf(100_000))))
		}
		s.Status = loops.Completed
		s = must[loops.State](t)(store.Commit(t.Context(), s))
		time.Sleep(2 * time.Hour)
		check("after it settled", s.ID, refs, nil)
		time.Sleep(3 * time.Hour)
		check("when the loop is gone", s.ID, refs, loops.ErrNotFound)
	})
}

// TestRetentionOff keeps what has settled.
func TestRetentionOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, js := fresh(t, &kvstate.Options{Retention: -1})
		s := newLoop("kept-aaaa")
		s.Status = loops.Completed
		must[loops.State](t)(store.Create(t.Context(), s))
		time.Sleep(3 * time.Hour)
		if heads := must[[]loops.Head](t)(store.List(t.Context())); len(heads) != 1 {
			t.Errorf("%d loops are listed", len(heads))
		}
		st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
		if m := must[*jetstream.RawStreamMsg](t)(st.GetLastMsgForSubject(t.Context(), "$KV.LOOPS.kept-aaaa")); m.Header.Get("Nats-TTL") != "" {
			t.Errorf("the record has the time to live %s", m.Header.Get("Nats-TTL"))
		}
	})
}

// A process that dies while it stores a large output leaves chunks that nothing
// names.
func TestChunksOfACutOffObjectAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, js := fresh(t, &kvstate.Options{Sweep: 30 * time.Minute})
		s := must[loops.State](t)(store.Create(t.Context(), newLoop("cut-aaaa")))
		whole := noiseOf(300_000)
		ref := must[string](t)(store.PutBlob(t.Context(), s.ID, []byte(whole)))
		must[*jetstream.PubAck](t)(js.Publish(t.Context(), "$O.LOOPBLOBS.C.CUTOFF", []byte("a part")))
		messages := func() uint64 {
			stream := must[jetstream.Stream](t)(js.Stream(t.Context(), "OBJ_LOOPBLOBS"))
			return must[*jetstream.StreamInfo](t)(stream.Info(t.Context())).State.Msgs
		}
		if n := messages(); n != 3 {
			t.Fatalf("%d messages before the sweep", n)
		}
		time.Sleep(3 * time.Hour)
		if n := messages(); n != 2 {
			t.Errorf("%d messages after the sweep, want the object's two", n)
		}
		if data := must[[]byte](t)(store.Blob(t.Context(), s.ID, ref)); string(data) != whole {
			t.Errorf("the blob has %d bytes", len(data))
		}
	})
}
