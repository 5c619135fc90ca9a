package kvstate

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// askAll lets so many callers want an answer at a time, each with its own context.
func askAll(t *testing.T, n *latest, contexts []context.Context, ask func(context.Context) (uint64, error)) []uint64 {
	got := make([]uint64, len(contexts))
	var all sync.WaitGroup
	for i, ctx := range contexts {
		all.Go(func() {
			seq, err := n.ask(ctx, ask)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			got[i] = seq
		})
		synctest.Wait()
	}
	all.Wait()
	return got
}

// TestThoseWhoAskAtATimeShareOneQuestion gives nobody an answer to a question
// that was put before it asked.
func TestThoseWhoAskAtATimeShareOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &latest{turn: make(chan struct{}, 1)}
		var put atomic.Uint64
		contexts := make([]context.Context, 100)
		for i := range contexts {
			contexts[i] = t.Context()
		}
		got := askAll(t, n, contexts, func(context.Context) (uint64, error) {
			seq := put.Add(1)
			time.Sleep(time.Second)
			return seq, nil
		})
		if got[0] != 1 || put.Load() != 2 {
			t.Errorf("%d questions were put; the first to ask got answer %d", put.Load(), got[0])
		}
		for i, seq := range got[1:] {
			if seq != 2 {
				t.Errorf("caller %d, who came when the first question was under way, got answer %d", i+1, seq)
			}
		}
	})
}

// TestWhoGivesUpTakesNobodyAlong has the one who puts the question give up.
func TestWhoGivesUpTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &latest{turn: make(chan struct{}, 1)}
		short, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		got := askAll(t, n, []context.Context{t.Context(), short, t.Context(), short, t.Context()}, func(ctx context.Context) (uint64, error) {
			select {
			case <-time.After(time.Second):
				return 7, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		for i, want := range []uint64{7, 0, 7, 0, 7} {
			if got[i] != want {
				t.Errorf("caller %d got %d, not %d", i, got[i], want)
			}
		}
	})
}
