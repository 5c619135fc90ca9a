package loopstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"example.com/loop-mcp/loops"
)

// Create implements [loops.Store].
func (m *Memory) Create(ctx context.Context, s loops.State) (loops.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return loops.State{}, fmt.Errorf("create %s: %w", s.ID, err)
	}
	if m.records[s.ID] != nil {
		return loops.State{}, fmt.Errorf("create %s: %w", s.ID, loops.ErrExists)
	}
	if pins := s.Origin.Pins; len(pins) > 0 && m.records[pins[0]] == nil {
		return loops.State{}, fmt.Errorf("create %s, which pins %s: %w", s.ID, pins[0], loops.ErrNotFound)
	}
	origin, err := encode(s.Origin)
	if err != nil {
		return loops.State{}, fmt.Errorf("create %s: %w", s.ID, err)
	}
	r := &record{origin: origin, decisions: map[int]loops.Verdict{}}
	if err := m.store(r, s); err != nil {
		return loops.State{}, fmt.Errorf("create %s: %w", s.ID, err)
	}
	m.records[s.ID] = r
	return r.checkpoint(), nil
}

// Load implements [loops.Store].
func (m *Memory) Load(ctx context.Context, id loops.ID) (loops.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return loops.State{}, fmt.Errorf("load %s: %w", id, err)
	}
	r, err := m.find(id)
	if err != nil {
		return loops.State{}, err
	}
	return r.checkpoint(), nil
}

// History implements [loops.Store].
func (m *Memory) History(ctx context.Context, id loops.ID) (loops.Loop, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return loops.Loop{}, fmt.Errorf("history of %s: %w", id, err)
	}
	r, err := m.find(id)
	if err != nil {
		return loops.Loop{}, err
	}
	l := loops.Loop{
		State: r.checkpoint(), Iterations: clone(r.journal.Iterations),
		Verdicts: clone(r.journal.Verdicts), Events: clone(r.journal.Events),
	}
	for i := range l.Iterations {
		if d, ok := r.decisions[l.Iterations[i].Iteration]; ok {
			l.Iterations[i].Verdict = new(clone(d))
		}
	}
	return l, nil
}

// Commit implements [loops.Store].
func (m *Memory) Commit(ctx context.Context, s loops.State) (loops.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return loops.State{}, fmt.Errorf("commit %s: %w", s.ID, err)
	}
	r, err := m.find(s.ID)
	if err != nil {
		return loops.State{}, fmt.Errorf("commit: %w", err)
	}
	fault := m.nextFault(s.ID)
	if fault.Write != nil {
		other := r.checkpoint()
		fault.Write(&other)
		if err := m.store(r, other); err != nil {
			return loops.State{}, fmt.Errorf("commit %s, the other writer: %w", s.ID, err)
		}
	}
	if fault.Before != nil {
		return loops.State{}, fmt.Errorf("commit %s: %w", s.ID, fault.Before)
	}
	if s.Rev != r.head.Rev {
		return loops.State{}, fmt.Errorf("commit %s at revision %d, stored is %d: %w", s.ID, s.Rev, r.head.Rev, loops.ErrConflict)
	}
	if err := m.store(r, s); err != nil {
		return loops.State{}, fmt.Errorf("commit %s: %w", s.ID, err)
	}
	if fault.After != nil {
		return loops.State{}, fmt.Errorf("commit %s: %w", s.ID, fault.After)
	}
	return r.checkpoint(), nil
}

// store puts s into r under a new revision. The caller holds mu.
func (m *shared) store(r *record, s loops.State) error {
	state, err := encode(s)
	if err != nil {
		return err
	}
	delta, err := encode(s.New)
	if err != nil {
		return err
	}
	m.rev++
	r.state = state
	r.head.Rev = m.rev
	stored := r.checkpoint()
	r.head = clone(stored.Head())
	r.head.Rev = m.rev
	r.append(decode[loops.Delta](delta))
	m.wake()
	return nil
}

