package loops_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestALoopKeepsItsOwner in its checkpoint, its head and lists.
func TestALoopKeepsItsOwner(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("ok")), func(w *world) {
		out, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil), Owner: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		w.start(nil)
		s := w.settled(out.ID, loops.Completed, loops.GoalPredicate)
		if s.Origin.Owner != "ann" || s.Head().Owner != "ann" {
			t.Errorf("owner %q, in the head %q", s.Origin.Owner, s.Head().Owner)
		}
		for owner, want := range map[string]int{"ann": 1, "bob": 0, "": 2} {
			heads, _, err := w.List(t.Context(), loops.Filter{Owner: owner})
			if err != nil || len(heads) != want {
				t.Errorf("the list of %q has %d loops, want %d (%v)", owner, len(heads), want, err)
			}
		}
	})
}

// TestLoopsBelowAnOwnedOneAreOwnedLikeIt, whoever the process that starts them
// works for.
func TestLoopsBelowAnOwnedOneAreOwnedLikeIt(t *testing.T) {
	story(t, loopstest.Script(loopstest.Step{Takes: time.Hour}), func(w *world) {
		out, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil), Owner: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		below := loops.New(w.store, parts(loopstest.Script()), &loops.Options{Parent: out.ID})
		child, err := below.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil), RequestID: "r"})
		if err != nil || child.Origin.Owner != "ann" {
			t.Errorf("owner %q (%v), want ann", child.Origin.Owner, err)
		}
	})
}

func TestAnOwnersNameIsShort(t *testing.T) {
	story(t, loopstest.Script(), func(w *world) {
		for _, owner := range []string{strings.Repeat("x", 65), "a\x00b", "\xff"} {
			_, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil), Owner: owner})
			if found := (&loops.FieldError{}); !errors.As(err, &found) || found.Field != "owner" {
				t.Errorf("%q: %v", owner, err)
			}
		}
	})
}
