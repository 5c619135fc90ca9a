package kvstate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/loop-mcp/loops"
)

// When the next commit becomes a snapshot: the deltas take more than growth
// times the last one, and at least minGrowth bytes, or are more than maxDeltas.
// A growth of 2 writes each byte at most 2.5 times over the life of a loop.
const (
	growth    = 2
	minGrowth = 64 << 10
	maxDeltas = 10_000
)

// write is a record that is about to be published.
type write struct {
	header
	rollup   bool
	replaces int64 // bytes of the records before it, if they may stay for a while
	parts    [2][]byte
	values   values
	delta    rawDelta // what it adds to the journal of the record before it
	journal  journal  // of a snapshot
	old      []string // objects of the records that it replaces
}

// objects returns the names of its parts that are in the object store.
func (h *header) objects() []string {
	var names []string
	for _, o := range h.Objects {
		if o != nil {
			names = append(names, o.Name)
		}
	}
	return names
}

// Create implements [loops.Store].
func (s *Store) Create(ctx context.Context, st loops.State) (loops.State, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return loops.State{}, fmt.Errorf("create %s: %w", st.ID, err)
	}
	defer end()
	if !valid(st.ID) {
		return loops.State{}, &loops.FieldError{Field: "id", Problem: fmt.Sprintf("must be 1 to %d letters, digits, hyphens and underscores, got %q", maxID, st.ID)}
	}
	st, err = s.create(ctx, st)
	if err != nil {
		return loops.State{}, fmt.Errorf("create %s: %w", st.ID, err)
	}
	return st, nil
}

func (s *Store) create(ctx context.Context, st loops.State) (loops.State, error) {
	st.Rev = 0
	err := s.checkMemory(&st, values{})
	if err == nil {
		st.Origin.Pins, err = s.pin(ctx, st.ID, st.Origin.Pins)
	}
	if err != nil {
		return st, err
	}
	raw, err := json.Marshal(st.Origin)
	if err != nil {
		return st, fmt.Errorf("encode the origin: %w", err)
	}
	o, err := newOrigin(raw)
	if err != nil {
		return st, fmt.Errorf("encode the origin: %w", err)
	}
	st.Origin = o.same(st.Origin)
	d, _, err := encodeDelta(&st.New)
	if err != nil {
		return st, fmt.Errorf("encode the journal: %w", err)
	}
	var j journal
	j.add(d)
	w, err := s.snapshot(&st, j, &header{}, o)
	if err != nil {
		return st, err
	}
	if err := s.checkNew(ctx, st.ID); err != nil {
		return st, err
	}
	seq, err := s.store(ctx, w, 0)
	if errors.Is(err, loops.ErrConflict) {
		// The key may be there because a loop of this id is gone.
		if m, askErr := s.leader(ctx, streamLoops, getRequest{LastFor: subject(st.ID)}); askErr == nil && marker(m.header) {
			w.rollup = true
			seq, err = s.store(ctx, w, m.seq)
		}
	}
	if errors.Is(err, loops.ErrConflict) {
		err = loops.ErrExists
	}
	if err != nil {
		return st, err
	}
	s.origins.put(st.ID, o)
	st.Rev, st.New = seq, loops.Delta{}
	return st, nil
}

// Commit implements [loops.Store].
func (s *Store) Commit(ctx context.Context, st loops.State) (loops.State, error) {
	if err := s.CommitIn(ctx, &st); err != nil {
		return loops.State{}, err
	}
	return st, nil
}

// CommitIn implements [loops.Committer].
func (s *Store) CommitIn(ctx context.Context, st *loops.State) error {
	end, err := s.begin(ctx)
	if err == nil {
		defer end()
		err = s.commit(ctx, st)
	}
	if damage, ok := errors.AsType[*damageError](err); ok {
		s.quarantine(st.ID, st.Rev, damage)
	}
	if err != nil {
		return fmt.Errorf("commit %s at revision %d: %w", st.ID, st.Rev, err)
	}
	return nil
}

func (s *Store) commit(ctx context.Context, st *loops.State) error {
	w, err := s.prepare(ctx, st)
	if err != nil {
		return err
	}
	if st.Status.Settled() || st.Status == loops.Paused || st.Intent.Cancel != nil {
		ctx = asUrgent(ctx)
	}
	seq, err := s.store(ctx, w, st.Rev)
	if err == nil {
		st.Rev, st.New = seq, loops.Delta{}
	}
	return err
}

