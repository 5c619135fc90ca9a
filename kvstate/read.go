package kvstate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"example.com/loop-mcp/loops"
)

// Load implements [loops.Store].
func (s *Store) Load(ctx context.Context, id loops.ID) (loops.State, error) {
	var st loops.State
	err := s.reading(ctx, id, func() (err error) {
		r, err := s.last(ctx, id)
		if err != nil {
			return err
		}
		st, err = s.checkpoint(ctx, r)
		return err
	})
	if err != nil {
		return loops.State{}, fmt.Errorf("load %s: %w", id, err)
	}
	return st, nil
}

// History implements [loops.Store].
func (s *Store) History(ctx context.Context, id loops.ID) (loops.Loop, error) {
	var l loops.Loop
	err := s.reading(ctx, id, func() error {
		c, err := s.chain(ctx, id)
		if err != nil {
			return err
		}
		st, err := s.checkpoint(ctx, c.last)
		if err != nil {
			return err
		}
		if l, err = c.journal.loop(st); err != nil {
			return damaged(id, c.last.seq, err)
		}
		return nil
	})
	if err != nil {
		return loops.Loop{}, fmt.Errorf("history of %s: %w", id, err)
	}
	return l, nil
}

// reading calls read, again when a snapshot replaced what it was reading, and
// remembers a loop that does not verify.
func (s *Store) reading(ctx context.Context, id loops.ID, read func() error) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if !valid(id) {
		return loops.ErrNotFound
	}
	for seen := uint64(0); ; {
		err := read()
		if errors.Is(err, loops.ErrNotFound) { // it may be in the folder that has the place now
			if gone := s.there(); gone != nil {
				return gone
			}
		}
		var damage *damageError
		if !errors.As(err, &damage) {
			return err
		}
		newest, askErr := s.direct(ctx, streamLoops, getRequest{LastFor: subject(id)})
		if askErr == nil && newest.seq != seen {
			seen = newest.seq
			continue
		}
		if gone := s.there(); gone != nil {
			return gone
		}
		s.quarantine(id, seen, damage)
		return err
	}
}

// quarantine remembers that a loop does not verify at revision rev.
func (s *Store) quarantine(id loops.ID, rev uint64, damage *damageError) {
	s.journals.drop(id) // what is stored counts, and no snapshot may hide it
	if back, ok := errors.AsType[*setBackError](damage); ok {
		s.projection.setBack(id, back)
		return
	}
	s.projection.quarantine(id, rev, damage)
}

// last returns the newest record of a loop. ErrNotFound when there is none.
func (s *Store) last(ctx context.Context, id loops.ID) (record, error) {
	acknowledged := s.acknowledged(string(id))
	m, err := s.newest(ctx, id)
	switch {
	case errors.Is(err, errNoRecord):
		err = notBehind(id, 0, acknowledged)
		if err == nil {
			err = loops.ErrNotFound
		}
	case err == nil && (marker(m.header) || m.seq < s.marks.Ended(string(id))):
		err = loops.ErrNotFound
	case err == nil:
		err = notBehind(id, m.seq, acknowledged)
	case errors.Is(err, errMangled):
		err = damaged(id, acknowledged, err)
	}
	if err != nil {
		return record{}, err
	}
	return readRecord(id, m)
}

// newest reads the newest message of a loop. A server that has begun to decide a
// moment ago may not have read yet what others acknowledged: it is asked again.
func (s *Store) newest(ctx context.Context, id loops.ID) (stored, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		m, err := s.direct(ctx, streamLoops, getRequest{LastFor: subject(id)})
		if err != nil && !errors.Is(err, errNoRecord) || !s.replicated || m.seq >= s.projection.rev(id) {
			return m, err
		}
		if err := s.again(ctx, try, errBehind); err != nil {
			return stored{}, err
		}
	}
}

// recordAt returns the record of a loop at a revision that another one names.
func (s *Store) recordAt(ctx context.Context, id loops.ID, rev uint64) (record, error) {
	m, err := s.direct(ctx, streamLoops, getRequest{Seq: rev})
	switch {
	case errors.Is(err, errNoRecord) || err == nil && m.subject != subject(id):
		return record{}, damaged(id, rev, errors.New("it is missing, and a newer one needs it"))
	case errors.Is(err, errMangled):
		return record{}, damaged(id, rev, err)
	case err != nil:
		return record{}, err
	}
	return readRecord(id, m)
}

