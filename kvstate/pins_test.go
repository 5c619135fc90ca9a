package kvstate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// keptSizes are blobs in both of the places where blobs are.
var keptSizes = []int{10, 20_000, 900_000}

// original is a loop that has settled and kept blobs that only its memory names.
func original(t *testing.T, store *kvstate.Store, id loops.ID) []string {
	t.Helper()
	s := must[loops.State](t)(store.Create(t.Context(), newLoop(id)))
	var refs []string
	for _, size := range keptSizes {
		refs = append(refs, must[string](t)(store.PutBlob(t.Context(), id, []byte(noiseOf(size)))))
	}
	s = iterate(s, noiseOf(100_000))
	s.Memory = must[[]byte](t)(json.Marshal(refs))
	s.Output.Blob, s.Output.Size = refs[2], 900_000
	s.New.Iteration.Output, s.New.Iteration.Memory = s.Output, s.Memory
	s = must[loops.State](t)(store.Commit(t.Context(), s))
	s.Status = loops.Completed
	must[loops.State](t)(store.Commit(t.Context(), s))
	return refs
}

// forkOf creates a loop that begins where the newest of those that it pins was.
func forkOf(t *testing.T, store *kvstate.Store, id loops.ID, pins ...loops.ID) loops.State {
	t.Helper()
	was := must[loops.State](t)(store.Load(t.Context(), pins[0]))
	s := newLoop(id)
	s.Origin.Forked = &loops.Forked{Loop: pins[0], Iteration: was.Iteration}
	s.Origin.Base = &loops.Base{Output: was.Output, Memory: was.Memory}
	s.Origin.Pins = pins
	s.Output, s.Memory = was.Output, was.Memory
	return must[loops.State](t)(store.Create(t.Context(), s))
}

// reads fails unless a loop finds the blobs, or with want none of them.
func reads(t *testing.T, store *kvstate.Store, id loops.ID, refs []string, want error) {
	t.Helper()
	for i, ref := range refs {
		data, err := store.Blob(t.Context(), id, ref)
		if !errors.Is(err, want) || err == nil && string(data) != noiseOf(keptSizes[i]) {
			t.Errorf("%s, blob of %d bytes: %d bytes, %v", id, keptSizes[i], len(data), err)
		}
	}
}

func settle(t *testing.T, store *kvstate.Store, id loops.ID) {
	t.Helper()
	s := must[loops.State](t)(store.Load(t.Context(), id))
	s.Status = loops.Completed
	must[loops.State](t)(store.Commit(t.Context(), s))
}

func TestForkOutlivesItsOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		js := stream(t, host(t, dir, embed.Process))
		options := marksOf(dir)
		options.Retention, options.Sweep = 3*time.Hour, 30*time.Minute
		store := open(t, js, &options)
		refs := original(t, store, "first-aaaa")
		forkOf(t, store, "second-aaaa", "first-aaaa")
		time.Sleep(2 * time.Hour)
		forkOf(t, store, "third-aaaa", "second-aaaa", "first-aaaa")
		settle(t, store, "second-aaaa")
		time.Sleep(5 * time.Hour)
		for _, gone := range []loops.ID{"first-aaaa", "second-aaaa"} {
			if _, err := store.Load(t.Context(), gone); !errors.Is(err, loops.ErrNotFound) {
				t.Fatalf("%s: %v", gone, err)
			}
		}
		other := open(t, js, &kvstate.Options{Runner: "run-other", Retention: 3 * time.Hour, Sweep: 30 * time.Minute})
		time.Sleep(2 * time.Hour) // it sweeps, too
		for _, s := range []*kvstate.Store{store, other} {
			reads(t, s, "third-aaaa", refs, nil)
		}
		v := must[kvstate.Verification](t)(store.Verify(t.Context()))
		if v.Damaged() != 0 || len(v.Loops) != 1 || v.Loops[0].Blobs != 3 {
			t.Errorf("verified: %+v", v)
		}
		// A copy has what the fork needs of loops that are gone, and keeps it, too.
		file := backupOf(t, store)
		options.Mark = ""
		copied := open(t, stream(t, host(t, t.TempDir(), embed.Process)), &options)
		if err := restore(t, copied, file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		reads(t, copied, "third-aaaa", refs, nil)
		if v := must[kvstate.Verification](t)(copied.Verify(t.Context())); v.Damaged() != 0 || len(v.Loops) != 1 || v.Loops[0].Blobs != 3 {
			t.Errorf("the copy, verified: %+v", v)
		}
		// With the last fork all of it goes.
		settle(t, store, "third-aaaa")
		time.Sleep(5 * time.Hour)
		for _, id := range []loops.ID{"first-aaaa", "second-aaaa", "third-aaaa"} {
			if n := objectsOf(t, js, id) + keptOf(t, js, id); n != 0 {
				t.Errorf("%s has left %d objects and blobs", id, n)
			}
		}
		reads(t, store, "third-aaaa", refs, loops.ErrNotFound)
	})
}