// prepare checks st and makes its record.
//
//go:noinline
func (s *Store) prepare(ctx context.Context, st *loops.State) (*write, error) {
	if !valid(st.ID) {
		return nil, loops.ErrNotFound
	}
	prev, known, err := s.predecessor(ctx, st.ID, st.Rev)
	if err != nil {
		return nil, err
	}
	next := header{Prev: st.Rev, Base: prev.Base}
	next.Head.Iteration = st.Iteration
	if err := follows(prev, st.Rev, &next, st.New.Iteration != nil); err != nil {
		return nil, fmt.Errorf("the state does not continue the stored one: %w", err)
	}
	if it := st.New.Iteration; it != nil && it.Iteration != st.Iteration {
		return nil, fmt.Errorf("the new iteration has the number %d, the state %d", it.Iteration, st.Iteration)
	}
	if err := s.checkMemory(st, known); err != nil {
		return nil, err
	}
	return s.compose(ctx, st, prev, known)
}

// predecessor returns the header of the record at rev if that is the newest. It is
// for reading.
func (s *Store) predecessor(ctx context.Context, id loops.ID, rev uint64) (*header, values, error) {
	if h, v, ok := s.projection.at(id, rev); ok {
		return h, v, nil
	}
	r, err := s.last(ctx, id)
	switch {
	case err != nil:
		return nil, values{}, err
	case r.seq != rev:
		return nil, values{}, fmt.Errorf("stored is revision %d: %w", r.seq, loops.ErrConflict)
	}
	return &r.header, values{}, nil
}

// compose makes the record that follows prev.
func (s *Store) compose(ctx context.Context, st *loops.State, prev *header, known values) (*write, error) {
	w := new(write)
	w.Kind, w.Base, w.Floor, w.BaseSize, w.Count = delta, prev.Base, prev.Floor, prev.BaseSize, prev.Count+1
	var c checkpoint
	var err error
	c.State = *st
	c.From, w.values = s.trim(&c.State, known)
	if w.delta, w.parts[partJournal], err = encodeDelta(&st.New); err != nil {
		return nil, fmt.Errorf("encode the journal: %w", err)
	}
	if w.parts[partCheckpoint], err = c.encode(); err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	w.Since = prev.Since + int64(len(w.parts[0])+len(w.parts[1]))
	// A time to live may stand only on a record that is alone.
	if st.Status.Settled() || prev.Expires != 0 || w.Since > max(minGrowth, growth*prev.BaseSize) || w.Count > maxDeltas {
		return s.compact(ctx, st, prev, w.delta)
	}
	s.identify(w, st, prev)
	return w, nil
}

// compact makes a snapshot of all records of a loop, of st and of d, which st
// adds to the journal.
func (s *Store) compact(ctx context.Context, st *loops.State, prev *header, d rawDelta) (*write, error) {
	// gofail: var beforeCompact struct{}
	j, old, known := s.journals.get(st.ID, st.Rev, prev.Nonce)
	o := s.origins.get(st.ID, prev.Origin)
	if !known || o == nil {
		c, err := s.chain(ctx, st.ID)
		if err != nil {
			return nil, err
		}
		if c.last.seq != st.Rev {
			return nil, fmt.Errorf("stored is revision %d: %w", c.last.seq, loops.ErrConflict)
		}
		if o, err = s.origin(ctx, c.last); err != nil {
			return nil, err
		}
		j, old = c.journal, c.objects
	}
	j.add(d)
	j.bound()
	w, err := s.snapshot(st, j, prev, o)
	if err == nil {
		w.old, w.delta = old, d
		if prev.Expires == 0 { // else what it replaces goes at once, and is not left to expire
			w.replaces = prev.BaseSize + prev.Since + int64(prev.Count+1)*recordCost
		}
	}
	return w, err
}

// snapshot makes a record that stands alone, with the journal j.
func (s *Store) snapshot(st *loops.State, j journal, prev *header, o *knownOrigin) (*write, error) {
	w := &write{rollup: prev.Nonce != "", values: s.valuesOf(st), journal: j}
	w.Kind, w.Floor, w.header.Origin = snapshot, st.Rev, o.sum
	w.parts[partJournal] = j.encode()
	var err error
	if w.parts[partCheckpoint], err = (&checkpoint{Origin: o.raw, State: *st}).encode(); err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	w.BaseSize = int64(len(w.parts[0]) + len(w.parts[1]))
	if st.Status.Settled() && s.opts.Retention > 0 {
		w.Expires = time.Now().Add(s.opts.Retention).Unix()
	}
	s.identify(w, st, prev)
	return w, nil
}

// identify fills in what ties a record to its loop and its predecessor. What
// comes from the Origin stays as it was.
func (s *Store) identify(w *write, st *loops.State, prev *header) {
	w.Version = Format
	w.Nonce, w.PrevNonce = rand.Text()[:16], prev.Nonce
	w.Prev = st.Rev
	w.Head = st.Head()
	if prev.Nonce == "" {
		return
	}
	w.header.Origin = prev.Origin
	w.Head.Name, w.Head.Labels, w.Head.Parent, w.Head.CreatedAt = prev.Head.Name, prev.Head.Labels, prev.Head.Parent, prev.Head.CreatedAt
	w.Head.Pins = prev.Head.Pins
}
