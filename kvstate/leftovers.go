package kvstate

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// Removing the records that a snapshot replaces costs the server a look at every
// message between the first and the last of them, during which it takes nothing
// else: a millisecond when a thousand loops are at work. While commits wait for
// each other, snapshots are therefore published without a rollup, and what they
// replace is removed when it is calm again.
const (
	calm         = time.Second    // without a batch
	maxLeftovers = 512 << 20      // bytes; beyond, snapshots are rollups again
	longEnough   = 24 * time.Hour // of retention: leftovers are gone long before
	recordCost   = 1 << 10        // of a record beside its parts
)

// leftovers are records that snapshots of this process have replaced and that are
// still there. A process that ends leaves those of settled loops to the sweep of
// the next one, and those of others to their next snapshots.
type leftovers struct {
	mu    sync.Mutex
	all   map[loops.ID]leftover
	bytes int64
	last  time.Time     // when a batch was sent or acknowledged
	wake  chan struct{} // has room for one
}

// leftover is what a loop has before its newest snapshot.
type leftover struct {
	before uint64 // the revision of the snapshot
	bytes  int64
}

// press notes that commits wait for each other.
func (l *leftovers) press() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
}

// mayStay reports whether what w replaces may stay for a while. Without marks, or
// with a short retention, the last snapshot of a loop could expire before its
// leftovers are gone, and nothing would tell that they count for nothing.
func (s *Store) mayStay(w *write) bool {
	if !w.rollup || w.replaces == 0 || s.marks == nil || s.opts.Retention > 0 && s.opts.Retention < longEnough {
		return false
	}
	l := &s.leftovers
	l.mu.Lock()
	ok := time.Since(l.last) < calm && l.bytes+w.replaces <= maxLeftovers
	l.mu.Unlock()
	return ok && s.room(context.Background(), maxLeftovers) == nil
}

// note notes that the snapshot w has been stored at seq, and whether what it
// replaces is still there.
func (l *leftovers) note(w *write, seq uint64, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := w.Head.ID
	was := l.all[id]
	l.bytes -= was.bytes
	delete(l.all, id)
	if !there {
		return
	}
	if l.all == nil {
		l.all = map[loops.ID]leftover{}
	}
	l.all[id] = leftover{seq, was.bytes + w.replaces}
	l.bytes += was.bytes + w.replaces
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next returns a leftover and how long it has to be calm still before it is
// removed. An empty id: there is none.
func (l *leftovers) next() (loops.ID, leftover, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, one := range maps.All(l.all) {
		return id, one, calm - time.Since(l.last)
	}
	return "", leftover{}, 0
}

// removed notes that what was left of a loop is gone, unless there is more by now.
func (l *leftovers) removed(id loops.ID, one leftover) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[id] == one {
		l.bytes -= one.bytes
		delete(l.all, id)
	}
}

// tidy removes leftovers whenever it is calm, one after the other, until the
// store is closed.
func (s *Store) tidy() {
	var heads jetstream.Stream
	for {
		id, one, wait := s.leftovers.next()
		switch {
		case id == "":
			select {
			case <-s.ctx.Done():
				return
			case <-s.leftovers.wake:
			}
			continue
		case wait > 0:
			sleep(s.ctx, nil, time.Now().Add(wait))
		default:
			var err error
			if heads == nil {
				heads, err = s.js.Stream(s.ctx, streamLoops)
			}
			if err == nil {
				err = heads.Purge(s.ctx, jetstream.WithPurgeSubject(subject(id)), jetstream.WithPurgeSequence(one.before))
			}
			if err == nil {
				s.leftovers.removed(id, one)
				continue
			}
			s.log.Debug("records that were replaced stay for a while", slog.String("loop", string(id)), slog.Any("err", err))
			sleep(s.ctx, nil, time.Now().Add(calm))
		}
		if s.ctx.Err() != nil {
			return
		}
	}
}
