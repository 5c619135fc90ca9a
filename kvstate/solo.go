package kvstate

import (
	"context"
	"time"
)

// While very many loops of this process commit at once, nearly all that its consumer
// would read is what it has committed itself and taken over when it was acknowledged.
// Then it follows solo: there is no consumer, as long as it knows each record after
// the last one that it has seen by an acknowledgement of its own. A record that it
// does not know stops it there, whatever it is: one of another process, a marker of
// the server, a commit whose acknowledgement was lost. So does a pause. When it has
// not come further within soloPace, a consumer reads from there on, as at all other
// times, and until nothing that this process did not send has come for as long as it
// takes to be calm.

// soloPace is for how long a process that follows solo may know of no next record.
const soloPace = 20 * time.Millisecond

// solo is what lets a process follow solo. Its users hold the projection's mu.
type solo struct {
	rush    bool            // very many loops of this process commit at once
	on      bool            // it follows solo, or is about to
	until   uint64          // what the consumer has to have passed before
	beyond  map[uint64]bool // own records that are known, with unknown ones before them
	foreign time.Time       // when something was read that this process did not send
}

// hurry notes that very many loops begin to commit at once; over that they no longer do.
func (s *Store) hurry() (over func()) {
	s.projection.hurry(true)
	if s.opts.Rush == nil {
		return func() { s.projection.hurry(false) }
	}
	end := s.opts.Rush()
	return func() {
		s.projection.hurry(false)
		end()
	}
}

func (p *projection) hurry(rush bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.solo.rush = rush
}

// acknowledged notes that an own record is known. The caller holds mu.
func (p *projection) acknowledged(rev uint64) {
	switch {
	case !p.solo.on || p.doubted || rev <= p.seen:
	case rev > p.seen+1:
		p.solo.beyond[rev] = true
	default:
		p.seen = rev
		p.advance()
		p.moved()
	}
}

// advance goes on over the own records that are known. The caller holds mu.
func (p *projection) advance() {
	for p.solo.beyond[p.seen+1] {
		p.seen++
		delete(p.solo.beyond, p.seen)
	}
}

// trySolo begins to follow solo if the consumer is not needed: there is a rush, and it
// has passed all that the server is known to have given, none of it foreign. The
// caller holds mu.
func (p *projection) trySolo() {
	o := &p.solo
	if o.on || !o.rush || p.doubted || p.seen < max(p.newest, o.until) || time.Since(o.foreign) < calm {
		return
	}
	o.on, o.beyond = true, map[uint64]bool{}
}

// endSolo has a consumer read again, from after the sequence that it returns.
func (p *projection) endSolo() (seen uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.solo.on, p.solo.beyond = false, nil
	return p.seen
}

// reads reports whether a consumer is to read on, up to the sequence until.
func (p *projection) reads(until uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen < until && !p.solo.on
}

// pace returns how far the process has come, and whether the rush goes on.
func (p *projection) pace() (seen uint64, rush bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen, p.solo.rush
}

// followSolo waits as long as own commits come at their pace, and returns after which
// sequence a consumer has to read on.
func (s *Store) followSolo(ctx context.Context) (seen uint64, err error) {
	for was, rush := s.projection.pace(); rush && ctx.Err() == nil; {
		sleep(ctx, nil, time.Now().Add(soloPace))
		if seen, rush = s.projection.pace(); seen == was {
			break
		}
		was = seen
	}
	return s.projection.endSolo(), context.Cause(ctx)
}
