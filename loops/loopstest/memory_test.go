package loopstest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func open(*testing.T) loops.Store { return loopstest.NewMemory() }

func TestMemory(t *testing.T) { loopstest.TestStore(t, open) }

func TestMemoryAllInBubbles(t *testing.T) { loopstest.TestStoreIn(t, synctest.Test, open) }

func TestMemoryLive(t *testing.T) {
	loopstest.TestLiveLog(t, func(*testing.T) (here, there loops.LiveLog) {
		m := loopstest.NewMemory()
		return m, m.As("runner-2")
	})
}

func TestMemoryInBubble(t *testing.T) {
	m := loopstest.NewMemory() // made outside, as a helper of several bubbles would be
	for n := range 2 {
		synctest.Test(t, func(t *testing.T) {
			s := paused(loops.ID([]string{"a", "b"}[n]))
			s.Status, s.WakeAt = loops.Waiting, time.Now().Add(time.Hour)
			if _, err := m.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			before := time.Now()
			if id, _, err := m.Ready(t.Context()); id != s.ID || err != nil || time.Since(before) != time.Hour {
				t.Fatalf("Ready: %q, %v after %s", id, err, time.Since(before))
			}
		})
	}
}

func paused(id loops.ID) loops.State { return loopstest.Sample(id) }

func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := loopstest.NewMemory()
		two := one.As("runner-2")
		s := paused("a")
		s.Status, s.Claim = loops.Running, loops.Claim{Owner: one.Runner()}
		s, err := one.Create(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan loops.ID, 1)
		go func() {
			id, _, err := two.Ready(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- id
		}()
		time.Sleep(time.Hour)
		if len(got) != 0 {
			t.Fatal("the loop of a living owner was handed out")
		}
		one.Kill("runner-1")
		if id := <-got; id != s.ID {
			t.Fatalf("handed out %q", id)
		}
		if _, err := one.Commit(t.Context(), s); !errors.Is(err, loops.ErrClosed) {
			t.Fatalf("a dead runner's commit: %v", err)
		}
		if _, _, err := one.Ready(t.Context()); !errors.Is(err, loops.ErrClosed) {
			t.Fatalf("a dead runner's Ready: %v", err)
		}
		if _, err := two.Commit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFaults(t *testing.T) {
	m := loopstest.NewMemory()
	s, err := m.Create(t.Context(), paused("a"))
	if err != nil {
		t.Fatal(err)
	}
	before, after := errors.New("before"), errors.New("after")
	m.FailNext("a",
		loopstest.Fault{Write: func(s *loops.State) { s.Why = "another's" }},
		loopstest.Fault{},
		loopstest.Fault{Before: before},
		loopstest.Fault{After: after})
	for _, step := range []struct {
		want   error
		stored string
	}{{loops.ErrConflict, "another's"}, {nil, "mine"}, {before, "mine"}, {after, "lost"}} {
		s.Why = "mine"
		if step.want == after {
			s.Why = "lost"
		}
		if _, err := m.Commit(t.Context(), s); !errors.Is(err, step.want) {
			t.Fatalf("got error %v, want %v", err, step.want)
		}
		if s, err = m.Load(t.Context(), "a"); err != nil || s.Why != step.stored {
			t.Fatalf("stored %q, %v, want %q", s.Why, err, step.stored)
		}
	}
}

func TestFaultsOfUpdates(t *testing.T) {
	m := loopstest.NewMemory()
	before, after := errors.New("before"), errors.New("after")
	m.FailNext("daily.2026-11-21",
		loopstest.Fault{Change: func(old []byte) []byte { return append(old, 'o') }},
		loopstest.Fault{},
		loopstest.Fault{Before: before},
		loopstest.Fault{After: after})
	for n, want := range []error{nil, before, after, nil} {
		err := m.Update(t.Context(), "daily.2026-11-21", func(old []byte) ([]byte, error) { return fmt.Append(old, n), nil })
		if !errors.Is(err, want) {
			t.Fatalf("update %d: got error %v, want %v", n, err, want)
		}
	}
	add := func(old []byte) ([]byte, error) {
		if string(old) != "o023" {
			t.Errorf("stored %q, want %q", old, "o023")
		}
		return old, nil
	}
	if err := m.As("runner-2").Update(t.Context(), "daily.2026-11-21", add); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if err := m.Update(t.Context(), "daily.2026-11-21", add); !errors.Is(err, loops.ErrClosed) {
		t.Errorf("a dead runner's update: %v", err)
	}
}

func TestScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		broken := errors.New("broken")
		b := loopstest.Script(
			loopstest.More("draft"),
			loopstest.Fails(broken),
			loopstest.Step{Wait: gate, Result: loops.Result{Output: "late"}},
			loopstest.Step{Panic: "boom"},
			loopstest.Step{Takes: time.Hour, Result: loops.Result{Output: "slow"}})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		run := func() (r loops.Result, panicked any, err error) {
			defer func() { panicked = recover() }()
			r, err = b.Run(ctx, loops.Turn{Iteration: len(b.Turns()) + 1})
			return r, nil, err
		}
		if r, _, err := run(); r.Output != "draft" || r.Done || err != nil {
			t.Errorf("first: %+v, %v", r, err)
		}
		if _, _, err := run(); err != broken {
			t.Errorf("second: %v", err)
		}
		go func() { time.Sleep(time.Minute); close(gate) }()
		if r, _, err := run(); r.Output != "late" || err != nil {
			t.Errorf("third: %+v, %v", r, err)
		}
		if _, p, _ := run(); p != "boom" {
			t.Errorf("fourth: panic %v", p)
		}
		for range 2 {
			if _, _, err := run(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("last: %v", err)
			}
		}
		if turns := b.Turns(); len(turns) != 6 || turns[5].Iteration != 6 {
			t.Errorf("turns %+v", turns)
		}
	})
}
