package kvstate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// TestALoopIsTakenUpAsItIsStored: what is remembered of it is what a read gives, and
// counts no more once another process has written.
func TestALoopIsTakenUpAsItIsStored(t *testing.T) {
	h := host(t, t.TempDir(), embed.Process)
	store := open(t, stream(t, h), nil)
	other := open(t, stream(t, h), &kvstate.Options{Runner: "runner-2"})
	st := must[loops.State](t)(store.Create(t.Context(), newLoop("recall-aaaa")))
	for _, want := range []string{"created", "committed"} {
		loaded := must[loops.State](t)(store.Load(t.Context(), st.ID))
		at := must[loops.State](t)(store.LoadAt(t.Context(), st.ID, st.Rev))
		if diff := cmp.Diff(loaded, at); diff != "" || at.Rev != st.Rev {
			t.Errorf("when it was %s (-read +remembered):\n%s", want, diff)
		}
		next := iterate(st, "ok")
		next.Status = loops.Queued
		st = must[loops.State](t)(store.Commit(t.Context(), next))
	}
	newer := must[loops.State](t)(other.Commit(t.Context(), iterate(must[loops.State](t)(other.Load(t.Context(), st.ID)), "more")))
	must[[]loops.Head](t)(store.List(t.Context())) // it has seen it now
	if at := must[loops.State](t)(store.LoadAt(t.Context(), st.ID, st.Rev)); at.Rev != newer.Rev {
		t.Errorf("after another process wrote revision %d, the loop at %d is that at %d", newer.Rev, st.Rev, at.Rev)
	}
}
