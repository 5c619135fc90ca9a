package kvstate

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// TestTheServerCountsNoSubjectsForAReader: each snapshot of one loop made the server
// count all loops of the store, for the consumer that began with the last of each.
func TestTheServerCountsNoSubjectsForAReader(t *testing.T) {
	c := newCrowd(t, 3, nil)
	other, err := Open(t.Context(), c.js, &Options{Runner: "other"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s, err := c.Commit(t.Context(), c.states[0])
	if err != nil {
		t.Fatal(err)
	}
	heads, err := other.List(t.Context())
	if err != nil || len(heads) != 3 || !slices.ContainsFunc(heads, func(h loops.Head) bool { return h.ID == s.ID && h.Rev == s.Rev }) {
		t.Errorf("the list is %v, %v", heads, err)
	}
	stream, err := c.js.Stream(t.Context(), streamLoops)
	if err != nil {
		t.Fatal(err)
	}
	readers := 0
	for info := range stream.ListConsumers(t.Context()).Info() {
		readers++
		if info.Config.DeliverPolicy != jetstream.DeliverByStartSequencePolicy || info.Config.FilterSubject != "" || len(info.Config.FilterSubjects) > 0 {
			t.Errorf("a store reads with %+v", info.Config)
		}
	}
	if readers != 2 {
		t.Errorf("two stores have %d consumers", readers)
	}
}

// TestOwnCommitsThatTheDiskLostAreForgotten: a list showed loops as this process had
// committed them, for good, when the disk lost those records before they had been
// read again and the server had given their sequences to others.
func TestOwnCommitsThatTheDiskLostAreForgotten(t *testing.T) {
	c := newCrowd(t, 2, nil)
	if _, err := c.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := c.states[1]
	lost.Rev += 5
	c.projection.committed(&entry{header: header{Kind: delta, Head: lost.Head()}}, values{}, lost.Rev) // and never read
	if _, _, err := c.takeUp(t.Context(), c.projection.position()); err != nil {
		t.Fatal(err)
	}
	if rev := c.projection.rev(lost.ID); rev == lost.Rev {
		t.Errorf("%s is at revision %d, which the server has not given", lost.ID, rev)
	}
	if at := c.projection.position(); at != 0 {
		t.Errorf("the reading goes on after %d", at)
	}
}