// chain reads a loop's journal from its last snapshot on. Where several servers
// have it, it may come from one that is behind: then it is read again.
func (s *Store) chain(ctx context.Context, id loops.ID) (*chain, error) {
	if !s.replicated {
		return s.oneChain(ctx, id)
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		newest, err := s.last(ctx, id)
		if err != nil {
			return nil, err
		}
		c, err := s.oneChain(ctx, id)
		if _, damage := errors.AsType[*damageError](err); c != nil && c.last.seq >= newest.seq || damage && try >= triesOften/2 {
			return c, err
		}
		if err == nil {
			err = errBehind
		}
		if end := s.again(ctx, try, err); end != nil {
			return nil, end
		}
	}
}

// errBehind means that a server has not yet what was acknowledged.
var errBehind = errors.New("the server that was asked is behind the others")

// oneChain reads a loop's journal as one server has it.
func (s *Store) oneChain(ctx context.Context, id loops.ID) (*chain, error) {
	base := s.projection.base(id)
	if base == 0 {
		r, err := s.last(ctx, id)
		if err != nil {
			return nil, err
		}
		base = r.Base
	}
	c := &chain{store: s}
	acknowledged, gone := s.acknowledged(string(id)), false
	err := s.batch(ctx, streamLoops, subject(id), base, func(m stored) error {
		if marker(m.header) {
			c.last, gone = record{}, true
			return nil
		}
		r, err := readRecord(id, m)
		if err != nil {
			return err
		}
		if c.last.seq == 0 && r.Kind != snapshot {
			return damaged(id, r.Base, errors.New("it is missing, and a newer one needs it"))
		}
		return c.add(ctx, r)
	})
	if errors.Is(err, errMangled) {
		err = damaged(id, c.last.seq, err)
	}
	if err == nil && (c.last.seq > 0 || !gone) {
		err = notBehind(id, c.last.seq, acknowledged)
	}
	if err == nil && c.last.seq == 0 {
		err = loops.ErrNotFound
	}
	return c, err
}

// checkpoint returns the state of a record with its Origin and remembers where
// its large values are.
func (s *Store) checkpoint(ctx context.Context, r record) (loops.State, error) {
	st, v, err := s.state(ctx, r)
	if err != nil {
		return loops.State{}, err
	}
	if st.ID != r.Head.ID || st.Iteration != r.Head.Iteration {
		return loops.State{}, damaged(r.Head.ID, r.seq, errors.New("its header and its body differ"))
	}
	o, err := s.origin(ctx, r)
	if err != nil {
		return loops.State{}, err
	}
	st.Origin = deepCopy(&o.value)
	s.projection.remember(r, v)
	return st, nil
}

// knownOrigin is the Origin of a loop, which never changes.
type knownOrigin struct {
	sum   string
	raw   []byte
	value loops.Origin // never handed out
}

// same returns mine when it says what o says, else a copy of o.
func (o *knownOrigin) same(mine loops.Origin) loops.Origin {
	if reflect.DeepEqual(mine, o.value) {
		return mine
	}
	return deepCopy(&o.value)
}

// originCache keeps the Origins that were read, up to a number of bytes.
type originCache struct {
	mu    sync.Mutex
	known map[loops.ID]*knownOrigin
	bytes int
}

const maxOrigins = 32 << 20

func (c *originCache) get(id loops.ID, sum string) *knownOrigin {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.known[id]; o != nil && o.sum == sum {
		return o
	}
	return nil
}

func (c *originCache) put(id loops.ID, o *knownOrigin) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[loops.ID]*knownOrigin{}
	}
	c.drop(id)
	for other := range c.known {
		if c.bytes+len(o.raw) <= maxOrigins {
			break
		}
		c.drop(other)
	}
	c.known[id] = o
	c.bytes += len(o.raw)
}

func (c *originCache) drop(id loops.ID) {
	if o := c.known[id]; o != nil {
		c.bytes -= len(o.raw)
		delete(c.known, id)
	}
}

// origin returns the Origin that a record belongs to.
func (s *Store) origin(ctx context.Context, r record) (*knownOrigin, error) {
	id := r.Head.ID
	if o := s.origins.get(id, r.header.Origin); o != nil {
		return o, nil
	}
	base := r
	if r.Kind != snapshot {
		var err error
		if base, err = s.recordAt(ctx, id, r.Base); err != nil {
			return nil, err
		}
	}
	c, err := readPart[checkpoint](ctx, s, base, partCheckpoint)
	if err != nil {
		return nil, err
	}
	if checksum(c.Origin) != r.header.Origin {
		return nil, damaged(id, base.seq, errors.New("it has another origin than the newest record"))
	}
	o, err := newOrigin(c.Origin)
	if err != nil {
		return nil, damaged(id, base.seq, err)
	}
	s.origins.put(id, o)
	return o, nil
}

func newOrigin(raw []byte) (*knownOrigin, error) {
	o := &knownOrigin{sum: checksum(raw), raw: raw}
	return o, json.Unmarshal(raw, &o.value)
}
