package loops_test

import (
	"errors"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestStartTwice: a start whose request id was used before gives the loop of
// that time, and is refused when it asks for something else.
func TestStartTwice(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("ok")), func(w *world) {
		first := loops.StartRequest{Spec: handlerSpec(nil), RequestID: "r1"}
		one, err := w.Start(t.Context(), first)
		if err != nil || one.Reused {
			t.Fatalf("Start: %v, reused %t", err, one.Reused)
		}
		two, err := w.Start(t.Context(), first)
		if err != nil || !two.Reused || two.ID != one.ID {
			t.Fatalf("the same start again: %v, reused %t, id %s, want %s", err, two.Reused, two.ID, one.ID)
		}
		other := loops.StartRequest{Spec: handlerSpec(func(s *loops.Spec) { s.Goal = "say more" }), RequestID: "r1"}
		if _, err := w.Start(t.Context(), other); !errors.Is(err, loops.ErrRefused) {
			t.Fatalf("another spec: %v, want a refusal", err)
		}
	})
}
