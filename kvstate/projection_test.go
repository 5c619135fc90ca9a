package kvstate

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

func newProjection() *projection {
	return &projection{entries: map[loops.ID]*entry{}, ready: queue{
		alive: func(string) bool { return false }, waiting: map[loops.ID]want{}, claimed: map[loops.ID]*entry{}, handed: map[loops.ID]uint64{},
	}}
}

// TestConsumerIsFaster lets the consumer deliver a record of this store before
// its acknowledgement: what only the writer knows is kept all the same.
func TestConsumerIsFaster(t *testing.T) {
	h := header{Version: Format, Kind: snapshot, Nonce: "n", Head: loops.Head{ID: "a", Status: loops.Paused, Labels: map[string]string{"k": "v"}}}
	text, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, expected := range map[string]string{"it is expected": text, "another one is expected": "other"} {
		t.Run(name, func(t *testing.T) {
			p := newProjection()
			e := &entry{header: h}
			p.expect(expected, e)
			p.received("a", 7, text, time.Time{})
			if got, _, ok := p.at("a", 7); !ok || got.Base != 7 || got.Head.Rev != 7 || got.Head.Labels["k"] != "v" {
				t.Errorf("received: %+v", got)
			}
			p.committed(e, values{output: value{hash: 1}}, 7)
			if _, got, ok := p.at("a", 7); !ok || got.output != (value{hash: 1, rev: 7}) || len(p.sent) != 0 {
				t.Errorf("known %t with %+v; %d are expected", ok, got, len(p.sent))
			}
		})
	}
}

// TestOnlyWhatWasSentIsTakenUnread: a header that differs in one byte from what
// this process has sent is verified as any other, and so is what nobody waits for.
func TestOnlyWhatWasSentIsTakenUnread(t *testing.T) {
	const text = "what was sent, which is none to be decoded"
	delta := header{Version: Format, Kind: delta, Nonce: "n", Prev: 5, Base: 5, Head: loops.Head{ID: "a", Status: loops.Paused}}
	for _, test := range []struct {
		name, text string
		prev       uint64
		rev        uint64
		given, bad bool
	}{
		{name: "what was sent", text: text, prev: 5, rev: 7},
		{name: "a flipped bit", text: "V" + text[1:], prev: 5, rev: 7, bad: true},
		{name: "one byte less", text: text[1:], prev: 5, rev: 7, bad: true},
		{name: "nobody waits", text: text, prev: 5, rev: 7, given: true, bad: true},
		{name: "a record is missing before it", text: text, prev: 6, rev: 7, bad: true},
		{name: "it is at a revision before its base", text: text, prev: 3, rev: 4, bad: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProjection()
			p.put(&entry{header: header{Kind: snapshot, Base: test.prev, Head: loops.Head{ID: "a", Rev: test.prev}}, rev: test.prev})
			e := &entry{header: delta}
			p.expect(text, e)
			if test.given {
				p.given(e)
			}
			p.received("a", test.rev, test.text, time.Time{})
			if _, _, ok := p.at("a", test.rev); ok == test.bad {
				t.Errorf("known: %t; listed as %q", ok, p.heads(time.Now())[0].Summary)
			}
			if test.bad && p.heads(time.Now())[0].Status != loops.Failed {
				t.Errorf("listed as %+v", p.heads(time.Now()))
			}
		})
	}
}

// TestARecordThatLandsAgainHasItsNewRevision: the server lost the end of the
// stream, and with it a record that the consumer had read; it is sent again.
func TestARecordThatLandsAgainHasItsNewRevision(t *testing.T) {
	p := newProjection()
	e := &entry{header: header{Version: Format, Kind: snapshot, Nonce: "n", Head: loops.Head{ID: "a", Status: loops.Paused}}}
	p.expect("text", e)
	p.received("a", 7, "text", time.Time{})
	p.restart(6, false)
	p.received("b", 7, "", time.Time{}) // another one is there now
	p.committed(e, values{memory: value{hash: 1}}, 8)
	h, v, ok := p.at("a", 8)
	if !ok || h.Base != 8 || h.Head.Rev != 8 || v.memory.rev != 8 {
		t.Errorf("known %t at %d with base %d and %+v", ok, h.Head.Rev, h.Base, v)
	}
	e.rev = 0
	p.expect("more", e)
	p.received("a", 9, "more", time.Time{})
	p.committed(e, values{}, 10) // nobody has noticed yet that the server was set back
	if h, _, ok := p.at("a", 10); !ok || h.Base != 10 {
		t.Errorf("known %t with base %d", ok, h.Base)
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
