package kvstate

import (
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
