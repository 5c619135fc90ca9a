package kvstate

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// A record that is remembered refers to one that is gone: what is listed then is what
// a record that is read gives.
func TestALoopWhoseRecalledRecordIsDamagedIsShownSo(t *testing.T) {
	for _, recall := range []bool{false, true} {
		m := newMessy(t, nil)
		s := m.loop("dam-aaaa", 1, 4000) // output in the record at s.Rev
		was := s.Rev
		s.Status = loops.Queued
		s = m.commit(s) // refers to it
		st, err := m.js.Stream(t.Context(), streamLoops)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Purge(t.Context(), jetstream.WithPurgeSubject(subject(s.ID)), jetstream.WithPurgeSequence(was+1)); err != nil {
			t.Fatal(err)
		}
		if recall {
			_, err = m.LoadAt(t.Context(), s.ID, s.Rev)
		} else {
			_, err = m.Load(t.Context(), s.ID)
		}
		if !errors.Is(err, loops.ErrDamaged) {
			t.Errorf("recall %t: %v", recall, err)
		}
		heads, err := m.List(t.Context())
		if err != nil || heads[0].Status != loops.Failed {
			t.Errorf("recall %t: listed as %s, %v", recall, heads[0].Status, err)
		}
	}
}

// For the race detector: the header that a commit builds on does not change when the
// acknowledgement of its record comes after another process's next one.
func TestALateAcknowledgementChangesNoHeaderInUse(t *testing.T) {
	p := &projection{entries: map[loops.ID]*entry{}}
	p.ready = queue{alive: func(string) bool { return true }, waiting: map[loops.ID]want{}, claimed: map[loops.ID]*entry{}, handed: map[loops.ID]uint64{}}
	e := &entry{header: header{Version: Format, Kind: delta, Nonce: "a", Prev: 4, Base: 4, Head: loops.Head{ID: "a-aaaa"}}}
	p.expect("text", e)
	p.mu.Lock()
	got, err := p.read("text", "a-aaaa", 5)
	if err != nil {
		t.Fatal(err)
	}
	p.put(got)
	p.mu.Unlock()
	h, _, ok := p.at("a-aaaa", 5) // another goroutine is about to commit on top of it
	if !ok {
		t.Fatal("unknown")
	}
	p.mu.Lock()
	p.put(&entry{header: header{Kind: delta, Head: loops.Head{ID: "a-aaaa"}}, rev: 6}) // another process was faster
	p.mu.Unlock()
	done := make(chan uint64)
	go func() { done <- h.Head.Rev }()
	p.committed(e, values{}, 5) // our acknowledgement
	<-done
}
