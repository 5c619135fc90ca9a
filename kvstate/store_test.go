package kvstate_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func TestStore(t *testing.T) {
	loopstest.TestStore(t, func(t *testing.T) loops.Store {
		s, _ := fresh(t, nil)
		return s
	})
}

func TestStoreDurable(t *testing.T) {
	loopstest.TestStore(t, func(t *testing.T) loops.Store {
		return open(t, stream(t, host(t, t.TempDir(), embed.Power)), nil)
	})
}

func TestStoreInBubble(t *testing.T) {
	loopstest.TestStoreIn(t, synctest.Test, func(t *testing.T) loops.Store {
		s, _ := fresh(t, nil)
		return s
	})
}

// leaving is a store that is closed when a loop is about to be created.
type leaving struct {
	*kvstate.Store
	last loops.ID // that was to be created
}

func (s *leaving) Create(ctx context.Context, st loops.State) (loops.State, error) {
	s.last = st.ID
	if err := s.Close(); err != nil {
		return loops.State{}, err
	}
	return s.Store.Create(ctx, st)
}

// TestAnErrorOfTheStoreSaysItsWordsOnce: users read "create loop x: create x: …" and
// "list loops: list loops: …".
func TestAnErrorOfTheStoreSaysItsWordsOnce(t *testing.T) {
	closed, _ := fresh(t, nil)
	store := &leaving{Store: closed}
	body := loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) { return loops.Result{}, nil })
	e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"none": body}}, nil)
	says := func(want string, err error) {
		t.Helper()
		if got := fmt.Sprint(err); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	_, err := e.Get(t.Context(), "other")
	says("load other: no such loop", err)
	start := loops.StartRequest{Spec: loops.Spec{Name: "once", Goal: "be stored", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "none"}}}
	_, err = e.Start(t.Context(), start)
	says("create "+string(store.last)+": the store is closed", err)
	_, err = e.Start(t.Context(), start)
	says("count live loops: the store is closed", err)
	_, _, err = e.List(t.Context(), loops.Filter{})
	says("list loops: the store is closed", err)
	says("list loops: the store is closed", e.Scan(t.Context(), func(*loops.Head) {}))
	_, err = e.History(t.Context(), "other")
	says("load other: the store is closed", err)
}
