package loops_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// slowly is a store that takes a second to create a loop. counted also counts
// live loops, roughly so many too many.
type slowly struct{ loops.Store }

func (s slowly) Create(ctx context.Context, st loops.State) (loops.State, error) {
	time.Sleep(time.Second)
	st, err := s.Store.Create(ctx, st)
	time.Sleep(time.Second)
	return st, err
}

type counted struct {
	slowly
	toomany int
	exactly atomic.Int32 // calls
}

func (c *counted) CountLive(ctx context.Context, roughly bool) (int, error) {
	live := 0
	heads, err := c.List(ctx)
	for _, h := range heads {
		if !h.Status.Settled() {
			live++
		}
	}
	if roughly {
		return live + c.toomany, err
	}
	c.exactly.Add(1)
	return live, err
}

// TestStartsAtATimeDoNotExceedLiveLoops starts more loops side by side than there
// may be, on stores that count in different ways.
func TestStartsAtATimeDoNotExceedLiveLoops(t *testing.T) {
	for name, open := range map[string]func(loops.Store) loops.Store{
		"listed":              func(s loops.Store) loops.Store { return slowly{s} },
		"counted":             func(s loops.Store) loops.Store { return &counted{slowly: slowly{s}} },
		"counted too loosely": func(s loops.Store) loops.Store { return &counted{slowly: slowly{s}, toomany: 3} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const limit, clients = 20, 50
				store := loopstest.NewMemory()
				e := loops.New(open(store), parts(loopstest.Script()), &loops.Options{LiveLoops: limit})
				var refused, started atomic.Int32
				var all sync.WaitGroup
				for n := range clients {
					all.Go(func() {
						time.Sleep(time.Duration(n) * 50 * time.Millisecond)
						_, err := e.Start(t.Context(), loops.StartRequest{Spec: loops.Spec{Name: "many", Goal: "be one of many", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"}}})
						if refusal, ok := errors.AsType[*loops.RefusedError](err); ok && refusal.Code == "live_loops" {
							refused.Add(1)
						} else if err == nil {
							started.Add(1)
						} else {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if started.Load() != limit || refused.Load() != clients-limit {
					t.Errorf("%d were started and %d refused with live_loops %d", started.Load(), refused.Load(), limit)
				}
			})
		})
	}
}

// TestRoomIsCountedRoughlyWhileThereIsMuch starts loops far below the limit.
func TestRoomIsCountedRoughlyWhileThereIsMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counted{slowly: slowly{loopstest.NewMemory()}, toomany: 5}
		e := loops.New(store, parts(loopstest.Script()), &loops.Options{LiveLoops: 10})
		for n := range 10 {
			if _, err := e.Start(t.Context(), loops.StartRequest{Spec: loops.Spec{Name: fmt.Sprint("one-", n), Goal: "be there", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"}}}); err != nil {
				t.Fatal(err)
			}
			if exactly := int(store.exactly.Load()); exactly != max(0, n-4) {
				t.Fatalf("%d exact counts with %d live loops", exactly, n)
			}
		}
	})
}

// TestAStartThatWaitsForOthersEndsWithItsContext has room for one more loop, which
// somebody else is creating.
func TestAStartThatWaitsForOthersEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := loops.New(slowly{loopstest.NewMemory()}, parts(loopstest.Script()), &loops.Options{LiveLoops: 1})
		request := loops.StartRequest{Spec: loops.Spec{Name: "last", Goal: "be the last one", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"}}}
		var first sync.WaitGroup
		first.Go(func() {
			if _, err := e.Start(t.Context(), request); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := e.Start(ctx, request); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		first.Wait()
	})
}
