package loopstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
)

// TestStore is the suite that every [loops.Store] passes. open returns an empty
// store and closes it in a cleanup of its t. The suite waits a few hundred
// milliseconds in all and asserts no duration.
func TestStore(t *testing.T, open func(t *testing.T) loops.Store) {
	TestStoreIn(t, func(t *testing.T, run func(*testing.T)) { run(t) }, open)
}

// TestStoreIn is [TestStore] with each test inside in, for example
// [testing/synctest.Test].
func TestStoreIn(t *testing.T, in func(t *testing.T, run func(*testing.T)), open func(t *testing.T) loops.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s loops.Store)
	}{
		{"what is created is loaded", testCreate},
		{"an id is taken once", testExists},
		{"an unknown loop is not found", testNotFound},
		{"a commit is a compare and swap", testCommit},
		{"every field of a commit comes back", testFields},
		{"one of many writers wins", testRace},
		{"the origin stays", testOrigin},
		{"what was returned is a copy", testCopies},
		{"the journal is complete and in order", testJournal},
		{"a decision joins its iteration", testDecision},
		{"old events are counted", testEvents},
		{"the list is fresh", testList},
		{"live loops are counted", testCount},
		{"the head says what the state says", testHead},
		{"loops that want a worker are ready", testReady},
		{"a loop is handed out when it wakes", testWake},
		{"a revision is handed out once", testOnce},
		{"a claim keeps others away until its owner is gone", testClaims},
		{"watch yields present and coming heads", testWatch},
		{"watch follows one loop", testWatchOne},
		{"a slow watcher sees the newest head", testWatchSlow},
		{"a request is bound once", testReserve},
		{"a record is changed by one after the other", testUpdate},
		{"a change that is refused stores nothing", testUpdateRefused},
		{"blobs come back", testBlobs},
		{"a fork reads what its originals kept", testPins},
		{"large values come back", testLarge},
		{"a settled loop moves again", testReopen},
		{"many loops at once", testMany},
		{"an ended context ends every call", testContext},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(t *testing.T) { test.run(t, open(t)) })
		})
	}
}

// Sample returns a state with every field set, so that a store that loses one
// is found out. It is paused: no worker wants it.
func Sample(id loops.ID) loops.State {
	var s loops.State
	fill(&s)
	s.ID, s.Status, s.Rev, s.New = id, loops.Paused, 0, loops.Delta{}
	s.Claim, s.WakeAt, s.Iteration, s.Stop = loops.Claim{}, time.Time{}, 0, nil
	s.Origin.Pins = nil // loops that would have to be there
	return s
}

// queued returns a small state that wants a worker.
func queued(id loops.ID) loops.State {
	now := time.Now().UTC()
	return loops.State{
		ID: id, Status: loops.Queued, Limits: loops.DefaultLimits(), UpdatedAt: now,
		Origin: loops.Origin{Spec: loops.Spec{Name: "suite", Goal: "be stored"}, Source: loops.SourceLibrary, CreatedAt: now},
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func create(t *testing.T, store loops.Store, s loops.State) loops.State {
	t.Helper()
	return must[loops.State](t)(store.Create(t.Context(), s))
}

func commit(t *testing.T, store loops.Store, s loops.State) loops.State {
	t.Helper()
	return must[loops.State](t)(store.Commit(t.Context(), s))
}

func load(t *testing.T, store loops.Store, id loops.ID) loops.State {
	t.Helper()
	return must[loops.State](t)(store.Load(t.Context(), id))
}

func history(t *testing.T, store loops.Store, id loops.ID) loops.Loop {
	t.Helper()
	return must[loops.Loop](t)(store.History(t.Context(), id))
}

// same fails unless got is want. In JSON an empty list and none are the same.
func same[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

// nothingReady fails when a loop is handed out within a moment.
func nothingReady(t *testing.T, store loops.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	id, _, err := store.Ready(ctx)
	if err == nil {
		t.Fatalf("loop %s was handed out", id)
	}
	wantError(t, "Ready", err, context.DeadlineExceeded)
}

// ready returns the next n ids that are handed out, sorted.
func ready(t *testing.T, store loops.Store, n int) []loops.ID {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ids []loops.ID
	for range n {
		id, rev, err := store.Ready(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s := load(t, store, id); s.Rev != rev {
			t.Fatalf("loop %s was handed out at revision %d and is at %d", id, rev, s.Rev)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func loopID(n int) loops.ID { return loops.ID(fmt.Sprintf("suite-%04d", n)) }
