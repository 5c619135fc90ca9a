package kvstate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/kepttest"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// logged collects what a store says.
type logged struct{ lines []string }

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

func (l *logged) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *logged) WithGroup(string) slog.Handler { return l }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		l.lines = append(l.lines, r.Message)
	}
	return nil
}

// visit opens the store in a folder, with its marks, for as long as use runs.
func visit(t *testing.T, dir string, opts kvstate.Options, use func(*kvstate.Store, jetstream.JetStream)) {
	t.Helper()
	h := must[*embed.Host](t)(embed.Start(t.Context(), embed.Options{Dir: dir, Durability: embed.Process}))
	js := stream(t, h)
	store := must[*kvstate.Store](t)(kvstate.Open(t.Context(), js, &opts))
	use(store, js)
	if err := errors.Join(store.Close(), h.Close()); err != nil {
		t.Fatal(err)
	}
}

func marksOf(dir string) kvstate.Options {
	return kvstate.Options{Mark: filepath.Join(dir, "marks")}
}

// progress lets five loops make progress, side by side.
func progress(t *testing.T, store *kvstate.Store) map[loops.ID]loops.State {
	t.Helper()
	states := map[loops.ID]loops.State{}
	for n := range 5 {
		id := loops.ID(fmt.Sprintf("old-%d", n))
		states[id] = must[loops.State](t)(store.Create(t.Context(), newLoop(id)))
	}
	for range 25 {
		for id, s := range states {
			states[id] = must[loops.State](t)(store.Commit(t.Context(), iterate(s, noiseOf(700))))
		}
	}
	return states
}

// A disk that loses records must never set a loop back: it is as it was, or it
// is quarantined, in a store that was opened on the damage and in every later one.
func TestADamagedDiskNeverSetsALoopBack(t *testing.T) {
	for _, test := range diskFaults {
		t.Run(test.name, func(t *testing.T) {
			dir, r := kepttest.Dir(t), seeded(t)
			var states map[loops.ID]loops.State
			visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) { states = progress(t, store) })
			for _, f := range test.faults {
				f(t, dir, r)
			}
			for round := range 3 {
				said := &logged{}
				opts := marksOf(dir)
				opts.Logger = slog.New(said)
				visit(t, dir, opts, func(store *kvstate.Store, _ jetstream.JetStream) {
					lost := survey(t, store, states)
					if test.loses && lost == 0 {
						t.Error("no loop is quarantined")
					}
					if says := strings.Contains(strings.Join(said.lines, "\n"), "lost records"); says != test.loses && test.loses {
						t.Errorf("the log says %q", said.lines)
					}
					// The sequences of what was lost are used again.
					other := must[loops.State](t)(store.Create(t.Context(), newLoop(loops.ID(fmt.Sprintf("new-%d", round)))))
					for range 100 {
						other = must[loops.State](t)(store.Commit(t.Context(), iterate(other, noiseOf(300))))
					}
					states[other.ID] = other
				})
			}
		})
	}
}

// survey returns how many loops are quarantined; the others must be as they were.
func survey(t *testing.T, store *kvstate.Store, states map[loops.ID]loops.State) (lost int) {
	t.Helper()
	heads := must[[]loops.Head](t)(store.List(t.Context()))
	for id, want := range states {
		got, err := store.Load(t.Context(), id)
		head := find(heads, id)
		switch {
		case errors.Is(err, loops.ErrDamaged):
			lost++
			after := find(must[[]loops.Head](t)(store.List(t.Context())), id)
			if after.Status != loops.Failed || !strings.Contains(after.Summary, "damaged") {
				t.Errorf("%s is listed as %+v", id, after)
			}
			if _, err := store.Create(t.Context(), newLoop(id)); err == nil {
				t.Errorf("%s was begun again", id)
			}
			if _, err := store.Commit(t.Context(), iterate(want, "on")); err == nil {
				t.Errorf("a commit on %s succeeded", id)
			}
			if _, err := store.History(t.Context(), id); !errors.Is(err, loops.ErrDamaged) {
				t.Errorf("the history of %s: %v", id, err)
			}
		case err != nil:
			t.Errorf("load %s: %v", id, err)
		case got.Rev != want.Rev || got.Iteration != want.Iteration:
			t.Errorf("%s was set back from iteration %d to %d, revision %d to %d", id, want.Iteration, got.Iteration, want.Rev, got.Rev)
		case head.Rev != want.Rev:
			t.Errorf("%s is listed as %+v", id, head)
		}
	}
	return lost
}