// A loop whose retention is about to end may be gone before everybody has seen who
// pins it.
func TestForkOfALoopThatIsAboutToGoHasCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		store := open(t, js, &kvstate.Options{Retention: 3 * time.Hour, Sweep: 30 * time.Minute})
		refs := original(t, store, "first-aaaa")
		time.Sleep(3*time.Hour - time.Minute)
		s := forkOf(t, store, "second-aaaa", "first-aaaa")
		if len(s.Origin.Pins) != 0 || len(must[loops.State](t)(store.Load(t.Context(), s.ID)).Origin.Pins) != 0 {
			t.Errorf("it pins %q", s.Origin.Pins)
		}
		time.Sleep(5 * time.Hour)
		reads(t, store, "second-aaaa", refs, nil)
		if n := objectsOf(t, js, "first-aaaa") + keptOf(t, js, "first-aaaa"); n != 0 {
			t.Errorf("the original has left %d objects and blobs", n)
		}
	})
}

// Heads have room for so many; the next fork begins a new line.
func TestForkOfManyForksHasCopies(t *testing.T) {
	store, _ := fresh(t, nil)
	refs := original(t, store, "fork-0000")
	pins := []loops.ID{"fork-0000"}
	for n := 1; n < 12; n++ {
		s := forkOf(t, store, loops.ID(fmt.Sprintf("fork-%04d", n)), pins...)
		if len(s.Origin.Pins) > 8 {
			t.Errorf("fork %d pins %d loops", n, len(s.Origin.Pins))
		}
		reads(t, store, s.ID, refs, nil)
		pins = append([]loops.ID{s.ID}, s.Origin.Pins...)
	}
	if len(pins) != 3 { // the ninth had copies
		t.Errorf("the last one pins %d loops, itself included", len(pins))
	}
}

// What a fork needs of a loop that is gone is verified with the fork, and a fork
// without it is left out of a backup.
func TestDamageOfWhatAForkPinsIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		store := open(t, js, &kvstate.Options{Retention: 3 * time.Hour, Sweep: 30 * time.Minute})
		refs := original(t, store, "first-aaaa")
		forkOf(t, store, "second-aaaa", "first-aaaa")
		time.Sleep(5 * time.Hour)
		st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPKEPT"))
		m := must[*jetstream.RawStreamMsg](t)(st.GetLastMsgForSubject(t.Context(), "$KV.LOOPKEPT.first-aaaa."+refs[1]))
		must[*jetstream.PubAck](t)(js.Publish(t.Context(), m.Subject, []byte("something else")))
		v := must[kvstate.Verification](t)(store.Verify(t.Context()))
		if v.Damaged() != 1 || v.Loops[0].ID != "second-aaaa" || !strings.Contains(v.Loops[0].Problems[0], refs[1]) {
			t.Errorf("verified: %+v", v)
		}
		var file strings.Builder
		b, err := store.Backup(t.Context(), &file)
		if err != nil || len(b.LeftOut) != 1 || b.LeftOut[0].ID != "second-aaaa" {
			t.Errorf("backed up: %+v, %v", b, err)
		}
	})
}

