package kvstate

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
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
	h, err := embed.Start(t.Context(), embed.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	js, err := jetstream.New(h.Conn())
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{}
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

// TestASecondBatchGoesBesideTheFirst holds the first batch until the second one has
// landed; the first is then refused because of a loop that another process has
// changed, and goes again without it.
func TestASecondBatchGoesBesideTheFirst(t *testing.T) {
	var c *crowd
	var rival *Store
	var taken loops.ID
	var held int // commits of the batch that is held
	second, calls := make(chan struct{}), make(chan int, 10)
	c = newCrowd(t, maxGroup+worthSecond, func(ctx context.Context, id string, group []*post) (uint64, error) {
		calls <- len(group)
		switch len(calls) {
		case 1:
			select {
			case <-second:
			case <-ctx.Done():
				t.Error("no second batch came while the first was under way")
			}
			taken, held = group[7].id, len(group)
			s, err := rival.Load(ctx, taken)
			if err == nil {
				_, err = rival.Commit(ctx, s)
			}
			if err != nil {
				t.Error(err)
			}
		case 2:
			defer close(second)
		}
		return c.sendBatch(ctx, id, group)
	})
	var err error
	if rival, err = Open(t.Context(), c.js, nil); err != nil {
		t.Fatal(err)
	}
	defer rival.Close()
	for n, err := range c.commitAll(t.Context(), nil) {
		if id := c.states[n].ID; (id == taken) != errors.Is(err, loops.ErrConflict) || id != taken && err != nil {
			t.Errorf("%s, taken by another %t: %v", id, id == taken, err)
		}
	}
	if slices.Sort(c.sizes[:2]); !slices.Equal(c.sizes, []int{worthSecond, maxGroup, held - 1}) {
		t.Errorf("batches of %v, want %d and %d at once, then %d", c.sizes, worthSecond, maxGroup, held-1)
	}
	c.reload(t)
	c.check(t)
}

// TestFewCommitsWaitForTheBatchUnderWay has a batch and not enough for another: none
// goes alone beside it, and all go when it ends.
func TestFewCommitsWaitForTheBatchUnderWay(t *testing.T) {
	var c *crowd
	c = newCrowd(t, maxGroup+worthSecond-1, func(ctx context.Context, id string, group []*post) (uint64, error) {
		c.posts.mu.Lock()
		if c.posts.underWay != 1 {
			t.Errorf("%d are under way beside a batch of %d", c.posts.underWay-1, len(group))
		}
		c.posts.mu.Unlock()
		return c.sendBatch(ctx, id, group)
	})
	if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
		t.Fatal(err)
	}
	c.check(t)
	if want := []int{maxGroup, worthSecond - 1}; !slices.Equal(c.sizes, want) {
		t.Errorf("batches of %v, want %v", c.sizes, want)
	}
}

// TestWhatBeginsOrEndsALoopGoesFirst has more commits in the line than go at once.
func TestWhatBeginsOrEndsALoopGoesFirst(t *testing.T) {
	c := newCrowd(t, 6, nil)
	var order []loops.ID
	c.posts.most = 0
	for n, is := range []bool{false, true, false, true, false, true} {
		c.posts.add(c.Store, &post{m: &nats.Msg{}, id: c.states[n].ID, first: is})
	}
	for _, p := range c.posts.waiting {
		order = append(order, p.id)
	}
	c.posts.waiting = nil
	want := []loops.ID{"crowd-0001", "crowd-0003", "crowd-0005", "crowd-0000", "crowd-0002", "crowd-0004"}
	if !slices.Equal(order, want) {
		t.Errorf("in the line: %v, want %v", order, want)
	}
}

