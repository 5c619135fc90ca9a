package kvstate

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"testing"

	"example.com/loop-mcp/loops"
)

// noise is an entry of about size bytes that takes about as many when it is packed.
func noise(size int) json.RawMessage {
	data := make([]byte, size*3/4)
	_, _ = rand.Read(data) // never fails
	return json.RawMessage(`"` + base64.StdEncoding.EncodeToString(data) + `"`)
}

// snapshotOf is a snapshot of a loop whose journal has an iteration of size bytes.
func snapshotOf(id loops.ID, nonce string, size int) *write {
	return &write{
		header:  header{Nonce: nonce, Head: loops.Head{ID: id}},
		journal: journal{Iterations: []json.RawMessage{noise(size)}},
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

// TestKeptJournalsAreWhatWasWritten commits deltas and snapshots in any order.
func TestKeptJournalsAreWhatWasWritten(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	entries := func(most int, text string) (list []json.RawMessage) {
		for range random.IntN(most + 1) {
			list = append(list, fmt.Appendf(nil, `{"%s":%d,"text":%q}`, text, random.IntN(1000), text+text+text))
		}
		return list
	}
	c, want, rev, drops := &journals{}, journal{}, uint64(1), 0
	first := &write{header: header{Nonce: "1", Head: loops.Head{ID: "a"}}}
	c.replace(first, rev)
	for range 1000 {
		d := rawDelta{Verdicts: entries(2, "verdict"), Events: entries(3, "event")}
		if random.IntN(4) > 0 {
			d.Iteration, d.Decision = noise(random.IntN(200)), json.RawMessage(`{"met":false}`)
		}
		want.add(d)
		w := &write{delta: d, header: header{Head: loops.Head{ID: "a"}, Prev: rev, PrevNonce: fmt.Sprint(rev), Nonce: fmt.Sprint(rev + 1)}}
		if rev++; random.IntN(50) > 0 {
			c.extend(w, rev)
		} else {
			dropped := want.Dropped
			want.bound()
			if want.Dropped > dropped {
				drops++
			}
			w.journal = want
			c.replace(w, rev)
		}
		got, _, ok := c.get("a", rev, fmt.Sprint(rev))
		if !ok || !bytes.Equal(got.encode(), want.encode()) {
			t.Fatalf("at revision %d, known %t: %s, want %s", rev, ok, got.encode(), want.encode())
		}
	}
	if k := c.known["a"]; drops == 0 || len(k.packed) == 0 || c.bytes != k.size() || c.bytes > want.bytes()*3/4 {
		t.Errorf("events were dropped %d times; %d parts are packed, %d bytes of %d", drops, len(k.packed), c.bytes, want.bytes())
	}
}

func TestJournalsAreBounded(t *testing.T) {
	c, rev := &journals{}, uint64(0)
	create := func(id loops.ID, size int) {
		rev++
		w := snapshotOf(id, "n", size)
		w.Nonce = fmt.Sprint(rev)
		c.replace(w, rev)
	}
	work := func(ids ...loops.ID) {
		for _, id := range ids {
			if k := c.known[id]; k != nil {
				rev++
				c.extend(deltaOf(id, k.rev, k.nonce, fmt.Sprint(rev)), rev)
			}
		}
	}
	kept := func(when string, want ...loops.ID) {
		t.Helper()
		sum := 0
		for _, k := range c.known {
			sum += k.size()
		}
		if c.bytes != sum || sum > maxJournals || c.work.Len()+c.fresh.Len() != len(c.known) {
			t.Errorf("%s: %d bytes are kept, counted are %d, %d and %d in order", when, sum, c.bytes, c.work.Len(), c.fresh.Len())
		}
		if got := slices.Sorted(maps.Keys(c.known)); !slices.Equal(got, want) {
			t.Errorf("%s: kept are %s, want %s", when, got, want)
		}
	}
	for _, id := range []loops.ID{"a", "b", "c", "d"} {
		create(id, maxJournals/5)
	}
	work("d", "c", "b")
	create("e", maxJournals/3)
	kept("one was only created", "b", "c", "d", "e")
	work("e")
	create("f", maxJournals/3)
	kept("all are at work", "b", "c", "d", "e")
	for range 10 {
		work("e", "b", "d")
	}
	create("g", maxJournals/5)
	kept("one rests", "b", "d", "e", "g")
	create("h", maxJournals+1)
	kept("one is too large", "b", "d", "e", "g")
}

// TestAThousandLoopsAtWorkKeepTheirJournals: each snapshot of one in a thousand loops
// read back all that had been written since the last one.
func TestAThousandLoopsAtWorkKeepTheirJournals(t *testing.T) {
	const many, deltas = 1000, 50 // which make up minGrowth bytes with their checkpoints
	c, rev := &journals{}, uint64(0)
	last := make([]*write, many)
	for n := range many {
		rev++
		last[n] = &write{header: header{Head: loops.Head{ID: loops.ID(fmt.Sprint("loop-", n))}, Nonce: fmt.Sprint(rev)}}
		c.replace(last[n], rev)
	}
	for turn := range deltas {
		for n := range many {
			w := &write{header: header{Head: last[n].Head, Nonce: fmt.Sprint(rev + 1), PrevNonce: last[n].Nonce}}
			w.Prev = c.known[w.Head.ID].rev
			w.delta = rawDelta{
				Iteration: fmt.Appendf(nil, `{"iteration":%d,"pass":%d,"ok":true,"output":{"text":"nothing to do %d","size":13},"started_at":"2026-11-21T10:%02d:00Z","claim":%s}`, turn, turn, n, turn, noise(40)),
				Events:    []json.RawMessage{fmt.Appendf(nil, `{"cursor":%d,"at":"2026-11-21T10:%02d:00.%03dZ","type":"iteration","text":"iteration %d: nothing to do"}`, turn, turn, n, turn)},
			}
			rev++
			c.extend(w, rev)
			last[n] = w
		}
	}
	for n, w := range last {
		if j, _, ok := c.get(w.Head.ID, c.known[w.Head.ID].rev, w.Nonce); !ok || len(j.Iterations) != deltas {
			t.Fatalf("loop %d is known: %t, with %d iterations", n, ok, len(j.Iterations))
		}
	}
	if c.bytes > maxJournals/2 {
		t.Errorf("%d loops at work keep %d bytes", many, c.bytes)
	}
}
