package kvstate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// soloist is a store that commits to a loop of its own every few milliseconds, of
// virtual time, as one of many that do.
type soloist struct {
	*messy
	busy context.CancelFunc // ends the commits
	over chan loops.State   // what the loop is at then

	others int // consumers of others
}

func newSoloist(t *testing.T, opts *Options) *soloist {
	t.Helper()
	s := &soloist{messy: newMessy(t, opts)}
	s.begin(s.loop("busy-aaaa", 0, 0), true)
	return s
}

func (s *soloist) begin(l loops.State, rush bool) {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.busy, s.over = cancel, make(chan loops.State, 1)
	go func() {
		for ; ctx.Err() == nil; sleep(ctx, nil, time.Now().Add(soloPace/4)) {
			if rush {
				s.rush.press()
			}
			l = s.commit(l)
		}
		s.over <- l
	}()
	s.t.Cleanup(cancel)
}

// pause ends the commits.
func (s *soloist) pause() loops.State {
	s.busy()
	return <-s.over
}

// wants checks whether the process follows solo, as it has to within a moment, and
// that there is a consumer of it unless it does.
func (s *soloist) wants(when string, solo bool) {
	s.t.Helper()
	time.Sleep(3 * soloPace)
	synctest.Wait()
	s.projection.mu.Lock()
	on := s.projection.solo.on
	s.projection.mu.Unlock()
	if n := consumers(s.t, s.js) - s.others; on != solo || n == 0 != solo {
		s.t.Errorf("%s it follows solo: %t, with %d consumers; want %t", when, on, n, solo)
	}
}

func consumers(t *testing.T, js jetstream.JetStream) (n int) {
	t.Helper()
	stream, err := js.Stream(t.Context(), streamLoops)
	if err != nil {
		t.Fatal(err)
	}
	for range stream.ListConsumers(t.Context()).Info() {
		n++
	}
	return n
}

// another is another process at the same store.
func (s *soloist) another() *Store {
	s.t.Helper()
	other, err := Open(s.t.Context(), s.js, &Options{Runner: "other"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { other.Close() })
	s.others++
	return other
}

// TestARushReadsNothingOfItsOwn, lists it all the same, and reads again when it is over.
func TestARushReadsNothingOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rushes := 0
		s := newSoloist(t, &Options{Rush: func() func() { rushes++; return func() { rushes = -rushes } }})
		s.wants("in a rush", true)
		watched, stop := context.WithCancel(t.Context())
		defer stop()
		var saw []loops.Status
		go func() {
			for head := range s.Watch(watched, "mine-aaaa", 0) {
				saw = append(saw, head.Status)
			}
		}()
		synctest.Wait()
		mine := s.loop("mine-aaaa", 2, 100)
		if heads, err := s.List(t.Context()); err != nil || len(heads) != 2 || !slices.ContainsFunc(heads, func(h loops.Head) bool { return h.Rev == mine.Rev }) {
			t.Errorf("listed are %v, %v", heads, err)
		}
		synctest.Wait()
		mine = s.settle(mine)
		if n, err := s.CountLive(t.Context(), false); n != 1 || err != nil {
			t.Errorf("%d loops are live, want 1: %v", n, err)
		}
		if synctest.Wait(); !slices.Contains(saw, loops.Paused) || saw[len(saw)-1] != loops.Completed {
			t.Errorf("watched was %v", saw)
		}
		s.wants("after all that", true)

		last := s.pause()
		s.wants("when nothing is committed", false)
		s.begin(last, true)
		s.wants("when it goes on", true)
		s.begin(s.pause(), false)
		time.Sleep(calm)
		s.wants("when the rush is over", false)
		s.pause()
		if rushes != -1 {
			t.Errorf("the program was told of %d rushes, want one that is over", rushes)
		}
	})
}

