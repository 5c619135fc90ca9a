package loops

import (
	"context"
	"sync"
	"time"
)

// clock knows how old a record is, whatever was done to the system's clock since
// this process has seen it first. Records hold times of day, because processes
// have nothing else in common; between two looks at a record by one process, a
// clock that nobody sets counts.
//
// A clock that is ahead and a machine that slept look alike without uptime: the
// time then counts as passed. A clock that is behind is a clock that was set.
type clock struct {
	now    func() time.Time
	ran    func() time.Duration // that nobody sets; without the time asleep on some systems
	uptime func() time.Duration // with the time asleep; nil: not known

	mu   sync.Mutex
	seen map[ID]sight
}

// sight is when a record was seen.
type sight struct {
	rev uint64
	at  time.Time
	ran time.Duration
	up  time.Duration
	age time.Duration // of the record then
}

// maxSeen bounds the records that a process remembers.
const maxSeen = 20_000

// jitter is by how much clocks may differ without having been set.
const jitter = time.Second

func newClock(uptime func() time.Duration) *clock {
	if uptime != nil && uptime() <= 0 {
		uptime = nil
	}
	began := time.Now()
	return &clock{now: time.Now, ran: func() time.Duration { return time.Since(began) }, uptime: uptime, seen: map[ID]sight{}}
}

// see notes that the record of s was seen now, so long after it was made. A
// settled loop waits for nothing.
func (c *clock) see(s *State, age time.Duration, now time.Time) {
	g := sight{rev: s.Rev, at: now.Round(0), ran: c.ran(), age: age}
	if c.uptime != nil {
		g.up = c.uptime()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Status.Settled() {
		delete(c.seen, s.ID)
		return
	}
	if len(c.seen) >= maxSeen { // others settle loops, too
		for id := range c.seen {
			delete(c.seen, id)
			break
		}
	}
	c.seen[s.ID] = g
}

// stored notes that got was stored, which was made at its UpdatedAt.
func (c *clock) stored(got *State) {
	now := c.now()
	c.see(got, max(0, now.Sub(got.UpdatedAt)), now)
}

// present returns s with its times as the clock of now would have shown them,
// and now: what lies between them is what has passed.
func (c *clock) present(s State) (State, time.Time) {
	now := c.presents(&s)
	return s, now
}

// presents is present in place.
func (c *clock) presents(s *State) time.Time { return c.presentAt(s, s.UpdatedAt) }

// Elapsed is how long ago a loop was started, as max_duration counts it: until
// now for one that has not settled, also while nobody works on it, else until it
// settled. s.Elapsed alone is that of the loop's last change.
func (e *Engine) Elapsed(s State) time.Duration {
	if !s.Status.Settled() {
		s.touch(e.clock.presents(&s))
	}
	return time.Duration(s.Elapsed)
}

// due is present for a loop that the store says is due. It may have waited for
// longer than this process has looked at it.
func (c *clock) due(s State) (State, time.Time) {
	now := c.presentAt(&s, s.WakeAt)
	return s, now
}

// presentAt is presents for a record of which at least the time until at is over,
// should the clock have been set back.
func (c *clock) presentAt(s *State, at time.Time) time.Time {
	now := c.now()
	c.mu.Lock()
	g, known := c.seen[s.ID]
	c.mu.Unlock()
	passed := now.Round(0).Sub(s.UpdatedAt.Round(0))
	if passed < 0 {
		passed = max(0, at.Sub(s.UpdatedAt))
	}
	if known && g.rev == s.Rev {
		passed = g.age + c.since(g, now)
	} else {
		c.see(s, passed, now)
	}
	s.UpdatedAt = s.UpdatedAt.Round(0)
	if step := now.Round(0).Add(-passed).Sub(s.UpdatedAt); step > jitter || step < -jitter {
		s.shift(step)
	}
	return now
}

// since is how much time has passed since a sight.
func (c *clock) since(g sight, now time.Time) time.Duration {
	passed := c.ran() - g.ran
	if c.uptime != nil {
		return max(passed, c.uptime()-g.up)
	}
	return max(passed, now.Round(0).Sub(g.at))
}

// shift moves the times of s after the clock was set by step.
func (s *State) shift(step time.Duration) {
	for _, at := range []*time.Time{&s.UpdatedAt, &s.WaitingSince, &s.WaitingUntil, &s.WakeAt} {
		if !at.IsZero() {
			*at = at.Round(0).Add(step)
		}
	}
	if s.Attention != nil {
		a := *s.Attention
		a.Since = a.Since.Round(0).Add(step)
		s.Attention = &a
	}
}

// create stores a new loop.
func (e *Engine) create(ctx context.Context, s State) (State, error) {
	made := s.UpdatedAt
	s, err := e.store.Create(ctx, s)
	if err == nil {
		s.UpdatedAt = made
		e.clock.stored(&s)
	}
	return s, err
}
