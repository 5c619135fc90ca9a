package kvstate

import (
	"time"

	"example.com/loop-mcp/loops"
)

// sent is a record of this process that is on its way to the server.
type sent struct {
	text string // its header
	line uint64 // of the projection then
	*entry
}

// expect notes a record that is about to be sent. The caller ends it with
// committed or given.
func (p *projection) expect(text string, e *entry) {
	e.Head = copyHead(e.Head) // its labels are the caller's
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil {
		p.sent = map[loops.ID]sent{}
	}
	p.sent[e.Head.ID] = sent{text, p.line, e}
}

// given notes that nobody waits for the record any more.
func (p *projection) given(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrived(e)
}

// arrived forgets what was sent, and reports whether no server that has ended since
// can have acknowledged it. The caller holds mu.
func (p *projection) arrived(e *entry) bool {
	was := p.sent[e.Head.ID]
	if was.entry != e {
		return false
	}
	delete(p.sent, e.Head.ID)
	return was.line == p.line
}

// committed takes over a record that this process wrote: it is at revision rev and
// has the values v.
func (p *projection) committed(e *entry, v values, rev uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newest = max(p.newest, rev)
	if p.arrived(e) {
		p.acknowledged(rev)
	}
	was := p.entries[e.Head.ID]
	if was != nil && was.rev == rev && !was.damage {
		was.values = v.at(rev) // the consumer was faster, but it has seen the header alone
		return
	}
	if e.rev != 0 { // it is, or was, in the list at some revision, and others may read it
		again := *e
		e = &again
	}
	e.values = v.at(rev)
	p.put(e.at(rev))
}

// at gives a record that was sent the revision that it has now.
func (e *entry) at(rev uint64) *entry {
	e.rev, e.Head.Rev = rev, rev
	if e.Kind == snapshot {
		e.Base = rev
	}
	return e
}

// read verifies the header of a record that the consumer read. What this process
// has sent itself, it knows by every byte.
func (p *projection) read(text string, id loops.ID, rev uint64) (*entry, error) {
	if own := p.sent[id]; own.entry != nil && own.text == text && own.rev == 0 {
		if err := own.fits(id, rev); err != nil {
			return own.entry, err
		}
		return own.at(rev), nil
	}
	p.solo.foreign = time.Now()
	h, err := decodeHeader(text, id, rev)
	return &entry{header: h, rev: rev}, err
}
