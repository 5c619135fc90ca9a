package kvstate

import (
	"bytes"
	"encoding/json"
	"testing"

	"example.com/loop-mcp/loops"
)

// snapshotOf is a snapshot of a loop whose journal has an iteration of size bytes.
func snapshotOf(id loops.ID, nonce string, size int) *write {
	entry := json.RawMessage(bytes.Repeat([]byte("1"), size))
	return &write{
		header:  header{Nonce: nonce, Head: loops.Head{ID: id}},
		journal: journal{Iterations: []json.RawMessage{entry}},
	}
}

func deltaOf(id loops.ID, prev uint64, prevNonce, nonce string) *write {
	return &write{
		header: header{Nonce: nonce, PrevNonce: prevNonce, Prev: prev, Head: loops.Head{ID: id}},
		delta:  rawDelta{Iteration: json.RawMessage("2")},
	}
}

func TestJournalsCountForOneRecordOnly(t *testing.T) {
	c := &journals{}
	c.replace(snapshotOf("a", "n1", 1), 1)
	c.extend(deltaOf("a", 1, "n1", "n2"), 2)
	for _, test := range []struct {
		name  string
		rev   uint64
		nonce string
		want  bool
	}{{"its last record", 2, "n2", true}, {"another nonce", 2, "n1", false}, {"an older record", 1, "n1", false}, {"a newer record", 3, "n2", false}} {
		if _, _, ok := c.get("a", test.rev, test.nonce); ok != test.want {
			t.Errorf("%s: known %t, want %t", test.name, ok, test.want)
		}
	}
	j, _, _ := c.get("a", 2, "n2")
	j.add(rawDelta{Iteration: json.RawMessage("3")})
	c.extend(deltaOf("a", 2, "n2", "n3"), 3)
	if kept, _, _ := c.get("a", 3, "n3"); len(kept.Iterations) != 3 || string(kept.Iterations[2]) != "2" || string(j.Iterations[2]) != "3" {
		t.Errorf("kept is %s, a caller's is %s", kept.Iterations, j.Iterations)
	}
	c.extend(deltaOf("a", 7, "foreign", "n8"), 8) // somebody else wrote revision 7
	if _, _, ok := c.get("a", 8, "n8"); ok || c.bytes != 0 {
		t.Errorf("a journal with a hole is known %t; %d bytes", ok, c.bytes)
	}
}

func TestJournalsAreBounded(t *testing.T) {
	c := &journals{}
	for n, id := range []loops.ID{"a", "b", "c"} {
		c.replace(snapshotOf(id, "n", maxJournals/4), uint64(n+1))
	}
	c.extend(deltaOf("a", 1, "n", "n4"), 4)
	c.replace(snapshotOf("d", "n", maxJournals/4), 5)
	for id, want := range map[loops.ID]bool{"a": true, "b": false, "c": true, "d": true} {
		if known := c.known[id] != nil; known != want {
			t.Errorf("%s is kept: %t, want %t", id, known, want)
		}
	}
	c.replace(snapshotOf("e", "n", maxJournals+1), 6)
	sum := 0
	for _, k := range c.known {
		sum += k.bytes
	}
	if c.known["e"] != nil || c.bytes != sum || sum > maxJournals {
		t.Errorf("%d bytes are kept, counted are %d", sum, c.bytes)
	}
}
