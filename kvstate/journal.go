package kvstate

import (
	"context"
	"encoding/json"
	"fmt"

	"example.com/loop-mcp/loops"
)

// keptEvents is how many events a snapshot keeps.
const keptEvents = 500

// journal is what a loop's records add up to. Its entries stay as they were
// written, so that a snapshot costs no more than reading and writing them.
type journal struct {
	Iterations []json.RawMessage `json:"iterations,omitempty"`
	Decisions  []json.RawMessage `json:"decisions,omitempty"`
	Verdicts   []json.RawMessage `json:"verdicts,omitempty"`
	Events     []json.RawMessage `json:"events,omitempty"`
	Dropped    uint64            `json:"dropped,omitempty"` // events
}

// rawDelta is a loops.Delta whose entries are not decoded.
type rawDelta struct {
	Iteration json.RawMessage   `json:"iteration"`
	Verdicts  []json.RawMessage `json:"verdicts"`
	Decision  json.RawMessage   `json:"decision"`
	Events    []json.RawMessage `json:"events"`
}

func (j *journal) add(d rawDelta) {
	if d.Iteration != nil {
		j.Iterations = append(j.Iterations, d.Iteration)
	}
	if d.Decision != nil {
		j.Decisions = append(j.Decisions, d.Decision)
	}
	j.Verdicts = append(j.Verdicts, d.Verdicts...)
	j.Events = append(j.Events, d.Events...)
}

// bound drops the oldest events and counts them.
func (j *journal) bound() {
	if over := len(j.Events) - keptEvents; over > 0 {
		j.Events = j.Events[over:]
		j.Dropped += uint64(over)
	}
}

// encode writes the journal as JSON.
func (j *journal) encode() []byte {
	w := &writer{b: append(make([]byte, 0, j.bytes()+100), '{')}
	w.unsigned("dropped", j.Dropped)
	w.entries("iterations", j.Iterations)
	w.entries("decisions", j.Decisions)
	w.entries("verdicts", j.Verdicts)
	w.entries("events", j.Events)
	return append(w.b, '}')
}

// bytes is about what the journal takes in memory.
func (j *journal) bytes() int {
	return sizeOf(j.Iterations) + sizeOf(j.Decisions) + sizeOf(j.Verdicts) + sizeOf(j.Events)
}

func sizeOf(entries []json.RawMessage) int {
	size := entryCost * len(entries)
	for _, e := range entries {
		size += len(e)
	}
	return size
}

// encodeDelta writes d as JSON. The entries of what it returns are parts of that.
func encodeDelta(d *loops.Delta) (rawDelta, []byte, error) {
	at, large := make(spans, 0, 2+len(d.Verdicts)+len(d.Events)), 0
	if d.Iteration != nil {
		large = len(d.Iteration.Memory) + len(d.Iteration.Output.Text)
	}
	data, err := written(large, func(w *writer) {
		w.b = append(w.b, '{')
		if d.Iteration != nil {
			w.key("iteration")
			at.entry(w, func() { w.iteration(d.Iteration) })
		}
		w.list("verdicts", len(d.Verdicts), func(i int) {
			at.entry(w, func() { w.verdict(&d.Verdicts[i]) })
		})
		if d.Decision != nil {
			w.key("decision")
			at.entry(w, func() { w.verdict(d.Decision) })
		}
		w.list("events", len(d.Events), func(i int) {
			at.entry(w, func() { w.event(&d.Events[i]) })
		})
		w.b = append(w.b, '}')
	})
	return at.cut(data, d), data, err
}

// spans are where the entries of a delta begin and end.
type spans [][2]int

func (m *spans) entry(w *writer, members func()) {
	begin := len(w.b)
	w.members(members)
	*m = append(*m, [2]int{begin, len(w.b)})
}

// cut returns the entries of d in data.
func (m spans) cut(data []byte, d *loops.Delta) (raw rawDelta) {
	all := make([]json.RawMessage, len(m))
	for i, at := range m {
		all[i] = data[at[0]:at[1]:at[1]]
	}
	if d.Iteration != nil {
		raw.Iteration, all = all[0], all[1:]
	}
	raw.Verdicts, all = all[:len(d.Verdicts):len(d.Verdicts)], all[len(d.Verdicts):]
	if d.Decision != nil {
		raw.Decision, all = all[0], all[1:]
	}
	raw.Events = all
	return raw
}

// chain adds up records in the order of the stream and verifies that none is
// missing.
type chain struct {
	store   *Store
	journal journal
	last    record
	objects []string // parts of the records that are in the object store
}

func (c *chain) add(ctx context.Context, r record) error {
	c.objects = append(c.objects, r.objects()...)
	if r.Kind == snapshot {
		j, err := readPart[journal](ctx, c.store, r, partJournal)
		if err != nil {
			return err
		}
		c.journal, c.last = j, r
		return nil
	}
	d, err := readPart[rawDelta](ctx, c.store, r, partJournal)
	if err != nil {
		return err
	}
	if err := follows(&c.last.header, c.last.seq, &r.header, d.Iteration != nil); err != nil {
		return damaged(r.Head.ID, r.seq, err)
	}
	c.journal.add(d)
	c.last = r
	return nil
}

// follows reports why a delta cannot come after the record prev at revision rev.
func follows(prev *header, rev uint64, next *header, iterated bool) error {
	want := prev.Head.Iteration
	if iterated {
		want++
	}
	switch {
	case next.Prev != rev:
		return fmt.Errorf("it follows revision %d, but the record before it is at %d: records are missing", next.Prev, rev)
	case next.Head.Iteration != want:
		return fmt.Errorf("it is at iteration %d, want %d", next.Head.Iteration, want)
	case next.Base != prev.Base:
		return fmt.Errorf("it builds on revision %d, the record before it on %d", next.Base, prev.Base)
	}
	return nil
}

// loop decodes the journal.
func (j *journal) loop(st loops.State) (loops.Loop, error) {
	l := loops.Loop{State: st, EventsDropped: j.Dropped}
	var err error
	if l.Iterations, err = decodeAll[loops.Iteration](j.Iterations); err != nil {
		return l, err
	}
	if l.Verdicts, err = decodeAll[loops.Verdict](j.Verdicts); err != nil {
		return l, err
	}
	if l.Events, err = decodeAll[loops.Event](j.Events); err != nil {
		return l, err
	}
	decisions, err := decodeAll[loops.Verdict](j.Decisions)
	if err != nil {
		return l, err
	}
	return l, join(&l, decisions)
}

// join gives each iteration its decision and verifies that none is missing.
func join(l *loops.Loop, decisions []loops.Verdict) error {
	byNumber := map[int]*loops.Verdict{}
	for i := range decisions {
		byNumber[decisions[i].Iteration] = &decisions[i]
	}
	first := l.Iteration - len(l.Iterations) + 1
	for i := range l.Iterations {
		it := &l.Iterations[i]
		if it.Iteration != first+i {
			return fmt.Errorf("iteration %d stands where %d belongs", it.Iteration, first+i)
		}
		it.Verdict = byNumber[it.Iteration]
	}
	return nil
}

func decodeAll[T any](entries []json.RawMessage) ([]T, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	all := make([]T, len(entries))
	for i, entry := range entries {
		if err := json.Unmarshal(entry, &all[i]); err != nil {
			return nil, fmt.Errorf("an entry of the journal cannot be read: %w", err)
		}
	}
	return all, nil
}
