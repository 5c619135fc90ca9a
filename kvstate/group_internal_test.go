package kvstate

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/loops"
)

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
