package kvstate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
)

// projection is what this process knows of all loops from their headers.
type projection struct {
	mu      sync.Mutex
	entries map[loops.ID]*entry
	moving  int           // of them, those of live loops
	seen    uint64        // the consumer has passed this sequence
	failed  error         // why the consumer reads nothing now
	doubted bool          // whether the stream still has what was seen is to be asked
	passed  chan struct{} // closes when seen or doubted changes; nil while nobody waits
	ready   queue
	watch   watchers
	order   order
}

// entry is one loop.
type entry struct {
	header
	rev    uint64
	values values // at rev, if they are known
	gone   time.Time
	damage bool
}

// committed takes over a record that this process wrote.
func (p *projection) committed(h header, v values) {
	h.Head = copyHead(h.Head) // its labels are the caller's
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[h.Head.ID]; e != nil && e.rev == h.Head.Rev && !e.damage {
		e.values = v // the consumer was faster, but it has seen the header alone
		return
	}
	p.put(&entry{header: h, rev: h.Head.Rev, values: v})
}

// remember keeps the values of a record that was read, if it is the newest.
func (p *projection) remember(r record, v values) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[r.Head.ID]; e != nil && e.rev == r.seq {
		e.values = v
	}
}

// received takes over a message that the consumer read.
func (p *projection) received(id loops.ID, rev uint64, read func() (header, error), at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.entries[id]
	if old != nil && old.rev >= rev {
		return
	}
	h, err := read()
	if err == nil && old != nil && !old.damage && h.Kind == delta && h.Prev != old.rev {
		err = fmt.Errorf("it follows revision %d, but the record before it is at %d: records are missing", h.Prev, old.rev)
	}
	if err == nil && old != nil && old.damage && h.Kind == delta {
		err = fmt.Errorf("a record before it is damaged")
	}
	if err != nil {
		e := broken(id, rev, at, old, err)
		if errors.Is(err, loops.ErrNewer) {
			e.Head.Pins = h.Head.Pins // the program that can read it will want them
		}
		p.put(e)
		return
	}
	p.put(&entry{header: h, rev: rev})
}

// broken returns the entry of a loop whose newest record does not verify.
func broken(id loops.ID, rev uint64, at time.Time, old *entry, err error) *entry {
	e := &entry{rev: rev, damage: true}
	if old != nil {
		e.header = old.header
	} else {
		name, _, _ := strings.Cut(string(id), "-")
		e.Head = loops.Head{ID: id, Name: name, CreatedAt: at, UpdatedAt: at}
	}
	e.Head.Rev = rev
	e.Head.Status, e.Head.Phase, e.Head.WakeAt, e.Head.Claim = loops.Failed, "", time.Time{}, loops.Claim{}
	e.Head.Summary = fmt.Sprintf("%s %s · %v: %v", id, loops.Failed, loops.ErrDamaged, err)
	return e
}

// quarantine remembers that a loop does not verify at revision rev.
func (p *projection) quarantine(id loops.ID, rev uint64, damage *damageError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.entries[id]
	if old != nil && (old.damage || old.rev > rev) {
		return
	}
	p.put(broken(id, rev, time.Now(), old, damage.err))
}

// put makes e the entry of its loop unless a newer one is there. The caller
// holds mu.
func (p *projection) put(e *entry) {
	id := e.Head.ID
	if old := p.entries[id]; old != nil && (old.rev > e.rev || old.rev == e.rev && !e.damage) {
		return
	}
	if e.Expires != 0 {
		e.gone = time.Unix(e.Expires, 0)
	}
	p.moving += e.live() - p.entries[id].live()
	p.order.replace(p.entries[id], e)
	p.entries[id] = e
	p.ready.update(e)
	p.watch.changed(id)
}

// live is 1 for a loop that has not settled. e may be nil.
func (e *entry) live() int {
	if e == nil || e.Head.Status.Settled() {
		return 0
	}
	return 1
}

// countLive returns how many loops have not settled.
func (p *projection) countLive() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moving
}

