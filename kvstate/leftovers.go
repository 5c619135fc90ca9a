package kvstate

import (
	"container/list"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// Removing the records that a snapshot replaces costs the server a look at every
// message between the first and the last of them, during which it takes nothing
// else: some milliseconds when a thousand loops are at work. To delete them one by one
// costs as much as that where nothing is synced, and several times as much where
// each deletion is; and a stream that denies it can't be changed. While commits wait
// for each other, snapshots are therefore published without a rollup, and what they
// replace is removed when it is calm again.
const (
	calm       = time.Second    // without a batch, and without commits that wait where there are none
	longEnough = 24 * time.Hour // of retention: leftovers are gone long before
	recordCost = 1 << 10        // of a record beside its parts
)

// MaxLeftovers is how many bytes of records that snapshots have replaced wait for
// their removal at most. When there are as many, or the disk of the store has less
// room than that, a snapshot removes at once what it replaces, and many loops that
// come to their end together go several times slower.
const MaxLeftovers = 512 << 20

// leftovers are records that snapshots of this process have replaced and that are
// still there. A process that ends leaves them to the sweep of the next one.
type leftovers struct {
	mu    sync.Mutex
	all   map[loops.ID]leftover
	order list.List     // of their ids: what is older is in front
	bytes int64         // of all, and of what snapshots under way are about to leave
	last  time.Time     // when commits waited for each other
	wake  chan struct{} // has room for one
}

// leftover is what a loop has before its newest snapshot.
type leftover struct {
	before  uint64 // the revision of the snapshot
	bytes   int64
	objects []string // parts of it that are in the object store
	place   *list.Element
}

// press notes that commits wait for each other.
func (l *leftovers) press() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
}

// mayStay reports whether what w replaces may stay for a while; note or release
// ends that. Without marks, or with a short retention, the last snapshot of a loop
// could expire before its leftovers are gone, and nothing would tell that they
// count for nothing.
func (s *Store) mayStay(w *write) bool {
	if !w.rollup || w.replaces == 0 || s.marks == nil || s.opts.Retention > 0 && s.opts.Retention < longEnough {
		return false
	}
	if !s.leftovers.reserve(w.replaces) {
		return false
	}
	if s.room(context.Background(), MaxLeftovers) != nil {
		s.leftovers.release(w.replaces)
		return false
	}
	return true
}

// reserve counts what a snapshot under way is about to leave, if commits wait for
// each other and it is not too much.
func (l *leftovers) reserve(bytes int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.last) >= calm || l.bytes+bytes > MaxLeftovers {
		return false
	}
	l.bytes += bytes
	return true
}

// release takes back what reserve counted.
func (l *leftovers) release(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes -= bytes
}

// note notes that the snapshot w has been stored at seq, and whether what it
// replaces, which has been reserved, is still there. It returns the objects of
// records that are gone. Those of the others stay as long as they do: a reader
// that has not seen the snapshot yet begins with them.
func (l *leftovers) note(w *write, seq uint64, there bool) (gone []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := w.Head.ID
	was := l.all[id]
	objects := slices.Concat(was.objects, w.old)
	if !there {
		l.forget(id, was)
		return objects
	}
	if l.all == nil {
		l.all = map[loops.ID]leftover{}
	}
	if was.place == nil {
		was.place = l.order.PushBack(id)
	}
	l.all[id] = leftover{seq, was.bytes + w.replaces, objects, was.place}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// forget notes that a loop has nothing left over. The caller holds mu.
func (l *leftovers) forget(id loops.ID, one leftover) {
	if one.place != nil {
		l.order.Remove(one.place)
	}
	l.bytes -= one.bytes
	delete(l.all, id)
}

// next returns the oldest leftover and how long it has to be calm still before it is
// removed. An empty id: there is none. The server reads whole files to remove
// something from them, and keeps them in memory for a while: in this order a few.
func (l *leftovers) next() (loops.ID, leftover, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.order.Front(); first != nil {
		id := first.Value.(loops.ID)
		return id, l.all[id], calm - time.Since(l.last)
	}
	return "", leftover{}, 0
}

// later puts off a leftover that could not be removed.
func (l *leftovers) later(id loops.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one, there := l.all[id]; there {
		l.order.MoveToBack(one.place)
	}
}

// removed notes that a loop's records before a revision are gone, and returns
// their objects. There may be more leftovers by now.
func (l *leftovers) removed(id loops.ID, before uint64) (objects []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, there := l.all[id]
	if !there || one.before > before {
		return nil
	}
	l.forget(id, one)
	return one.objects
}

// tidy removes leftovers whenever it is calm, one after the other, until the
// store is closed.
func (s *Store) tidy() {
	for s.ctx.Err() == nil {
		id, one, wait := s.leftovers.next()
		switch {
		case id == "":
			sleep(s.ctx, s.leftovers.wake, time.Time{})
		case wait > 0:
			sleep(s.ctx, nil, time.Now().Add(wait))
		default:
			if err := s.removeLeftover(s.ctx, id, one); err != nil {
				s.leftovers.later(id)
				s.log.Debug("records that were replaced stay for a while", slog.String("loop", string(id)), slog.Any("err", err))
				sleep(s.ctx, nil, time.Now().Add(calm))
			}
		}
	}
}

// removeLeftover removes what a loop has left, unless the store has lost its
// snapshot since.
func (s *Store) removeLeftover(ctx context.Context, id loops.ID, one leftover) error {
	heads, err := s.js.Stream(ctx, streamLoops)
	switch {
	case err != nil:
		return err
	case heads.CachedInfo().State.LastSeq < one.before || s.projection.damaged(id): // it keeps everything
		s.leftovers.removed(id, one.before)
		return nil
	}
	// gofail: var beforeTidy struct{}
	err = s.removeBefore(ctx, heads, id, one.before)
	// gofail: var afterTidy struct{}
	return err
}

// removeBefore removes the records of a loop before one of its snapshots, then
// their objects.
func (s *Store) removeBefore(ctx context.Context, heads jetstream.Stream, id loops.ID, rev uint64) error {
	err := heads.Purge(ctx, jetstream.WithPurgeSubject(subject(id)), jetstream.WithPurgeSequence(rev))
	// gofail: var duringTidy struct{}
	if err == nil {
		s.discard(id, s.leftovers.removed(id, rev))
	}
	return err
}