// TestARushSeesWhatOthersWrite between two of its own commits, or after the last one,
// without that anybody asks for it; and reads on as long as others write.
func TestARushSeesWhatOthersWrite(t *testing.T) {
	for _, last := range []bool{false, true} {
		t.Run(fmt.Sprintf("after the last own commit %t", last), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSoloist(t, &Options{})
				other := s.another()
				time.Sleep(2 * calm)
				s.wants("in a rush", true)
				if last {
					s.pause()
				}
				l := crowdLoop(7)
				l.Status = loops.Queued
				theirs, err := other.Create(t.Context(), l)
				if err != nil {
					t.Fatal(err)
				}
				s.wants("when there is another process", false)
				if rev := s.projection.rev(theirs.ID); rev != theirs.Rev {
					t.Errorf("their loop is known at revision %d, want %d", rev, theirs.Rev)
				}
				if id, _, err := s.Ready(t.Context()); id != theirs.ID || err != nil {
					t.Errorf("%s wants a worker, want %s: %v", id, theirs.ID, err)
				}
				if last {
					return
				}
				time.Sleep(calm - 5*soloPace)
				s.wants("before it is calm", false)
				time.Sleep(3 * soloPace)
				s.wants("when the other process is calm", true)
				for range 3 { // each is in the next list
					if theirs, err = other.Commit(t.Context(), theirs); err != nil {
						t.Fatal(err)
					}
					heads, err := s.List(t.Context())
					if err != nil || !slices.ContainsFunc(heads, func(h loops.Head) bool { return h.Rev == theirs.Rev }) {
						t.Errorf("revision %d is not listed: %v, %v", theirs.Rev, heads, err)
					}
				}
				s.pause()
			})
		})
	}
}

// TestARushSeesThatALoopIsGone: the server has removed it and says so.
func TestARushSeesThatALoopIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSoloist(t, &Options{Retention: time.Minute})
		busy := s.pause()
		s.settle(s.loop("gone-aaaa", 1, 100))
		time.Sleep(time.Minute - time.Second)
		s.begin(busy, true)
		s.wants("in a rush", true)
		time.Sleep(goneGrace / 2)
		if rev := s.projection.rev("gone-aaaa"); rev != 0 {
			t.Errorf("the loop is known at revision %d", rev)
		}
		s.pause()
	})
}

// TestARushFindsACommitOfWhichNobodyHeard: the batch is stored, its acknowledgement is
// lost, and nobody waits for it any more.
func TestARushFindsACommitOfWhichNobodyHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		var c *crowd
		c = newCrowd(t, worthGroup, func(ctx context.Context, id string, group []*post) (uint64, error) {
			defer leave()
			_, err := c.sendBatch(ctx, id, group)
			return 0, errors.Join(err, errors.New("the acknowledgement is lost"))
		})
		s := &soloist{messy: &messy{Store: c.Store, t: t}}
		s.begin(s.loop("busy-aaaa", 0, 0), true)
		s.wants("in a rush", true)
		for n, err := range c.commitAll(ctx, nil) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", c.states[n].ID, err)
			}
		}
		s.wants("after the loss", false)
		for _, was := range c.states {
			if rev := c.projection.rev(was.ID); rev <= was.Rev {
				t.Errorf("%s is known at revision %d, before the batch", was.ID, rev)
			}
		}
		s.pause()
	})
}

// TestARushBeginsAnewWithAServerThatLostTheEnd of what this process has committed, and
// with any other that takes over.
func TestARushBeginsAnewWithAServerThatLostTheEnd(t *testing.T) {
	for _, lost := range []bool{true, false} {
		t.Run(fmt.Sprintf("lost %t", lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSoloist(t, &Options{})
				kept := s.loop("kept-aaaa", 1, 100)
				s.wants("in a rush", true)
				busy := s.pause()
				if lost {
					gone, e := kept, &entry{header: header{Kind: delta}}
					gone.Rev = busy.Rev + 1
					e.Head = gone.Head()
					s.projection.expect("of which the server knows nothing", e)
					s.projection.committed(e, values{}, gone.Rev)
					if at := s.projection.position(); at != gone.Rev {
						t.Errorf("solo it is at %d, want %d", at, gone.Rev)
					}
				}
				s.projection.doubt() // as when the connection breaks
				s.line.renew()
				time.Sleep(calm)
				s.begin(busy, true)
				if heads, err := s.List(t.Context()); err != nil || len(heads) != 2 || s.projection.rev(kept.ID) != kept.Rev {
					t.Errorf("listed are %v, %v; want revision %d", heads, err, kept.Rev)
				}
				time.Sleep(calm)
				s.wants("when all is read", true)
				s.check(kept)
				s.pause()
			})
		})
	}
}