// TestAFloodOfStartsLeavesRoomForLoopsThatRun: three quarters, if they want it, of
// each batch and of the commits that go alone.
func TestAFloodOfStartsLeavesRoomForLoopsThatRun(t *testing.T) {
	for _, many := range []struct{ starts, others, want int }{
		{2 * maxGroup, 2 * maxGroup, maxGroup * 3 / 4}, {2 * maxGroup, 3, 3}, {2 * maxGroup, 0, 0}, {10, 2 * maxGroup, maxGroup - 10},
	} {
		q := &posts{group: true}
		for n := range many.starts + many.others {
			q.waiting = append(q.waiting, &post{m: &nats.Msg{}, id: loops.ID(fmt.Sprint("flood-", n)), first: n < many.starts, start: n < many.starts})
		}
		group, others := q.together(), 0
		for _, p := range group {
			if !p.start {
				others++
			}
		}
		if len(group) != maxGroup || others != many.want {
			t.Errorf("%d starts and %d others: a batch of %d with %d others, want %d with %d", many.starts, many.others, len(group), others, maxGroup, many.want)
		}
	}
	q, order := &posts{most: 1}, ""
	for n := range 12 {
		q.waiting = append(q.waiting, &post{m: &nats.Msg{}, first: n < 6, start: n < 6, turn: make(chan posted, 1)})
	}
	for range 12 {
		all := slices.Clone(q.waiting)
		q.underWay = 0
		q.next(&Store{})
		for _, p := range all {
			if p.taken {
				order += map[bool]string{true: "s", false: "o"}[p.start]
			}
		}
	}
	if want := "sooosooossss"; order != want {
		t.Errorf("in the order %s, want %s: s is a start", order, want)
	}
}

// BenchmarkBatch commits to as many loops as a batch has, all at once, b.N times:
// one batch each time, or one message where so few go alone.
//
//	strace -f -c -e trace=fsync,fdatasync ./kvstate.test -test.run '^$' -test.bench Batch/commits=64 -test.benchtime 100x
func BenchmarkBatch(b *testing.B) {
	for _, many := range []int{1, worthGroup, 64, maxGroup} {
		b.Run(fmt.Sprintf("commits=%d", many), func(b *testing.B) {
			c := newCrowd(b, many, nil)
			for b.Loop() {
				if err := errors.Join(c.commitAll(b.Context(), nil)...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(c.sizes)), "batches")
			b.ReportMetric(float64(b.N*many)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

func TestCommitsThatWaitGoTogether(t *testing.T) {
	c := newCrowd(t, maxGroup+20, nil)
	for range 3 {
		if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
			t.Fatal(err)
		}
		c.check(t)
	}
	if slices.Max(c.sizes) != maxGroup || len(c.sizes) > 6 {
		t.Errorf("batches of %v, want three of %d and three of 20 commits", c.sizes, maxGroup)
	}
}

func TestFewCommitsGoAlone(t *testing.T) {
	c := newCrowd(t, worthGroup-1, nil)
	if err := errors.Join(c.commitAll(t.Context(), nil)...); err != nil {
		t.Fatal(err)
	}
	if c.check(t); len(c.sizes) != 0 {
		t.Errorf("batches of %v", c.sizes)
	}
}

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
				if h, _, ok := c.projection.at(s.ID, s.Rev); !ok || h.Count != 1 {
					t.Errorf("%s was written %d times", s.ID, h.Count)
				}
			}
		})
	}
}

// TestLargeCommitsGoAlone has commits in the crowd that are too large for a batch.
func TestLargeCommitsGoAlone(t *testing.T) {
	c := newCrowd(t, 40, nil)
	noise := make([]byte, maxGrouped)
	_, _ = rand.Read(noise) // never fails
	text := base64.StdEncoding.EncodeToString(noise)
	errs := c.commitAll(t.Context(), func(n int, s *loops.State) {
		if n%10 == 0 {
			s.Why, s.New.Events = text[:200_000], []loops.Event{{Type: loops.EventNudge, Text: text[len(text)-200_000:]}}
		}
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	c.check(t)
	if !slices.Equal(c.sizes, []int{36}) {
		t.Errorf("batches of %v, want one of 36 commits", c.sizes)
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
