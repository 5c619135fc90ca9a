package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// dying is a store whose process dies at its next Create: before it, or after it
// was stored and before anybody heard of it.
type dying struct {
	loops.Store
	before, after bool
}

func (d *dying) Create(ctx context.Context, s loops.State) (loops.State, error) {
	if d.before {
		return s, loops.ErrClosed
	}
	s, err := d.Store.Create(ctx, s)
	if d.after {
		return loops.State{}, loops.ErrClosed
	}
	return s, err
}

// TestCrashWhileAForkIsCreated: the request that is made again gives one fork, which
// has all that it needs of the original.
func TestCrashWhileAForkIsCreated(t *testing.T) {
	for name, crash := range map[string]dying{"before it is stored": {before: true}, "after it was stored": {after: true}} {
		t.Run(name, func(t *testing.T) {
			large := strings.Repeat("a large output ", 30_000)
			keeps := loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
				ref, err := turn.Keep(ctx, []byte("kept beside the loop"))
				return loops.Result{Output: large, Memory: json.RawMessage(fmt.Sprintf("%q", ref)), Done: true}, err
			}}
			fetches := loopstest.Step{Takes: time.Minute, Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
				var ref string
				if err := json.Unmarshal(turn.Memory, &ref); err != nil {
					return loops.Result{}, err
				}
				kept, err := turn.Fetch(ctx, ref)
				if string(kept) != "kept beside the loop" || turn.Output != large {
					t.Errorf("the fork's body reads %q, %v, and an output of %d bytes", kept, err, len(turn.Output))
				}
				return loops.Result{Output: "ok", Done: true}, err
			}}
			story(t, loopstest.Script(keeps, fetches, fetches), func(w *world) {
				id := w.start(func(s *loops.Spec) { s.Limits.MaxPasses = 1 })
				w.settled(id, loops.Capped, loops.CapPasses)
				crash.Store = w.store
				r := loops.ForkRequest{Loop: id, RequestID: "f1"}
				if _, err := loops.New(&crash, parts(w.body), nil).Fork(t.Context(), r); !errors.Is(err, loops.ErrClosed) {
					t.Fatalf("the process that dies says %v", err)
				}
				out := w.fork(r)
				if out.Reused != crash.after || out.Output.Blob == "" || w.loops() != 2 {
					t.Errorf("again: reused %t, output %+v, %d loops", out.Reused, out.Output.Size, w.loops())
				}
				if whole, err := w.Output(t.Context(), out.ID, out.Output); err != nil || whole != large {
					t.Errorf("the output is %d bytes, %v", len(whole), err)
				}
				w.settled(out.ID, loops.Completed, loops.GoalPredicate)
			})
		})
	}
}

// broken is a store in which one loop does not verify.
type broken struct {
	loops.Store
	id loops.ID
}

func (b broken) Load(ctx context.Context, id loops.ID) (loops.State, error) {
	if id == b.id {
		return loops.State{}, fmt.Errorf("load %s: %w", id, loops.ErrDamaged)
	}
	return b.Store.Load(ctx, id)
}

func TestDamagedLoopIsNotForked(t *testing.T) {
	story(t, threePasses(), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		e := loops.New(broken{w.store, id}, parts(w.body), nil)
		if _, err := e.Fork(t.Context(), loops.ForkRequest{Loop: id}); !errors.Is(err, loops.ErrRefused) || !strings.Contains(err.Error(), "can't be trusted") {
			t.Errorf("Fork: %v", err)
		}
		if w.loops() != 1 {
			t.Errorf("%d loops", w.loops())
		}
	})
}

// TestForkThroughADoor: who asks decides what the fork's programs may do, unless
// somebody consented to just these.
func TestForkThroughADoor(t *testing.T) {
	story(t, threePasses(), func(w *world) {
		for _, test := range []struct{ was, asks, same, replaced loops.Source }{
			{loops.SourceTool, loops.SourceTool, loops.SourceTool, loops.SourceTool},
			{loops.SourceTrustedFile, loops.SourceTool, loops.SourceTrustedFile, loops.SourceTool},
			{loops.SourceCommandLine, loops.SourceTool, loops.SourceTool, loops.SourceTool},
			{loops.SourceLibrary, loops.SourceTool, loops.SourceTool, loops.SourceTool},
			{loops.SourceTool, loops.SourceCommandLine, loops.SourceTool, loops.SourceCommandLine},
			{loops.SourceTrustedFile, loops.SourceCommandLine, loops.SourceTrustedFile, loops.SourceCommandLine},
			{loops.SourceCommandLine, loops.SourceCommandLine, loops.SourceCommandLine, loops.SourceCommandLine},
			{loops.SourceTool, "", loops.SourceLibrary, loops.SourceLibrary},
		} {
			out, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil), Source: test.was})
			if err != nil {
				t.Fatal(err)
			}
			same := w.fork(loops.ForkRequest{Loop: out.ID, Source: test.asks, Goal: "say ok again"})
			replaced := w.fork(loops.ForkRequest{Loop: out.ID, Source: test.asks, Until: handlerSpec(nil).Until})
			if same.Origin.Source != test.same || replaced.Origin.Source != test.replaced {
				t.Errorf("%s asks for a fork of a loop of %s: %s, with other conditions %s; want %s and %s", test.asks, test.was,
					same.Origin.Source, replaced.Origin.Source, test.same, test.replaced)
			}
		}
	})
}