// TestAStoreThatIsClosedInARushLeavesNoConsumer and no goroutine, which would keep the
// bubble from its end.
func TestAStoreThatIsClosedInARushLeavesNoConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSoloist(t, &Options{Mark: filepath.Join(t.TempDir(), "marks")})
		s.wants("in a rush", true)
		s.pause()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := consumers(t, s.js); n != 0 {
			t.Errorf("%d consumers are left", n)
		}
		s.projection.solo.on = true // by what the consumer read last
		if err := s.consumeOn(s.ctx, 0); err == nil || !s.projection.reads(math.MaxUint64) {
			t.Errorf("the next consumer would read nothing: %v", err)
		}
	})
}

// TestSoloGoesOnOverWhatIsKnownAlone: acknowledgements come in any order, and those
// of a server that has ended since say nothing about the one that is there now.
func TestSoloGoesOnOverWhatIsKnownAlone(t *testing.T) {
	p := newProjection()
	var entries [20]*entry
	send := func(revs ...uint64) {
		for _, rev := range revs {
			entries[rev] = &entry{header: header{Kind: snapshot, Head: loops.Head{ID: loops.ID(fmt.Sprint("a-", rev)), Status: loops.Paused}}}
			p.expect("text", entries[rev])
		}
	}
	acknowledge := func(want uint64, revs ...uint64) {
		t.Helper()
		for _, rev := range revs {
			p.committed(entries[rev], values{}, rev)
		}
		if at := p.position(); at != want {
			t.Errorf("after %v it is at %d, want %d", revs, at, want)
		}
	}
	begins := func(want bool, pass uint64) {
		t.Helper()
		if p.pass(pass); p.solo.on != want {
			t.Errorf("after %d it follows solo: %t", pass, p.solo.on)
		}
	}
	send(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	acknowledge(0, 1)
	begins(false, 1) // no rush
	p.hurry(true)
	acknowledge(1, 4)
	begins(false, 3) // the consumer has not come to 4 yet
	p.trust(p.line, 5)
	begins(false, 4) // nor to 5
	begins(true, 5)
	acknowledge(5, 7, 9, 8)
	acknowledge(9, 6)
	if passed := p.behind(10); passed == nil || p.behind(9) != nil {
		t.Error("who waits for 10 has to wait, and for 9 not")
	}
	acknowledge(9, 11)
	begins(true, 10) // the consumer was about to end
	if at := p.endSolo(); at != 11 {
		t.Errorf("the consumer goes on after %d, want 11", at)
	}
	begins(true, 11)
	passed := p.behind(12)
	acknowledge(12, 12)
	select {
	case <-passed:
	default:
		t.Error("who waits for 12 is not woken")
	}

	send(13, 14, 15)
	p.doubt()
	send(13)
	acknowledge(12, 13, 14) // nobody knows of which server
	p.trust(p.line-1, 12)
	if p.behind(12) == nil {
		t.Error("an answer before the doubt ends the doubt")
	}
	p.trust(p.line, 12)
	p.endSolo()
	begins(true, 14)
	acknowledge(14, 15) // of a server that has ended
	send(15)
	earlier := entries[15]
	send(15) // to the same loop at once
	p.committed(earlier, values{}, 15)
	acknowledge(14)
	p.endSolo()
	p.solo.foreign = time.Time{}
	begins(true, 15)
	p.endSolo()
	p.removed("a-1", 16)
	begins(false, 16)
	p.solo.foreign = time.Time{}
	p.received("b", 17, "somebody else's", time.Time{})
	begins(false, 17)
}
