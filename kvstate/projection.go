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
	sent    map[loops.ID]sent
	moving  int    // of them, those of live loops
	seen    uint64 // the consumer has passed this sequence, or what it would have read is known (solo)
	newest  uint64 // the newest one that the server has given, as far as is known
	failed  error  // why the consumer reads nothing now
	doubted bool   // whether the stream still has what was seen is to be asked
	line    uint64 // grows whenever the server may be one that knows less
	solo    solo
	passed  chan struct{} // closes when seen or doubted changes; nil while nobody waits
	ready   queue
	watch   watchers
	order   order
	bodies  int // bytes of those that entries have
}

// entry is one loop.
type entry struct {
	header
	rev    uint64
	values values // at rev, if they are known
	gone   time.Time
	damage bool
	body   []byte // of the record, if this process wrote it and a worker is to take the loop up; else nil
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
func (p *projection) received(id loops.ID, rev uint64, text string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.entries[id]
	if old != nil && old.rev >= rev {
		return
	}
	e, err := p.read(text, id, rev)
	if err == nil && old != nil && !old.damage && e.Kind == delta && e.Prev != old.rev {
		err = fmt.Errorf("it follows revision %d, but the record before it is at %d: records are missing", e.Prev, old.rev)
	}
	if err == nil && old != nil && old.damage && e.Kind == delta {
		err = fmt.Errorf("a record before it is damaged")
	}
	if err != nil {
		pins := e.Head.Pins
		e = broken(id, rev, at, old, err)
		if errors.Is(err, loops.ErrNewer) {
			e.Head.Pins = pins // the program that can read it will want them
		}
	}
	p.put(e)
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
	p.swapBody(p.entries[id], e)
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

// damaged reports whether a loop does not verify, as far as is known.
func (p *projection) damaged(id loops.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[id]
	return e != nil && e.damage
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
	p.solo.foreign = time.Now()
	if e := p.entries[id]; e != nil && e.rev < rev {
		p.forget(id)
	}
}

func (p *projection) forget(id loops.ID) {
	p.swapBody(p.entries[id], nil)
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
	p.seen, p.newest, p.failed = max(p.seen, seq), max(p.newest, seq), nil
	p.advance()
	p.trySolo()
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
	p.line++
}

// trust ends the doubt, unless there is a new one: that line is another one. The
// stream ends at last.
func (p *projection) trust(line, last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubted, p.failed, p.solo.until = p.doubted && line != p.line, nil, last
	p.moved()
}

// restart begins anew with a stream that ends at last, before what was seen. The
// loops whose records are gone are quarantined when marks say that they were
// acknowledged, which Load does as well, and else forgotten, to be read as they
// are stored now. The line is the next one.
func (p *projection) restart(last uint64, marked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.newest = 0, last
	p.line++
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

// behind returns a channel that closes at the next step, or nil when everything up to
// seq has been seen.
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

// at returns what is known of a loop if its newest record is at rev. The header is
// for reading: nobody changes that of an entry.
func (p *projection) at(id loops.ID, rev uint64) (*header, values, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[id]
	if e == nil || e.rev != rev || e.damage {
		return nil, values{}, false
	}
	return &e.header, e.values, true
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

// holds reports whether there are at least that many loops.
func (p *projection) holds(many int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.entries) >= many
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
