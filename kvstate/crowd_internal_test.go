package kvstate

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

// crowd is a store with many loops, and what was sent as batches.
type crowd struct {
	*Store
	states []loops.State
	mu     sync.Mutex
	sizes  []int // of the batches
}

// newCrowd opens a store whose batches go through send, which may be nil.
func newCrowd(t testing.TB, many int, send func(ctx context.Context, id string, group []*post) (uint64, error)) *crowd {
	t.Helper()
	h, js := hosted(t, t.TempDir())
	c := &crowd{}
	var err error
	if c.Store, err = Open(t.Context(), js, &Options{Group: true, Disk: h}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for n := range many {
		s, err := c.Create(t.Context(), crowdLoop(n))
		if err != nil {
			t.Fatal(err)
		}
		c.states = append(c.states, s)
	}
	if send == nil {
		send = c.sendBatch
	}
	c.posts.send = func(ctx context.Context, id string, group []*post) (uint64, error) {
		c.mu.Lock()
		c.sizes = append(c.sizes, len(group))
		c.mu.Unlock()
		return send(ctx, id, group)
	}
	return c
}

func crowdLoop(n int) loops.State {
	now := time.Now().UTC()
	return loops.State{
		ID: loops.ID(fmt.Sprintf("crowd-%04d", n)), Status: loops.Paused, Limits: loops.DefaultLimits(), UpdatedAt: now,
		Origin: loops.Origin{Spec: loops.Spec{Name: "test", Goal: "be stored"}, Source: loops.SourceLibrary, CreatedAt: now},
	}
}

// commitAll commits to all loops at once: while they line up none is sent.
func (c *crowd) commitAll(ctx context.Context, change func(n int, s *loops.State)) []error {
	c.posts.mu.Lock()
	most := c.posts.most
	c.posts.most = 0
	c.posts.mu.Unlock()
	errs := make([]error, len(c.states))
	var all sync.WaitGroup
	for n := range c.states {
		all.Go(func() {
			s := c.states[n]
			s.Why = fmt.Sprint("changed after ", s.Rev)
			if change != nil {
				change(n, &s)
			}
			if s, errs[n] = c.Commit(ctx, s); errs[n] == nil {
				c.states[n] = s
			}
		})
	}
	for late := time.Now().Add(time.Minute); ; {
		c.posts.mu.Lock()
		if len(c.posts.waiting) == len(c.states) || time.Now().After(late) {
			c.posts.most = most
			c.posts.next(c.Store)
			c.posts.mu.Unlock()
			break
		}
		c.posts.mu.Unlock()
		runtime.Gosched()
	}
	all.Wait()
	return errs
}

// reload reads all loops again.
func (c *crowd) reload(t *testing.T) {
	t.Helper()
	for n := range c.states {
		var err error
		if c.states[n], err = c.Load(t.Context(), c.states[n].ID); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *crowd) check(t *testing.T) {
	t.Helper()
	for _, want := range c.states {
		if got, err := c.Load(t.Context(), want.ID); err != nil || got.Rev != want.Rev || got.Why != want.Why {
			t.Errorf("%s is at revision %d (%q), want %d (%q): %v", want.ID, got.Rev, got.Why, want.Rev, want.Why, err)
		}
	}
	if c.posts.mu.Lock(); c.posts.underWay != 0 || len(c.posts.waiting) != 0 || c.posts.grouped != 0 {
		t.Errorf("%d are under way and %d wait after all is over", c.posts.underWay, len(c.posts.waiting))
	}
	c.posts.mu.Unlock()
}
