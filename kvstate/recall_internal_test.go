package kvstate

import (
	"testing"

	"example.com/loop-mcp/loops"
)

// TestWhatIsRememberedIsBounded, and is forgotten with its revision.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	s := &Store{}
	p := &s.projection
	p.entries = map[loops.ID]*entry{}
	p.ready = queue{alive: func(string) bool { return true }, waiting: map[loops.ID]want{}, claimed: map[loops.ID]*entry{}, handed: map[loops.ID]uint64{}}
	at := func(id loops.ID, rev uint64, status loops.Status, owner string) {
		e := &entry{rev: rev, header: header{Head: loops.Head{ID: id, Status: status, Claim: loops.Claim{Owner: owner}}}}
		e.recall(make([]byte, maxRecalled/2))
		p.mu.Lock()
		defer p.mu.Unlock()
		p.put(e)
	}
	want := func(when string, bytes int, ids ...loops.ID) {
		t.Helper()
		got := 0
		for id, e := range p.entries {
			if r, ok := p.recalled(id, e.rev); ok {
				got++
				if len(r.body) != maxRecalled/2 {
					t.Errorf("%s: %s has %d bytes", when, id, len(r.body))
				}
			}
		}
		for _, id := range ids {
			if _, ok := p.recalled(id, p.entries[id].rev); !ok {
				t.Errorf("%s: %s is not remembered", when, id)
			}
			if _, ok := p.recalled(id, p.entries[id].rev-1); ok {
				t.Errorf("%s: %s is remembered at another revision", when, id)
			}
		}
		if got != len(ids) || p.bodies != bytes {
			t.Errorf("%s: %d loops are remembered, %d bytes counted, want %d and %d", when, got, p.bodies, len(ids), bytes)
		}
	}
	at("a-aaaa", 1, loops.Queued, "")
	at("b-aaaa", 2, loops.Waiting, "")
	want("a loop without a time to wake", maxRecalled/2, "a-aaaa")
	at("b-aaaa", 3, loops.Queued, "")
	at("c-aaaa", 4, loops.Queued, "")
	want("when the room is used up", maxRecalled, "a-aaaa", "b-aaaa")
	at("a-aaaa", 5, loops.Running, "runner-1")
	want("when one is claimed", maxRecalled/2, "b-aaaa")
	at("c-aaaa", 6, loops.Queued, "")
	want("when there is room again", maxRecalled, "b-aaaa", "c-aaaa")
	p.mu.Lock()
	p.forget("b-aaaa")
	p.mu.Unlock()
	at("c-aaaa", 7, loops.Completed, "")
	want("when they are gone and settled", 0)
}
