package kvstate

import (
	"context"
	"errors"
	"fmt"

	"example.com/loop-mcp/loops"
)

// maxRecalled is how many bytes of records are kept for [Store.LoadAt]. When they are
// used up, the loops that wait longest, which are handed out first, have them.
const maxRecalled = 16 << 20

// recall keeps the body of the record of e when a worker is about to take its loop up.
// A thousand loops that end at once make room for a thousand others, which are read
// while the server is busy with all the commits.
func (e *entry) recall(body []byte) {
	if _, wanted := e.Head.WantsWorker(); wanted && e.Head.Claim.Owner == "" {
		e.body = body
	}
}

// swapBody counts what the entries keep when e takes the place of old; either may be
// nil. The caller holds mu.
func (p *projection) swapBody(old, e *entry) {
	if old != nil {
		p.bodies -= len(old.body)
	}
	if e == nil {
		return
	}
	if p.bodies+len(e.body) > maxRecalled {
		e.body = nil
	}
	p.bodies += len(e.body)
}

// recalled returns the record of a loop at a revision if it was kept, and is still the
// newest one as far as this process knows.
func (p *projection) recalled(id loops.ID, rev uint64) (record, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[id]
	if e == nil || e.rev != rev || e.damage || e.body == nil {
		return record{}, false
	}
	return record{header: e.header, seq: rev, body: e.body}, true
}

// LoadAt implements [loops.Recaller]. What it returns without a question to the server
// has been acknowledged and is not read back: damage to it shows with the next record
// that is read.
func (s *Store) LoadAt(ctx context.Context, id loops.ID, rev uint64) (loops.State, error) {
	r, ok := s.projection.recalled(id, rev)
	if !ok {
		return s.Load(ctx, id)
	}
	end, err := s.begin(ctx)
	if err != nil {
		return loops.State{}, fmt.Errorf("load %s: %w", id, err)
	}
	st, err := s.checkpoint(ctx, r)
	end()
	if errors.Is(err, loops.ErrDamaged) { // an older record that it refers to; or a snapshot replaced that meanwhile
		return s.Load(ctx, id)
	}
	if err != nil {
		return loops.State{}, fmt.Errorf("load %s: %w", id, err)
	}
	return st, nil
}
