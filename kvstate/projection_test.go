package kvstate

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

// TestConsumerIsFaster lets the consumer deliver a record of this store before
// its acknowledgement: what only the writer knows is kept all the same.
func TestConsumerIsFaster(t *testing.T) {
	p := &projection{entries: map[loops.ID]*entry{}, ready: queue{
		alive: func(string) bool { return false }, waiting: map[loops.ID]want{}, claimed: map[loops.ID]*entry{}, handed: map[loops.ID]uint64{},
	}}
	h := header{Kind: snapshot, Nonce: "n", Head: loops.Head{ID: "a", Rev: 7, Status: loops.Paused}}
	p.received("a", 7, func() (header, error) { return h, nil }, time.Time{})
	want := values{output: value{hash: 1, rev: 7}}
	p.committed(h, want)
	if _, got, ok := p.at("a", 7); !ok || got != want {
		t.Errorf("known %t with %+v, want %+v", ok, got, want)
	}
}

// TestNewLoopOnAClusterIsPickedUp asks a server for a loop that others have and
// it has not got yet: the answer is waited for, or no worker would take the loop.
func TestNewLoopOnAClusterIsPickedUp(t *testing.T) {
	c := newCrowd(t, 0, nil)
	reader := &Store{js: c.js, nc: c.nc, prefix: c.prefix, replicated: true}
	reader.line.renew()
	reader.projection.entries = map[loops.ID]*entry{"late-aaaa": {rev: 1}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := reader.newest(ctx, "late-aaaa"); err == nil || errors.Is(err, errNoRecord) {
		t.Errorf("before the server has it: %v", err)
	}
	s := crowdLoop(0)
	s.ID = "late-aaaa"
	if s, err := c.Create(t.Context(), s); err != nil || s.Rev != 1 {
		t.Fatal(s.Rev, err)
	}
	if m, err := reader.newest(t.Context(), "late-aaaa"); err != nil || m.seq != 1 {
		t.Errorf("read was revision %d: %v", m.seq, err)
	}
}
