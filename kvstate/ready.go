package kvstate

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"example.com/loop-mcp/loops"
)

// queue holds the loops that want a worker. Its users hold the projection's mu.
type queue struct {
	alive   func(owner string) bool
	due     []loops.ID          // in the order in which they came; may hold some that are no more
	waiting map[loops.ID]want   // every loop that is in due, later or claimed
	later   sleepers            // by wake time; may hold some that are no more
	claimed map[loops.ID]*entry // wanted, but their owner lives
	handed  map[loops.ID]uint64 // the revision that was handed out last
	wake    chan struct{}       // closes when there is something new; nil while nobody waits
	asked   time.Time           // when next was called last
	closed  bool
}

// want is why a loop is in the queue.
type want struct {
	rev uint64
	due bool
}

// sleeper is a loop that wants a worker at a moment to come.
type sleeper struct {
	at  time.Time
	id  loops.ID
	rev uint64
}

type sleepers []sleeper

func (s sleepers) Len() int           { return len(s) }
func (s sleepers) Less(i, j int) bool { return s[i].at.Before(s[j].at) }
func (s sleepers) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *sleepers) Push(x any)        { *s = append(*s, x.(sleeper)) }
func (s *sleepers) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

// update puts a loop where it belongs now.
func (q *queue) update(e *entry) {
	id := e.Head.ID
	was := q.waiting[id]
	delete(q.waiting, id)
	delete(q.claimed, id)
	at, wants := e.Head.WantsWorker()
	if !wants || q.handed[id] == e.rev {
		return
	}
	if owner := e.Head.Claim.Owner; owner != "" && q.alive(owner) {
		q.claimed[id] = e
		return
	}
	if due, wait := dueAt(at, e.Head.UpdatedAt, time.Now()); wait {
		q.waiting[id] = want{rev: e.rev}
		heap.Push(&q.later, sleeper{due, id, e.rev})
	} else {
		q.waiting[id] = want{rev: e.rev, due: true}
		if !was.due { // else it keeps its place
			q.due = append(q.due, id)
		}
	}
	q.notify()
}

// dueAt returns the moment at, of a record that was made at another one, by the
// clock that nobody sets; wait is false when it is over. A record of the future
// tells that the clock was set back: the wait is then as long as it was to be.
func dueAt(at, made, now time.Time) (due time.Time, wait bool) {
	left := at.Sub(now.Round(0))
	if made.After(now) {
		left = at.Sub(made)
	}
	return now.Add(left), left > 0
}

// clockSet notices that the machine slept or that its clock was set ahead, and
// wakes what is due by it. One that is set back changes nothing.
func (q *queue) clockSet(now time.Time) {
	if !q.asked.IsZero() {
		ahead := now.Round(0).Sub(q.asked.Round(0)) - now.Sub(q.asked)
		for i := range q.later {
			if ahead > time.Second {
				q.later[i].at = q.later[i].at.Add(-ahead) // all alike: the order stays
			}
		}
	}
	q.asked = now
}

// remove forgets a loop.
func (q *queue) remove(id loops.ID) {
	delete(q.waiting, id)
	delete(q.claimed, id)
	delete(q.handed, id)
}

// next takes the first loop that is due, or returns when the next one is.
func (q *queue) next(now time.Time) (loops.ID, time.Time) {
	q.clockSet(now)
	for len(q.later) > 0 {
		first := q.later[0]
		w, ok := q.waiting[first.id]
		current := ok && w.rev == first.rev && !w.due
		if current && first.at.After(now) {
			break
		}
		heap.Pop(&q.later)
		if current {
			q.waiting[first.id] = want{rev: first.rev, due: true}
			q.due = append(q.due, first.id)
		}
	}
	for len(q.due) > 0 {
		id := q.due[0]
		q.due = q.due[1:]
		if w, ok := q.waiting[id]; ok && w.due {
			delete(q.waiting, id)
			q.handed[id] = w.rev
			return id, time.Time{}
		}
	}
	if len(q.later) > 0 {
		return "", q.later[0].at
	}
	return "", time.Time{}
}

func (q *queue) notify() {
	if q.wake != nil {
		close(q.wake)
		q.wake = nil
	}
}

// Ready implements [loops.Store]. Loops are handed out in the order in which
// they began to want a worker.
func (s *Store) Ready(ctx context.Context) (loops.ID, uint64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", 0, fmt.Errorf("wait for a loop to work on: %w", err)
		}
		// A claim under a lease that is lost would be nobody's.
		if _, _, err := s.Lease(ctx); err != nil {
			return "", 0, fmt.Errorf("wait for a loop to work on: %w", err)
		}
		id, rev, at, wake, closed := s.projection.nextReady()
		if closed {
			return "", 0, fmt.Errorf("wait for a loop to work on: %w", loops.ErrClosed)
		}
		if id != "" {
			return id, rev, nil
		}
		sleep(ctx, wake, at)
	}
}

func (p *projection) nextReady() (id loops.ID, rev uint64, at time.Time, wake <-chan struct{}, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &p.ready
	if q.closed {
		return "", 0, time.Time{}, nil, true
	}
	if id, at = q.next(time.Now()); id != "" {
		return id, q.handed[id], at, nil, false
	}
	if q.wake == nil {
		q.wake = make(chan struct{})
	}
	return "", 0, at, q.wake, false
}

// maxSleep bounds a sleep, because a timer does not see that the machine was
// suspended or its clock was set.
const maxSleep = 30 * time.Second

// sleep returns when ctx ends, wake closes or the moment at may have come.
func sleep(ctx context.Context, wake <-chan struct{}, at time.Time) {
	var alarm <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(min(time.Until(at), maxSleep))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-alarm:
	}
}

// Requeue implements [loops.Store].
func (s *Store) Requeue(id loops.ID) {
	p := &s.projection
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ready.handed, id)
	if e := p.entries[id]; e != nil {
		p.ready.update(e)
	}
}

// recheck hands out the loops whose owner has died.
func (p *projection) recheck() {
	p.mu.Lock()
	defer p.mu.Unlock()
	lives := map[string]bool{}
	for _, e := range p.ready.claimed {
		owner := e.Head.Claim.Owner
		if _, known := lives[owner]; !known {
			lives[owner] = p.ready.alive(owner)
		}
		if !lives[owner] {
			p.ready.update(e)
		}
	}
}

// close ends every wait.
func (p *projection) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready.closed = true
	p.ready.notify()
	p.watch.close()
}