// Without marks the same damage goes unnoticed; if it did not, the tests above
// would show nothing.
func TestWithoutMarksADamagedDiskSetsLoopsBack(t *testing.T) {
	dir := t.TempDir()
	var states map[loops.ID]loops.State
	visit(t, dir, kvstate.Options{}, func(store *kvstate.Store, _ jetstream.JetStream) { states = progress(t, store) })
	change(flipOne)(t, dir, rand.New(rand.NewPCG(3, 1)))
	noIndex(t, dir, nil)
	visit(t, dir, kvstate.Options{}, func(store *kvstate.Store, _ jetstream.JetStream) {
		back := 0
		for id, want := range states {
			if got, err := store.Load(t.Context(), id); err == nil && got.Iteration < want.Iteration {
				back++
			}
		}
		if back == 0 {
			t.Error("no loop was set back")
		}
	})
}

// A store of an older version, or a restored copy without its marks, works and
// says so once.
func TestAStoreWithoutItsMarksSaysSo(t *testing.T) {
	dir := t.TempDir()
	var states map[loops.ID]loops.State
	visit(t, dir, kvstate.Options{}, func(store *kvstate.Store, _ jetstream.JetStream) { states = progress(t, store) })
	for _, want := range []bool{true, false} {
		said := &logged{}
		opts := marksOf(dir)
		opts.Logger = slog.New(said)
		visit(t, dir, opts, func(store *kvstate.Store, _ jetstream.JetStream) {
			if lost := survey(t, store, states); lost != 0 {
				t.Errorf("%d loops are quarantined", lost)
			}
		})
		if got := strings.Contains(strings.Join(said.lines, "\n"), "no high-water mark"); got != want {
			t.Errorf("said %q", said.lines)
		}
	}
	// From now on a loss is noticed.
	change(cutHalf)(t, dir, rand.New(rand.NewPCG(1, 1)))
	noIndex(t, dir, nil)
	visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
		if lost := survey(t, store, states); lost == 0 {
			t.Error("no loop is quarantined")
		}
	})
}

// Records beside the loops, such as a day's spending, and request ids are not
// set back either.
func TestADayOfSpendingIsNotForgotten(t *testing.T) {
	dir := t.TempDir()
	visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
		for n := range 3 {
			if err := store.Update(t.Context(), "day", func([]byte) ([]byte, error) { return fmt.Append(nil, n), nil }); err != nil {
				t.Fatal(err)
			}
		}
		must[loops.ID](t)(store.Reserve(t.Context(), "request", "old-0"))
	})
	for _, name := range []string{"KV_LOOPDATA", "KV_LOOPREQ"} {
		for _, path := range must[[]string](t)(filepath.Glob(filepath.Join(dir, "store", "jetstream", "*", "streams", name))) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
		err := store.Update(t.Context(), "day", func(old []byte) ([]byte, error) { return old, nil })
		if !errors.Is(err, loops.ErrDamaged) {
			t.Errorf("Update: %v", err)
		}
		if id, err := store.Reserve(t.Context(), "request", "new-0"); !errors.Is(err, loops.ErrDamaged) {
			t.Errorf("Reserve: %s, %v", id, err)
		}
		if err := store.Update(t.Context(), "other", func([]byte) ([]byte, error) { return []byte("1"), nil }); err != nil {
			t.Error(err)
		}
	})
}

// A loop that is gone after its retention is not missed.
func TestRetentionIsNoLoss(t *testing.T) {
	dir := t.TempDir()
	opts := marksOf(dir)
	opts.Retention = time.Minute
	visit(t, dir, opts, func(store *kvstate.Store, js jetstream.JetStream) {
		s := newLoop("gone-aaaa")
		s.Status = loops.Completed
		must[loops.State](t)(store.Create(t.Context(), s))
		kv := must[jetstream.KeyValue](t)(js.KeyValue(t.Context(), "LOOPS"))
		if err := kv.Delete(t.Context(), "gone-aaaa"); err != nil { // as the server does
			t.Fatal(err)
		}
		if _, err := store.Load(t.Context(), "gone-aaaa"); !errors.Is(err, loops.ErrNotFound) {
			t.Errorf("Load: %v", err)
		}
	})
	visit(t, dir, opts, func(store *kvstate.Store, _ jetstream.JetStream) {
		if heads := must[[]loops.Head](t)(store.List(t.Context())); len(heads) != 0 {
			t.Errorf("listed are %+v", heads)
		}
		must[loops.State](t)(store.Create(t.Context(), newLoop("gone-aaaa")))
	})
}