// liveAtMost returns a number that is not below countLive once the consumer has
// passed newest. ok is false when the stream may have lost what was seen.
func (p *projection) liveAtMost(newest uint64) (many int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if newest < p.seen || p.doubted {
		return 0, false
	}
	return p.moving + int(newest-p.seen), true
}

// removed forgets a loop whose key is gone.
func (p *projection) removed(id loops.ID, rev uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[id]; e != nil && e.rev < rev {
		p.forget(id)
	}
}

func (p *projection) forget(id loops.ID) {
	p.moving -= p.entries[id].live()
	p.order.replace(p.entries[id], nil)
	delete(p.entries, id)
	p.ready.remove(id)
}

// interrupted notes why the consumer reads nothing; why says it.
func (p *projection) interrupted(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
	p.moved()
}

func (p *projection) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// pass notes how far the consumer has read.
func (p *projection) pass(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.failed = max(p.seen, seq), nil
	p.moved()
}

// moved wakes those who wait for the consumer. The caller holds mu.
func (p *projection) moved() {
	if p.passed != nil {
		close(p.passed)
		p.passed = nil
	}
}

// doubt keeps everybody waiting until it is known that the stream still has what
// was seen.
func (p *projection) doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubted = true
}

// trust ends the doubt.
func (p *projection) trust() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubted, p.failed = false, nil
	p.moved()
}

// restart begins anew with a stream that ends at last, before what was seen. The
// loops whose records are gone are quarantined when marks say that they were
// acknowledged, which Load does as well, and else forgotten, to be read as they
// are stored now.
func (p *projection) restart(last uint64, marked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = 0
	for id, e := range p.entries {
		switch {
		case e.rev <= last:
		case marked:
			p.put(broken(id, e.rev, time.Now(), e, &setBackError{last, e.rev}))
		default:
			p.forget(id)
		}
	}
	for id, rev := range p.ready.handed {
		if rev > last {
			delete(p.ready.handed, id)
		}
	}
}

// behind returns a channel that closes at the next step of the consumer, or nil
// when it has passed seq.
func (p *projection) behind(seq uint64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen >= seq && !p.doubted {
		return nil
	}
	if p.passed == nil {
		p.passed = make(chan struct{})
	}
	return p.passed
}

// at returns what is known of a loop if its newest record is at rev.
func (p *projection) at(id loops.ID, rev uint64) (header, values, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[id]
	if e == nil || e.rev != rev || e.damage {
		return header{}, values{}, false
	}
	return e.header, e.values, true
}

// rev returns the newest revision of a loop that this process has seen.
func (p *projection) rev(id loops.ID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[id]; e != nil {
		return e.rev
	}
	return 0
}

// base returns the revision of a loop's last snapshot as far as it is known.
func (p *projection) base(id loops.ID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[id]; e != nil && !e.damage {
		return e.Base
	}
	return 0
}

// heads returns copies of all heads.
func (p *projection) heads(now time.Time) (heads []loops.Head) {
	p.scan(now, func(h *loops.Head) { heads = append(heads, copyHead(*h)) })
	return heads
}

// over reports whether a loop must be gone: the server said so while nobody was
// listening.
func (e *entry) over(now time.Time) bool { return !e.gone.IsZero() && now.After(e.gone.Add(goneGrace)) }

// scan calls each with all heads.
func (p *projection) scan(now time.Time, each func(*loops.Head)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, e := range p.entries {
		if e.over(now) {
			p.forget(id)
			continue
		}
		each(&e.Head)
	}
}

// goneGrace is how long after its time a settled loop is still believed to be
// there when the server has not said that it is gone.
const goneGrace = 5 * time.Second

func copyHead(h loops.Head) loops.Head {
	h.Labels, h.Pins = maps.Clone(h.Labels), slices.Clone(h.Pins)
	if h.Cancel != nil {
		wish := *h.Cancel
		h.Cancel = &wish
	}
	return h
}
