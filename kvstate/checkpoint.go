package kvstate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"example.com/loop-mcp/loops"
)

// checkpoint is the first part of a record.
type checkpoint struct {
	Origin json.RawMessage `json:"origin,omitempty"` // in snapshots
	State  loops.State     `json:"state"`
	From   origins         `json:"from,omitzero"`
}

// encode writes the checkpoint as JSON. Origin and memory have been checked.
func (c *checkpoint) encode() ([]byte, error) {
	return written(len(c.Origin)+len(c.State.Memory)+len(c.State.Output.Text), func(w *writer) {
		w.members(func() {
			w.raw("origin", c.Origin)
			w.object("state", func() { w.state(&c.State) })
			w.some("from", func() {
				w.number("output", c.From.Output)
				w.number("memory", c.From.Memory)
				w.number("best", c.From.Best)
				w.number("notes", c.From.Notes)
			})
		})
	})
}

// origins say where the large values of a checkpoint are: 0 in the checkpoint,
// own in the iteration of the same record, else in the record of that revision.
type origins struct {
	Output int64 `json:"output,omitempty"`
	Memory int64 `json:"memory,omitempty"`
	Best   int64 `json:"best,omitempty"`
	Notes  int64 `json:"notes,omitempty"`
}

const own = -1

// repeatable is how many bytes a value must have to be worth a reference.
const repeatable = 512

// value remembers which record has a large value.
type value struct {
	hash uint64
	rev  uint64
}

// values are the large values of a loop's newest checkpoint, so that the next
// commit need not write them again.
type values struct{ output, memory, best, notes value }

