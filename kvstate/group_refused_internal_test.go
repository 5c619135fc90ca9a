package kvstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// TestConflictInABatchIsItsOwn lets another process be faster with some loops of
// a batch: their writers hear of it, the others land.
func TestConflictInABatchIsItsOwn(t *testing.T) {
	for _, conflicts := range []int{1, 2, 40} {
		t.Run(fmt.Sprint(conflicts), func(t *testing.T) {
			var c *crowd
			var rival *Store
			var once sync.Once
			taken := map[loops.ID]bool{}
			c = newCrowd(t, 40, func(ctx context.Context, id string, group []*post) (uint64, error) {
				once.Do(func() {
					for _, p := range group[:conflicts] {
						taken[p.id] = true
						s, err := rival.Load(ctx, p.id)
						if err == nil {
							_, err = rival.Commit(ctx, s)
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
				return c.sendBatch(ctx, id, group)
			})
			var err error
			if rival, err = Open(t.Context(), c.js, nil); err != nil {
				t.Fatal(err)
			}
			defer rival.Close()
			for n, err := range c.commitAll(t.Context(), nil) {
				if id := c.states[n].ID; taken[id] != errors.Is(err, loops.ErrConflict) || !taken[id] && err != nil {
					t.Errorf("%s, taken by another %t: %v", id, taken[id], err)
				}
			}
			if want := []int{40, 39, 38}[:min(conflicts+1, maxRounds)]; !slices.Equal(c.sizes, want) {
				t.Errorf("batches of %v for %d conflicts, want %v", c.sizes, conflicts, want)
			}
			c.reload(t)
			c.check(t)
		})
	}
}

// TestBatchWithoutAnswer loses a batch, or its answer.
func TestBatchWithoutAnswer(t *testing.T) {
	lost := errors.New("the answer was lost")
	for _, test := range []struct {
		name  string
		lands bool
		err   error
	}{
		{"the request is lost", false, lost},
		{"the answer is lost", true, lost},
		{"the server takes none", false, &jetstream.APIError{Code: 400, ErrorCode: 10176, Description: "atomic publish batch is incomplete"}},
		{"the server answers late that it took none", true, &jetstream.APIError{Code: 400, ErrorCode: 10176, Description: "atomic publish batch is incomplete"}},
		{"a conflict without a number", false, &jetstream.APIError{Code: 400, ErrorCode: 10164, Description: "wrong last sequence"}},
		{"a conflict with nobody's number", false, &jetstream.APIError{Code: 400, ErrorCode: 10071, Description: "wrong last sequence: 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c *crowd
			var once sync.Once
			c = newCrowd(t, 40, func(ctx context.Context, id string, group []*post) (last uint64, err error) {
				once.Do(func() {
					if err = test.err; test.lands {
						if _, err := c.sendBatch(ctx, id, group); err != nil {
							t.Error(err)
						}
					}
				})
				if err != nil {
					return 0, err
				}
				return c.sendBatch(ctx, id, group)
			})
			if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
				t.Fatal(err)
			}
			c.check(t)
			for _, s := range c.states {
				if h, _, ok := c.projection.at(s.ID, s.Rev); !ok {
					t.Errorf("%s is not at revision %d", s.ID, s.Rev)
				} else if h.Count != 1 {
					t.Errorf("%s was written %d times", s.ID, h.Count)
				}
			}
		})
	}
}

// TestAServerWithoutRoomForBatchesIsNotSentOneAfterTheOther: it has refused one for
// the sake of none of its commits.
func TestAServerWithoutRoomForBatchesIsNotSentOneAfterTheOther(t *testing.T) {
	var c *crowd
	full := true
	c = newCrowd(t, 40, func(ctx context.Context, id string, group []*post) (uint64, error) {
		if full {
			return 0, &jetstream.APIError{Code: 400, ErrorCode: 10176, Description: "atomic publish batch is incomplete"}
		}
		return c.sendBatch(ctx, id, group)
	})
	var set time.Time // until when commits go alone
	for _, step := range []struct {
		when    string
		full    bool
		batches int           // so far
		parts   bool          // the server refuses one
		until   time.Duration // for what comes next, from now
	}{
		{"no room", true, 1, true, time.Hour},
		{"soon after", true, 1, false, -time.Millisecond},
		{"a second later", true, 2, true, time.Hour},
		{"there is room, which nobody knows yet", false, 2, false, -time.Millisecond},
		{"there is room", false, 3, false, -time.Millisecond},
		{"still", false, 4, false, 0},
	} {
		full = step.full
		if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
			t.Fatalf("%s: %v", step.when, err)
		}
		c.check(t)
		if len(c.sizes) != step.batches {
			t.Errorf("%s: %d batches were sent, want %d", step.when, len(c.sizes), step.batches)
		}
		c.posts.mu.Lock()
		if parted := !c.posts.apart.Equal(set); parted != step.parts {
			t.Errorf("%s: a refusal changed until when commits go alone: %t, want %t", step.when, parted, step.parts)
		}
		set = time.Now().Add(step.until)
		c.posts.apart = set
		c.posts.mu.Unlock()
	}
}

// TestFullStoreRefusesWhatDoesNotFit has more in a batch than the store takes.
func TestFullStoreRefusesWhatDoesNotFit(t *testing.T) {
	c := newCrowd(t, 40, nil)
	before := slices.Clone(c.states)
	info, err := c.js.Stream(t.Context(), streamLoops)
	if err != nil {
		t.Fatal(err)
	}
	config := info.CachedInfo().Config
	config.MaxBytes = int64(info.CachedInfo().State.Bytes) + 20<<10
	if _, err := c.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	landed := 0
	for n, err := range c.commitAll(t.Context(), nil) {
		if err == nil {
			landed++
		} else if !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", before[n].ID, err)
		}
	}
	if landed == 0 || landed == len(c.states) {
		t.Errorf("%d of %d commits landed", landed, len(c.states))
	}
	c.check(t)
	config.MaxBytes = -1
	if _, err := c.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
		t.Errorf("with room again: %v", err)
	}
	c.check(t)
}