// The same in the server's time: while a store is open, and while none is.
func TestRetentionWithMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		opts := marksOf(dir)
		opts.Retention = time.Hour
		settle := func(store *kvstate.Store, id loops.ID) {
			s := must[loops.State](t)(store.Create(t.Context(), newLoop(id)))
			s.Status = loops.Completed
			must[loops.State](t)(store.Commit(t.Context(), s))
		}
		visit(t, dir, opts, func(store *kvstate.Store, _ jetstream.JetStream) {
			settle(store, "one-aaaa")
			time.Sleep(2 * time.Hour)
			settle(store, "two-aaaa")
			if heads := must[[]loops.Head](t)(store.List(t.Context())); len(heads) != 1 {
				t.Errorf("listed are %+v", heads)
			}
		})
		time.Sleep(48 * time.Hour)
		visit(t, dir, opts, func(store *kvstate.Store, _ jetstream.JetStream) {
			if heads := must[[]loops.Head](t)(store.List(t.Context())); len(heads) != 0 {
				t.Errorf("listed are %+v", heads)
			}
			// The server may not have removed it yet.
			if _, err := store.Load(t.Context(), "two-aaaa"); err != nil && !errors.Is(err, loops.ErrNotFound) {
				t.Errorf("Load: %v", err)
			}
		})
	})
}

// A loop whose later half is lost is quarantined: no start is repeated, and the
// cap holds over both lives of the store.
func TestALoopOnADamagedDiskRepeatsNoStart(t *testing.T) {
	dir := t.TempDir()
	starts, half := 0, make(chan struct{})
	body := loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		if starts++; starts == 20 {
			close(half)
			<-ctx.Done() // cut off
			return loops.Result{}, ctx.Err()
		}
		return loops.Result{Output: noiseOf(500 + starts)}, nil
	})
	work := func(use func(*loops.Engine)) {
		visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
			e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"count": body}}, nil)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- e.Run(ctx) }()
			use(e)
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	request := loops.StartRequest{RequestID: "once", Spec: loops.Spec{Name: "count", Goal: "count",
		Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "count"}, Limits: loops.Limits{MaxIterations: 30}}}
	var id loops.ID
	work(func(e *loops.Engine) {
		id = must[loops.Outcome](t)(e.Start(t.Context(), request)).ID
		<-half
	})
	change(cutHalf)(t, dir, rand.New(rand.NewPCG(1, 1)))
	noIndex(t, dir, nil)
	work(func(e *loops.Engine) {
		heads, _, err := e.List(t.Context(), loops.Filter{})
		if err != nil || len(heads) != 1 || heads[0].Status != loops.Failed {
			t.Fatalf("listed are %+v, %v", heads, err)
		}
		s := must[loops.State](t)(e.Get(t.Context(), id))
		if s.Stop == nil || s.Stop.Reason != loops.FailQuarantined || !strings.Contains(s.Stop.Detail, "was acknowledged") {
			t.Errorf("shown as %+v", s.Stop)
		}
		// The same request does not begin the work again under another id.
		if out, err := e.Start(t.Context(), request); err == nil && out.ID != id {
			t.Errorf("started %s in its place", out.ID)
		}
		if _, timedOut, err := e.Wait(t.Context(), id, 0, loops.ForSettled, time.Minute, nil); timedOut || err != nil {
			t.Errorf("waiting for it: timed out %t, %v", timedOut, err)
		}
	})
	if starts != 20 {
		t.Errorf("the body was started %d times, want the 20 of before", starts)
	}
}

// A bit in an old block, far from the end of the stream: the newest record of the
// stream is as it was, and only loops that have not moved for long are hit.
func TestADamagedOldBlockNeverSetsALoopBack(t *testing.T) {
	dir := t.TempDir()
	var states map[loops.ID]loops.State
	visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
		states = progress(t, store)
		busy := must[loops.State](t)(store.Create(t.Context(), newLoop("busy-aaaa")))
		for range 80 {
			busy = must[loops.State](t)(store.Commit(t.Context(), iterate(busy, noiseOf(120_000))))
		}
		states[busy.ID] = busy
	})
	all := blocks(t, dir)
	if len(all) < 2 {
		t.Fatalf("there is only %v", all)
	}
	slices.Sort(all)
	data := must[[]byte](t)(os.ReadFile(all[0]))
	data[200] ^= 1 // in the first record, before all that the idle loops have
	if err := os.WriteFile(all[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	noIndex(t, dir, nil)
	for range 2 {
		visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
			if lost := survey(t, store, states); lost == 0 {
				t.Error("no loop is quarantined")
			}
			if s := must[loops.State](t)(store.Load(t.Context(), "busy-aaaa")); s.Rev != states["busy-aaaa"].Rev {
				t.Errorf("the busy loop is at revision %d", s.Rev)
			}
		})
	}
}
