package kvstate

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestARushLastsUntilItIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began, over atomic.Int32
		r := rush{begin: func() func() { began.Add(1); return func() { over.Add(1) } }}
		want := func(when string, begins, ends int32) {
			t.Helper()
			if synctest.Wait(); began.Load() != begins || over.Load() != ends {
				t.Errorf("%s: began %d times and was over %d times, want %d and %d", when, began.Load(), over.Load(), begins, ends)
			}
		}
		for range 5 {
			r.press()
			time.Sleep(calm - time.Millisecond)
			want("while it lasts", 1, 0)
		}
		time.Sleep(2 * time.Millisecond)
		want("when it is calm", 1, 1)
		r.press()
		want("the next one", 2, 1)
		r.end()
		want("at the end", 2, 2)
		r.press()
		want("after the end", 2, 2)
	})
}

// TestTwoBatchesSideBySideAreARush, and one is not; nor are few commits that go
// alone, but many are, and what snapshots replace stays then.
func TestTwoBatchesSideBySideAreARush(t *testing.T) {
	for _, many := range []struct {
		commits int
		alone   bool
		want    int32
	}{{worthGroup, false, 0}, {maxGroup + worthSecond, false, 1}, {worthGroup - 1, true, 0}, {worthGroup, true, 1}} {
		c := newCrowd(t, many.commits, nil)
		c.posts.group = !many.alone
		c.leftovers.last = time.Time{}
		var began, over atomic.Int32
		c.rush.begin = func() func() { began.Add(1); return func() { over.Add(1) } }
		for _, err := range c.commitAll(t.Context(), nil) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if c.check(t); began.Load() != many.want {
			t.Errorf("%d commits began %d rushes, want %d", many.commits, began.Load(), many.want)
		}
		if many.alone && c.leftovers.last.IsZero() == (many.want > 0) {
			t.Errorf("%d commits that go alone were last in each other's way at %v", many.commits, c.leftovers.last)
		}
		if err := c.Close(); err != nil || over.Load() != began.Load() {
			t.Errorf("%d of %d rushes are over at the end: %v", over.Load(), began.Load(), err)
		}
	}
}