func (s *Store) hashText(t loops.Text) uint64 {
	if len(t.Text) < repeatable {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.WriteString(t.Text)
	h.WriteString(t.Blob)
	fmt.Fprint(&h, t.Size)
	return h.Sum64()
}

func (s *Store) hashNotes(notes map[string]json.RawMessage) uint64 {
	size := 0
	for _, note := range notes {
		size += len(note)
	}
	if size < repeatable {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, key := range slices.Sorted(maps.Keys(notes)) {
		fmt.Fprintf(&h, "%q %d ", key, len(notes[key]))
		h.Write(notes[key])
	}
	return h.Sum64()
}

func (s *Store) hashBytes(b []byte) uint64 {
	if len(b) < repeatable {
		return 0
	}
	return maphash.Bytes(s.seed, b)
}

// trim takes out of st what the iteration of the same commit or an older record
// has, and returns where each value is. In the values returned, revision 0
// stands for the record that is being written.
func (s *Store) trim(st *loops.State, known values) (from origins, now values) {
	now = s.valuesOf(st)
	it := st.New.Iteration
	if from.Output = place(&now.output, known.output, it != nil && it.Output == st.Output); from.Output != 0 {
		st.Output = loops.Text{}
	}
	if from.Memory = place(&now.memory, known.memory, it != nil && bytes.Equal(it.Memory, st.Memory)); from.Memory != 0 {
		st.Memory = nil
	}
	if from.Notes = place(&now.notes, known.notes, false); from.Notes != 0 {
		st.Notes = nil
	}
	if st.Best != nil {
		if from.Best = place(&now.best, known.best, it != nil && it.Output == st.Best.Output); from.Best != 0 {
			best := *st.Best
			best.Output = loops.Text{}
			st.Best = &best
		}
	}
	return from, now
}

// valuesOf returns the values of st, all in the record that is being written.
func (s *Store) valuesOf(st *loops.State) values {
	now := values{output: value{hash: s.hashText(st.Output)}, memory: value{hash: s.hashBytes(st.Memory)}, notes: value{hash: s.hashNotes(st.Notes)}}
	if st.Best != nil {
		now.best.hash = s.hashText(st.Best.Output)
	}
	return now
}

// place says where a value is taken from and remembers it.
func place(now *value, known value, inIteration bool) int64 {
	switch {
	case now.hash == 0:
		return 0
	case inIteration:
		return own
	case known.rev != 0 && known.hash == now.hash:
		now.rev = known.rev
		return int64(known.rev)
	}
	return 0
}

// checkMemory returns an error unless the memories of st are JSON. One that is
// stored already was checked before.
func (s *Store) checkMemory(st *loops.State, known values) error {
	hash := s.hashBytes(st.Memory)
	checked := len(st.Memory) == 0 || hash != 0 && hash == known.memory.hash || loops.ValidJSON(st.Memory)
	if it := st.New.Iteration; checked && it != nil && !bytes.Equal(it.Memory, st.Memory) {
		checked = len(it.Memory) == 0 || loops.ValidJSON(it.Memory)
	}
	if !checked {
		return &loops.FieldError{Field: "memory", Problem: "is not JSON"}
	}
	return nil
}

// at returns the values with the revision of the record that was written.
func (v values) at(rev uint64) values {
	for _, one := range []*value{&v.output, &v.memory, &v.best, &v.notes} {
		if one.rev == 0 {
			one.rev = rev
		}
	}
	return v
}

// state returns the whole state of a record, but for its Origin.
func (s *Store) state(ctx context.Context, r record) (loops.State, values, error) {
	c, err := readPart[checkpoint](ctx, s, r, partCheckpoint)
	if err != nil {
		return loops.State{}, values{}, err
	}
	st := c.State
	r.complete(&st)
	read := sources{store: s, newest: r, read: map[uint64]source{}}
	if c.From.Output != 0 {
		st.Output, err = read.output(ctx, c.From.Output)
	}
	if err == nil && c.From.Memory != 0 {
		st.Memory, err = read.memory(ctx, c.From.Memory)
	}
	if err == nil && c.From.Notes != 0 {
		st.Notes, err = read.notes(ctx, c.From.Notes)
	}
	if err == nil && c.From.Best != 0 && st.Best != nil {
		st.Best.Output, err = read.best(ctx, c.From.Best)
	}
	if err != nil {
		return loops.State{}, values{}, err
	}
	st.Rev = r.seq
	v := values{
		output: value{s.hashText(st.Output), revision(c.From.Output)},
		memory: value{s.hashBytes(st.Memory), revision(c.From.Memory)},
		notes:  value{s.hashNotes(st.Notes), revision(c.From.Notes)},
	}
	if st.Best != nil {
		v.best = value{s.hashText(st.Best.Output), revision(c.From.Best)}
	}
	return st, v.at(r.seq), nil
}

// revision returns the revision that a place names, 0 for the record itself.
func revision(place int64) uint64 { return uint64(max(place, 0)) }

// sources reads the records that a checkpoint takes values from.
type sources struct {
	store  *Store
	newest record
	read   map[uint64]source
}

type source struct {
	checkpoint
	iteration loops.Iteration
}

func (f *sources) at(ctx context.Context, place int64) (source, error) {
	rev := revision(place)
	if known, ok := f.read[rev]; ok {
		return known, nil
	}
	r := f.newest
	if place != own {
		var err error
		if r, err = f.store.recordAt(ctx, f.newest.Head.ID, rev); err != nil {
			return source{}, err
		}
	}
	var src source
	var err error
	if place != own {
		if src.checkpoint, err = readPart[checkpoint](ctx, f.store, r, partCheckpoint); err != nil {
			return source{}, err
		}
	}
	if r.Kind == delta {
		d, err := readPart[loops.Delta](ctx, f.store, r, partJournal)
		if err != nil {
			return source{}, err
		}
		if d.Iteration != nil {
			src.iteration = *d.Iteration
		}
	}
	f.read[rev] = src
	return src, nil
}

func (f *sources) output(ctx context.Context, place int64) (loops.Text, error) {
	src, err := f.at(ctx, place)
	if place == own || src.From.Output == own {
		return src.iteration.Output, err
	}
	return src.State.Output, err
}

func (f *sources) memory(ctx context.Context, place int64) (json.RawMessage, error) {
	src, err := f.at(ctx, place)
	if place == own || src.From.Memory == own {
		return src.iteration.Memory, err
	}
	return src.State.Memory, err
}

func (f *sources) notes(ctx context.Context, place int64) (map[string]json.RawMessage, error) {
	src, err := f.at(ctx, place)
	return maps.Clone(src.State.Notes), err
}

func (f *sources) best(ctx context.Context, place int64) (loops.Text, error) {
	src, err := f.at(ctx, place)
	if place == own || src.From.Best == own {
		return src.iteration.Output, err
	}
	if src.State.Best == nil {
		return loops.Text{}, err
	}
	return src.State.Best.Output, err
}
