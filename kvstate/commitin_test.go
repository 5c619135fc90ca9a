package kvstate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// TestACommitInPlaceIsACommit: the state is what [loops.Store] would return, and
// stays as it was when nothing is stored.
func TestACommitInPlaceIsACommit(t *testing.T) {
	store := open(t, stream(t, host(t, t.TempDir(), embed.Process)), nil)
	first := must[loops.State](t)(store.Create(t.Context(), newLoop("place-aaaa")))
	next := iterate(first, strings.Repeat("as long as what is stored once, ", 40))
	at := next
	if err := store.CommitIn(t.Context(), &at); err != nil {
		t.Fatal(err)
	}
	want := next
	want.Rev, want.New = at.Rev, loops.Delta{}
	if diff := cmp.Diff(want, at); diff != "" || at.Rev <= first.Rev {
		t.Errorf("after revision %d (-want +got):\n%s", first.Rev, diff)
	}
	loaded := must[loops.State](t)(store.Load(t.Context(), at.ID))
	if diff := cmp.Diff(at, loaded); diff != "" {
		t.Errorf("stored is another (-left +loaded):\n%s", diff)
	}
	late := iterate(first, "too late")
	again := late
	if err := store.CommitIn(t.Context(), &again); !errors.Is(err, loops.ErrConflict) {
		t.Errorf("a commit to revision %d: %v, want a conflict", first.Rev, err)
	}
	if diff := cmp.Diff(late, again); diff != "" {
		t.Errorf("what was not stored has changed (-was +is):\n%s", diff)
	}
}
