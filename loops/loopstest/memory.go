package loopstest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
)

var _ loops.Store = (*Memory)(nil)

// Memory is one runner's view of a store that lives in memory. The zero value
// is not usable: see [NewMemory] and [Memory.As]. All methods are safe for
// concurrent use.
type Memory struct {
	*shared
	name   string
	handed map[loops.ID]uint64 // the revision that Ready gave out last
}

// shared is what all runners of a Memory see.
type shared struct {
	mu       sync.Mutex
	rev      uint64
	records  map[loops.ID]*record
	requests map[string]loops.ID
	blobs    map[string][]byte // by loop and reference
	side     map[string][]byte // records of Update, by key
	live     map[loops.ID][]said
	said     uint64          // lines of live text
	runners  map[string]bool // by name: alive
	faults   map[loops.ID][]Fault
	waiters  map[chan struct{}]bool // made by whoever waits, so that they belong to that bubble
}

// record is a loop as it is stored.
type record struct {
	origin, state []byte
	head          loops.Head
	journal       loops.Loop // without State
	decisions     map[int]loops.Verdict
}

// NewMemory returns an empty store as the runner "runner-1" sees it.
func NewMemory() *Memory {
	s := &shared{
		records: map[loops.ID]*record{}, requests: map[string]loops.ID{}, blobs: map[string][]byte{}, side: map[string][]byte{},
		live: map[loops.ID][]said{}, runners: map[string]bool{}, faults: map[loops.ID][]Fault{},
		waiters: map[chan struct{}]bool{},
	}
	return (&Memory{shared: s}).As("runner-1")
}

// As returns the same store as another runner sees it. A name that was killed
// lives again: a new process under an old name.
func (m *Memory) As(name string) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runners[name] = true
	return &Memory{shared: m.shared, name: name, handed: map[loops.ID]uint64{}}
}

// Kill ends a runner as SIGKILL would: its calls return [loops.ErrClosed], and
// its claims count as free.
func (m *Memory) Kill(runner string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runners[runner] = false
	m.wake()
}

// Close ends this runner; the loops stay for the others.
func (m *Memory) Close() { m.Kill(m.name) }

// Fault is what one Commit or Update meets. The zero value lets it through.
type Fault struct {
	Write  func(s *loops.State)    // another writer's change, stored just before the commit
	Change func(old []byte) []byte // another writer's change, stored just before the update
	Before error                   // returned by a write that was not stored
	After  error                   // returned by a write that was stored
}

// FailNext makes the next commits of loop id, or the next updates of the record
// with that key, meet the given faults, one each, in order.
func (m *Memory) FailNext(id loops.ID, faults ...Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[id] = append(m.faults[id], faults...)
}

// nextFault takes the fault that a commit of id meets. The caller holds mu.
func (m *Memory) nextFault(id loops.ID) Fault {
	queue := m.faults[id]
	if len(queue) == 0 {
		return Fault{}
	}
	m.faults[id] = queue[1:]
	return queue[0]
}

// Runner returns the name of this runner.
func (m *Memory) Runner() string { return m.name }

// Alive implements [loops.Aliver].
func (m *Memory) Alive(owner string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runners[owner]
}

// usable returns why a call cannot be served. The caller holds mu.
func (m *Memory) usable(ctx context.Context) error {
	if !m.runners[m.name] { // asked first: the end of the runner ends contexts, too
		return fmt.Errorf("runner %s has ended: %w", m.name, loops.ErrClosed)
	}
	return ctx.Err()
}

// wake lets everybody who waits look again. The caller holds mu.
func (m *shared) wake() {
	for waiter := range m.waiters {
		close(waiter)
	}
	clear(m.waiters)
}

// wait releases mu and returns when ctx ends, at the next change or, unless it
// is zero, at the given moment.
func (m *shared) wait(ctx context.Context, at time.Time) {
	changed := make(chan struct{})
	m.waiters[changed] = true
	m.mu.Unlock()
	var alarm <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-alarm:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiters, changed)
}

// find returns the record of id. The caller holds mu.
func (m *shared) find(id loops.ID) (*record, error) {
	if r := m.records[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("loop %s: %w", id, loops.ErrNotFound)
}

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return data, nil
}

// decode reads what encode wrote; anything else is a defect of the test helper.
func decode[T any](data []byte) T {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		panic(fmt.Sprintf("loopstest: decode %T: %v", v, err))
	}
	return v
}

// clone copies v so that nothing is shared.
func clone[T any](v T) T {
	data, err := encode(v)
	if err != nil {
		panic("loopstest: " + err.Error())
	}
	return decode[T](data)
}
