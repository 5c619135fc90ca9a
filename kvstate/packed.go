package kvstate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"

	"github.com/klauspost/compress/s2"
)

// packedJournal is a journal in little memory: entries, as they were written, one
// after the other and mostly compressed. Of 1,000 loops at work each has tens of
// kilobytes of them.
type packedJournal struct {
	packed  [][]byte // the older entries; never changed
	open    []byte   // those that are not compressed yet
	raw     int      // bytes of all of them as they are
	counts  [entryKinds]int
	dropped uint64
}

// packFrom is from how many bytes on entries are compressed: fewer gain little.
const packFrom = 8 << 10

// An entry is its kind, its length as uvarint, and its bytes.
const (
	entryIteration = iota
	entryDecision
	entryVerdict
	entryEvent
	entryKinds
)

func (p *packedJournal) entry(kind int, data json.RawMessage) {
	p.counts[kind]++
	p.open = binary.AppendUvarint(append(p.open, byte(kind)), uint64(len(data)))
	p.open = append(p.open, data...)
}

func (p *packedJournal) entries(kind int, list []json.RawMessage) {
	for _, data := range list {
		p.entry(kind, data)
	}
}

func (p *packedJournal) add(d *rawDelta) {
	if d.Iteration != nil {
		p.entry(entryIteration, d.Iteration)
	}
	if d.Decision != nil {
		p.entry(entryDecision, d.Decision)
	}
	p.entries(entryVerdict, d.Verdicts)
	p.entries(entryEvent, d.Events)
}

// addAll makes p the journal j.
func (p *packedJournal) addAll(j *journal) {
	p.dropped = j.Dropped
	p.entries(entryIteration, j.Iterations)
	p.entries(entryDecision, j.Decisions)
	p.entries(entryVerdict, j.Verdicts)
	p.entries(entryEvent, j.Events)
}

// pack compresses the entries that are not, when there are enough of them, by way
// of scratch, which it returns.
func (p *packedJournal) pack(scratch []byte) []byte {
	if len(p.open) < packFrom {
		return scratch
	}
	p.raw += len(p.open)
	scratch = s2.Encode(scratch[:cap(scratch)], p.open)
	p.packed, p.open = append(p.packed, slices.Clone(scratch)), nil
	if len(scratch) > 1<<20 {
		return nil // a large one, which is rare
	}
	return scratch
}

// size is what it takes in memory.
func (p *packedJournal) size() int {
	size := cap(p.open)
	for _, part := range p.packed {
		size += cap(part) + entryCost
	}
	return size
}

var errPacked = errors.New("a packed journal is broken")

// unpack returns the journal.
func (p *packedJournal) unpack() (journal, error) {
	all := make([]byte, 0, p.raw+len(p.open))
	for _, part := range p.packed {
		n, err := s2.DecodedLen(part)
		if err != nil || n > cap(all)-len(all) {
			return journal{}, errPacked
		}
		more, err := s2.Decode(all[len(all):len(all)+n], part)
		if err != nil {
			return journal{}, err
		}
		all = all[:len(all)+len(more)]
	}
	all = append(all, p.open...)
	var lists [entryKinds][]json.RawMessage
	for kind, n := range p.counts {
		if n > 0 {
			lists[kind] = make([]json.RawMessage, 0, n+1)
		}
	}
	for len(all) > 0 {
		kind := all[0]
		n, used := binary.Uvarint(all[1:])
		if kind >= entryKinds || used <= 0 || n > uint64(len(all)-1-used) {
			return journal{}, errPacked
		}
		all = all[1+used:]
		lists[kind] = append(lists[kind], all[:n:n])
		all = all[n:]
	}
	return journal{
		Iterations: lists[entryIteration], Decisions: lists[entryDecision],
		Verdicts: lists[entryVerdict], Events: lists[entryEvent], Dropped: p.dropped,
	}, nil
}