// TestCallerThatLeaves stops waiting in the line, and while its batch is under way.
func TestCallerThatLeaves(t *testing.T) {
	c := newCrowd(t, 40, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	c.posts.most = 0
	if _, err := c.post(gone, &post{m: &nats.Msg{}}); !errors.Is(err, context.Canceled) || len(c.posts.waiting) != 0 {
		t.Errorf("in the line: %v, %d wait", err, len(c.posts.waiting))
	}
	c.posts.most = maxUnderWay

	ctx, cancel := context.WithCancel(t.Context())
	leave := make(chan bool)
	send := c.posts.send
	c.posts.send = func(context.Context, string, []*post) (uint64, error) {
		cancel()
		<-leave
		return 0, &jetstream.APIError{Code: 400, ErrorCode: 10176}
	}
	for _, err := range c.commitAll(ctx, nil) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("while its batch is under way: %v", err)
		}
	}
	close(leave)
	c.posts.batches.Wait()
	c.posts.send = send
	c.check(t)
	if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
		t.Fatal(err)
	}
	c.check(t)
}

// TestStreamOfAnOlderVersion has a stream that was made without batches.
func TestStreamOfAnOlderVersion(t *testing.T) {
	c := newCrowd(t, 40, nil)
	info, err := c.js.Stream(t.Context(), streamLoops)
	if err != nil {
		t.Fatal(err)
	}
	old := info.CachedInfo().Config
	old.AllowAtomicPublish = false
	if _, err := c.js.UpdateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
		t.Fatalf("a store that believes that there are batches: %v", err)
	}
	c.check(t)
	for _, readOnly := range []bool{true, false} {
		s, err := Open(t.Context(), c.js, &Options{Group: true, ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.js.Stream(t.Context(), streamLoops)
		if err != nil || s.posts.group == readOnly || info.CachedInfo().Config.AllowAtomicPublish == readOnly {
			t.Errorf("read only %t: batches %t, the stream takes them %t: %v", readOnly, s.posts.group, info.CachedInfo().Config.AllowAtomicPublish, err)
		}
		s.Close()
	}
	if _, err := c.js.UpdateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), fixed{c.js}, &Options{Group: true})
	if err != nil || s.posts.group {
		t.Fatalf("a stream that can't be changed: batches %t, %v", s.posts.group, err)
	}
	s.Close()
}

// fixed has streams that can't be changed.
type fixed struct{ jetstream.JetStream }

func (fixed) UpdateStream(context.Context, jetstream.StreamConfig) (jetstream.Stream, error) {
	return nil, errors.New("not allowed")
}
