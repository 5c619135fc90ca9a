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

// TestASecretIDStaysSecret: also when a request id is bound to it first.
func TestASecretIDStaysSecret(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("ok")), func(w *world) {
		r := loops.StartRequest{Spec: handlerSpec(nil), SecretID: true}
		one, err := w.Start(t.Context(), r)
		if err != nil || !one.ID.Secret() || !loops.ValidID(one.ID) {
			t.Errorf("id %q (%v), want a secret one", one.ID, err)
		}
		r.RequestID = "again"
		two, err := w.Start(t.Context(), r)
		if err != nil || !two.ID.Secret() || two.ID == one.ID {
			t.Errorf("id %q (%v), want another secret one", two.ID, err)
		}
		r.SecretID = false // how the caller hears of it is no part of the request
		if again, err := w.Start(t.Context(), r); err != nil || again.ID != two.ID || !again.Reused {
			t.Errorf("id %q (%v), want %q again", again.ID, err, two.ID)
		}
		for _, id := range []loops.ID{"", "-", "loop-7k3q", loops.ID("loop" + string(one.ID[len(one.ID)-26:])), one.ID + "a", one.ID[:len(one.ID)-1] + "1"} {
			if id.Secret() {
				t.Errorf("%q is no secret id", id)
			}
		}
	})
}