// TestForkWorksOnWhenItsOriginalIsGone: the whole way, with an engine. The body of
// the fork goes back to what the original kept hours after that one was deleted.
func TestForkWorksOnWhenItsOriginalIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		store := open(t, js, &kvstate.Options{Retention: 3 * time.Hour, Sweep: 30 * time.Minute})
		large := noiseOf(700_000)
		keeps := loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			ref, err := turn.Keep(ctx, []byte(noiseOf(900_000)))
			return loops.Result{Output: large, Memory: json.RawMessage(fmt.Sprintf("%q", ref)), Done: true}, err
		}}
		fetches := loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			time.Sleep(7 * time.Hour)
			var ref string
			if err := json.Unmarshal(turn.Memory, &ref); err != nil {
				return loops.Result{}, err
			}
			kept, err := turn.Fetch(ctx, ref)
			if string(kept) != noiseOf(900_000) || turn.Output != large {
				t.Errorf("the fork's body reads %d bytes, %v, and an output of %d bytes", len(kept), err, len(turn.Output))
			}
			return loops.Result{Output: "ok", Done: true}, err
		}}
		e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"worker": loopstest.Script(keeps, fetches)}}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		long := loops.Limits{IterationTimeout: loops.Duration(20 * time.Hour), MaxActive: loops.Duration(20 * time.Hour)}
		spec := loops.Spec{Goal: "g", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"}, Limits: long}
		settled := func(id loops.ID) loops.State {
			t.Helper()
			s, _, err := e.Wait(t.Context(), id, 0, loops.ForSettled, 20*time.Hour, nil)
			if err != nil || s.Status != loops.Completed {
				t.Fatalf("%s: %s, %v", id, s.Summary(), err)
			}
			return s
		}
		first := must[loops.Outcome](t)(e.Start(t.Context(), loops.StartRequest{Spec: spec}))
		settled(first.ID)
		fork := must[loops.Outcome](t)(e.Fork(t.Context(), loops.ForkRequest{Loop: first.ID}))
		if s := settled(fork.ID); s.Output.Text != "ok" {
			t.Errorf("the fork ended with %q", s.Output.Text)
		}
		if _, err := store.Load(t.Context(), first.ID); !errors.Is(err, loops.ErrNotFound) {
			t.Errorf("the original: %v", err)
		}
	})
}

// Labels, an owner, a cancel and as many pins as there may be, all as long as they
// may be, fit into one head.
func TestForkWithTheLargestHead(t *testing.T) {
	store, _ := fresh(t, nil)
	long := func(n int) loops.ID { return loops.ID(fmt.Sprintf("%d%s", n, strings.Repeat("x", 94))) }
	original(t, store, long(0))
	s := newLoop(long(9))
	s.Origin.Spec.Name, s.Origin.Owner, s.Origin.Parent = strings.Repeat("n", 63), strings.Repeat("o", 64), long(7)
	s.Origin.Labels = map[string]string{}
	for n := range 8 {
		s.Origin.Pins = append(s.Origin.Pins, long(n))
		s.Origin.Labels[fmt.Sprintf("%d%s", n, strings.Repeat("k", 62))] = strings.Repeat("v", 63)
	}
	s.Limits = loops.DefaultCeilings()
	s.Ledger = loops.Ledger{Starts: 9999, Iterations: 9999, Passes: 9999, ActiveSeconds: 604799.123456789, Failures: 999,
		Usage: loops.Usage{InputTokens: 99_999_999, OutputTokens: 99_999_999, TotalTokens: 99_999_999, CostUSD: 999_999_999, ToolCalls: 99_999}}
	s.Claim = loops.Claim{Owner: strings.Repeat("r", 40), Token: strings.Repeat("t", 32), Commit: 99999}
	s.Intent.Cancel = &loops.CancelWish{Reason: loops.CancelOperator, Detail: strings.Repeat("\"", 300)}
	s = must[loops.State](t)(store.Create(t.Context(), s))
	s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, "on")))
	if got := must[loops.State](t)(store.Load(t.Context(), s.ID)); len(got.Origin.Pins) != 8 {
		t.Errorf("it pins %d loops", len(got.Origin.Pins))
	}
}