// append adds what a commit brings to the journal.
func (r *record) append(d loops.Delta) {
	if d.Iteration != nil {
		d.Iteration.Verdict = nil
		r.journal.Iterations = append(r.journal.Iterations, *d.Iteration)
	}
	if d.Decision != nil {
		r.decisions[d.Decision.Iteration] = *d.Decision
	}
	r.journal.Verdicts = append(r.journal.Verdicts, d.Verdicts...)
	r.journal.Events = append(r.journal.Events, d.Events...)
}

// checkpoint returns a copy of the stored state.
func (r *record) checkpoint() loops.State {
	s := decode[loops.State](r.state)
	s.Origin = decode[loops.Origin](r.origin)
	s.Rev = r.head.Rev
	return s
}

// Reserve implements [loops.Store].
func (m *Memory) Reserve(ctx context.Context, requestID string, id loops.ID) (loops.ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return "", fmt.Errorf("reserve %q: %w", requestID, err)
	}
	if bound, ok := m.requests[requestID]; ok {
		return bound, nil
	}
	m.requests[requestID] = id
	return id, nil
}

// PutBlob implements [loops.Store].
func (m *Memory) PutBlob(ctx context.Context, id loops.ID, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	ref := hex.EncodeToString(sum[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return "", fmt.Errorf("store a blob of %s: %w", id, err)
	}
	m.blobs[blobKey(id, ref)] = slices.Clone(data)
	return ref, nil
}

// Blob implements [loops.Store].
func (m *Memory) Blob(ctx context.Context, id loops.ID, ref string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, fmt.Errorf("read blob %s of %s: %w", ref, id, err)
	}
	for _, of := range append([]loops.ID{id}, m.pins(id)...) {
		if data, ok := m.blobs[blobKey(of, ref)]; ok {
			return slices.Clone(data), nil
		}
	}
	return nil, fmt.Errorf("blob %s of loop %s: %w", ref, id, loops.ErrNotFound)
}

// pins are the loops whose blobs id reads, too. The caller holds mu.
func (m *shared) pins(id loops.ID) []loops.ID {
	if r := m.records[id]; r != nil {
		return decode[loops.Origin](r.origin).Pins
	}
	return nil
}

func blobKey(id loops.ID, ref string) string { return string(id) + "/" + ref }

// Update implements [loops.Store]. Records are kept for ever.
func (m *Memory) Update(ctx context.Context, key string, change func(old []byte) ([]byte, error)) error {
	if err := loops.CheckKey(key); err != nil {
		return fmt.Errorf("update the record %s: %w", key, err)
	}
	for {
		old, err := m.read(ctx, key)
		if err != nil {
			return fmt.Errorf("update the record %s: %w", key, err)
		}
		data, err := change(slices.Clone(old))
		if err != nil {
			return err
		}
		if err := loops.CheckRecord(key, data); err != nil {
			return fmt.Errorf("update the record %s: %w", key, err)
		}
		if err := m.swap(ctx, key, old, data); !errors.Is(err, loops.ErrConflict) {
			return err
		}
	}
}

// read returns the record key, nil when there is none.
func (m *Memory) read(ctx context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.side[key], m.usable(ctx)
}

// swap replaces old by data. ErrConflict when it is not there any more.
func (m *Memory) swap(ctx context.Context, key string, old, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return fmt.Errorf("update the record %s: %w", key, err)
	}
	fault := m.nextFault(loops.ID(key))
	if fault.Change != nil {
		m.side[key] = fault.Change(slices.Clone(m.side[key]))
	}
	if fault.Before != nil {
		return fmt.Errorf("update the record %s: %w", key, fault.Before)
	}
	if now := m.side[key]; !bytes.Equal(now, old) || (now == nil) != (old == nil) {
		return loops.ErrConflict
	}
	m.side[key] = append([]byte{}, data...)
	if fault.After != nil {
		return fmt.Errorf("update the record %s: %w", key, fault.After)
	}
	return nil
}
