package kvstate

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestARushLastsUntilItIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, over := 0, 0
		r := rush{begin: func() func() { began++; return func() { over++ } }}
		want := func(when string, begins, ends int) {
			t.Helper()
			if synctest.Wait(); began != begins || over != ends {
				t.Errorf("%s: began %d times and was over %d times, want %d and %d", when, began, over, begins, ends)
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

// TestTwoBatchesSideBySideAreARush, and one is not.
func TestTwoBatchesSideBySideAreARush(t *testing.T) {
	for _, many := range []struct{ commits, want int }{{worthGroup, 0}, {maxGroup + worthSecond, 1}} {
		c := newCrowd(t, many.commits, nil)
		began, over := 0, 0
		c.rush.begin = func() func() { began++; return func() { over++ } }
		for _, err := range c.commitAll(t.Context(), nil) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if c.check(t); began != many.want {
			t.Errorf("%d commits began %d rushes, want %d", many.commits, began, many.want)
		}
		if err := c.Close(); err != nil || over != began {
			t.Errorf("%d of %d rushes are over at the end: %v", over, began, err)
		}
	}
}