// Protected files are those of now: nobody can bring back what they were.
func TestForkProtectsTheFilesAsTheyAre(t *testing.T) {
	story(t, threePasses(loopstest.Done("ok")), func(w *world) {
		dir := t.TempDir()
		file := filepath.Join(dir, "spec.txt")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("before")
		out, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(func(s *loops.Spec) { s.Protect = []string{"*.txt"} }), Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		w.settled(out.ID, loops.Completed, loops.GoalPredicate)
		write("after")
		fork := w.fork(loops.ForkRequest{Loop: out.ID})
		if was, is := out.Origin.Protected["spec.txt"], fork.Origin.Protected["spec.txt"]; is == was || is == "" || fork.Origin.Dir != dir {
			t.Errorf("protected %q, of the original %q; folder %s", is, was, fork.Origin.Dir)
		}
		w.settled(fork.ID, loops.Completed, loops.GoalPredicate)
	})
}

// A fork that is asked for below a loop's body is a child of that loop, as any start.
func TestForkBelowABodyIsAChild(t *testing.T) {
	slow := loopstest.Step{Do: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		<-ctx.Done()
		return loops.Result{}, context.Cause(ctx)
	}}
	synctest.Test(t, func(t *testing.T) {
		w := live(t, loopstest.NewMemory(), threePasses(slow, loopstest.Done("ok")), nil)
		first := w.start(nil)
		w.settled(first, loops.Completed, loops.GoalPredicate)
		parent := w.start(nil)
		synctest.Wait() // its body is the slow one, and not that of the fork
		below := loops.New(w.store, parts(w.body), &loops.Options{Parent: parent})
		out, err := below.Fork(t.Context(), loops.ForkRequest{Loop: first})
		if err != nil || out.Origin.Parent != parent {
			t.Fatalf("its parent is %q, %v", out.Origin.Parent, err)
		}
		if p, err := w.Get(t.Context(), parent); err != nil || len(p.Children) != 1 {
			t.Errorf("the parent has %d children, %v", len(p.Children), err)
		}
		w.do(parent, loops.Request{Action: loops.CancelIt})
		w.settled(parent, loops.Cancelled, loops.CancelClient)
		if _, err := below.Fork(t.Context(), loops.ForkRequest{Loop: first}); !errors.Is(err, loops.ErrRefused) || !strings.Contains(err.Error(), "parent_over") {
			t.Errorf("below a loop that has ended: %v", err)
		}
	})
}

func TestForkNeedsRoomForALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := live(t, loopstest.NewMemory(), loopstest.Script(), &loops.Options{LiveLoops: 1})
		id := w.start(func(s *loops.Spec) {
			s.Body = loops.BodySpec{Kind: loops.BodyClient}
			s.Until = &loops.Until{All: []loops.Condition{{Kind: loops.StopClaim}}}
		})
		w.noFork(loops.ForkRequest{Loop: id}, loops.ErrRefused, "live_loops")
	})
}

// A fork whose original is gone is still found under its request id.
func TestForkIsFoundAgainWhenItsOriginalIsGone(t *testing.T) {
	story(t, threePasses(loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		r := loops.ForkRequest{Loop: id, RequestID: "f1"}
		one := w.fork(r)
		e := loops.New(without{w.store, id}, parts(w.body), nil)
		if two, err := e.Fork(t.Context(), r); err != nil || !two.Reused || two.ID != one.ID {
			t.Errorf("again: %s, reused %t, %v", two.ID, two.Reused, err)
		}
		r.RequestID = "f2"
		if _, err := e.Fork(t.Context(), r); !errors.Is(err, loops.ErrNotFound) {
			t.Errorf("another request: %v", err)
		}
		if two := w.fork(r); two.Reused || two.ID == one.ID {
			t.Errorf("the request id of a fork that was refused gave %s, reused %t", two.ID, two.Reused)
		}
	})
}

// without is a store in which one loop is gone.
type without struct {
	loops.Store
	id loops.ID
}

func (s without) Load(ctx context.Context, id loops.ID) (loops.State, error) {
	if id == s.id {
		return loops.State{}, loops.ErrNotFound
	}
	return s.Store.Load(ctx, id)
}
