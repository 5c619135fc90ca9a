package kvstate

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// TestWhatASnapshotReplacedStaysWhileCommitsWait, is never read, and is gone when
// it is calm.
func TestWhatASnapshotReplacedStaysWhileCommitsWait(t *testing.T) {
	tests := []struct {
		name string
		end  func(*messy, loops.State) loops.State
	}{
		{"settled", (*messy).settle},
		{"it goes on", (*messy).grow},
		{"it goes on and settles", func(m *messy, s loops.State) loops.State { return m.settle(m.iterate(m.grow(s), 2, 100)) }},
		{"an iteration later", func(m *messy, s loops.State) loops.State { return m.iterate(m.grow(s), 1, 100) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMessy(t, nil)
				m.leftovers.press()
				s := m.loop("left-aaaa", 3, 300<<10) // in the object store
				s = test.end(m, s)
				if n := m.records(s.ID); n < 5 {
					t.Errorf("%d records while commits wait, want all", n)
				}
				m.projection.mu.Lock()
				stale := m.projection.entries[s.ID]
				m.projection.mu.Unlock()
				m.check(s)
				// A process that has not seen the snapshot yet begins with what is before it.
				old := *stale
				old.Base = 1
				m.projection.mu.Lock()
				m.projection.entries[s.ID] = &old
				m.projection.mu.Unlock()
				if l, err := m.History(t.Context(), s.ID); err != nil || len(l.Iterations) != s.Iteration {
					t.Errorf("from the records before the snapshot: %d iterations, %v", len(l.Iterations), err)
				}
				m.projection.mu.Lock()
				m.projection.entries[s.ID] = stale
				m.projection.mu.Unlock()
				time.Sleep(2 * calm)
				synctest.Wait()
				head, _, _ := m.projection.at(s.ID, s.Rev)
				if n := m.records(s.ID); n != uint64(head.Count+1) {
					t.Errorf("%d records when it is calm, want %d", n, head.Count+1)
				}
				m.wantNothing()
				names, err := m.blobs.names(t.Context())
				if err != nil || len(names) != len(objectsOf(m, s.ID)) {
					t.Errorf("objects %v are left, %v", names, err)
				}
				m.check(s)
			})
		})
	}
}

// objectsOf returns the objects that the records of a loop name.
func objectsOf(m *messy, id loops.ID) []string {
	c, err := m.chain(m.t.Context(), id)
	if err != nil {
		m.t.Fatal(err)
	}
	return c.objects
}

// fullDisk has room for messages, and not for leftovers.
type fullDisk struct{}

func (fullDisk) Room(size int64, _ bool) error {
	if size > MaxLeftovers/2 {
		return errors.New("the disk is nearly full")
	}
	return nil
}

func (fullDisk) Try() error { return nil }

func (fullDisk) There() error { return nil }

// TestASnapshotReplacesAtOnceWhenNothingMayStay: what is older is gone with it.
func TestASnapshotReplacesAtOnceWhenNothingMayStay(t *testing.T) {
	marks := func(t *testing.T) string { return filepath.Join(t.TempDir(), "marks") }
	tests := []struct {
		name  string
		opts  func(*testing.T) Options
		press func(*messy)
	}{
		{"nobody waits", func(t *testing.T) Options { return Options{Mark: marks(t)} }, func(*messy) {}},
		{"no marks", func(*testing.T) Options { return Options{} }, nil},
		{"a short retention", func(t *testing.T) Options { return Options{Mark: marks(t), Retention: time.Hour} }, nil},
		{"the disk has no room", func(t *testing.T) Options { return Options{Mark: marks(t), Disk: fullDisk{}} }, nil},
		{"enough is left over", func(t *testing.T) Options { return Options{Mark: marks(t)} }, func(m *messy) {
			m.leftovers.press()
			m.leftovers.reserve(MaxLeftovers - recordCost)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := test.opts(t)
			m := newMessy(t, &opts)
			s := m.loop("left-aaaa", 3, 100)
			if test.press == nil {
				test.press = func(m *messy) { m.leftovers.press() }
			}
			test.press(m)
			_, before := m.counted()
			s = m.settle(s)
			if n := m.records(s.ID); n != 1 {
				t.Errorf("%d records, want 1", n)
			}
			if _, bytes := m.counted(); bytes != before {
				t.Errorf("%d bytes are counted, before it were %d", bytes, before)
			}
		})
	}
}

// TestALoopThatWasReopenedLeavesNothingToExpire: its settled record has a time to
// live, and goes with the next one.
func TestALoopThatWasReopenedLeavesNothingToExpire(t *testing.T) {
	m := newMessy(t, nil)
	s := m.loop("left-aaaa", 3, 100)
	m.leftovers.press()
	s = m.settle(s)
	s.Status, s.Stop = loops.Paused, nil
	s = m.commit(s)
	if n := m.records(s.ID); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	m.wantNothing()
	m.check(s)
}

// TestARefusedSnapshotLeavesNothingCounted.
func TestARefusedSnapshotLeavesNothingCounted(t *testing.T) {
	m := newMessy(t, nil)
	s := m.loop("left-aaaa", 3, 100)
	m.iterate(s, 1, 100)
	m.leftovers.press()
	s.Status = loops.Completed
	w, err := m.compact(t.Context(), &s, &header{Nonce: "other", Prev: 1}, rawDelta{})
	if err == nil {
		_, err = m.store(t.Context(), w, s.Rev)
	}
	if !errors.Is(err, loops.ErrConflict) {
		t.Errorf("an old revision: %v", err)
	}
	m.wantNothing()
}

// TestWhatAProcessLeftOverIsRemoved by the next one that opens the store. A kill
// at any point between a snapshot and the removal of what it replaced leaves all of
// that, or some of it when it was in the middle.
func TestWhatAProcessLeftOverIsRemoved(t *testing.T) {
	for name, some := range map[string]bool{"all of it": false, "some of it": true} {
		t.Run(name, func(t *testing.T) {
			m := newMessy(t, nil)
			settled, running := m.loop("left-aaaa", 4, 100), m.loop("left-bbbb", 4, 100)
			m.leftovers.press()
			settled, running = m.settle(settled), m.iterate(m.grow(running), 2, 100)
			if some {
				for _, id := range []loops.ID{settled.ID, running.ID} {
					st, err := m.js.Stream(t.Context(), streamLoops)
					if err == nil {
						err = st.Purge(t.Context(), jetstream.WithPurgeSubject(subject(id)), jetstream.WithPurgeSequence(6))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			m.reopen()
			for _, id := range []loops.ID{settled.ID, running.ID} {
				if n, want := m.records(id), m.projection.needed()[id].records; n != want {
					t.Errorf("%d records of %s, want %d", n, id, want)
				}
			}
			m.check(settled)
			m.check(running)
			running = m.settle(running)
			if n := m.records(running.ID); n != 1 {
				t.Errorf("%d records of it after its next snapshot", n)
			}
			m.wantNothing()
			m.check(running)
		})
	}
}

// TestWhatIsOlderIsRemovedFirst, also when there is more of it by now; what could not
// be removed is not in the way of others.
func TestWhatIsOlderIsRemovedFirst(t *testing.T) {
	l := leftovers{wake: make(chan struct{}, 1)}
	for n, id := range []loops.ID{"c", "a", "b", "c", "d"} {
		l.note(&write{header: header{Head: loops.Head{ID: id}}, replaces: 10}, uint64(n+1), true)
		l.bytes += 10 // as reserve did
	}
	l.note(&write{header: header{Head: loops.Head{ID: "a"}}}, 9, false) // a rollup
	if id, one, _ := l.next(); id != "c" || one.before != 4 || one.bytes != 20 {
		t.Fatalf("first is %s: %+v", id, one)
	}
	l.later("c")
	var order []loops.ID
	for id, one, _ := l.next(); id != ""; id, one, _ = l.next() {
		order = append(order, id)
		l.removed(id, one.before)
	}
	if want := []loops.ID{"b", "d", "c"}; !slices.Equal(order, want) || l.bytes != 0 || l.order.Len() != 0 {
		t.Errorf("removed were %v, want %v; %d bytes and %d places are left", order, want, l.bytes, l.order.Len())
	}
}

// TestWhatALostSnapshotReplacedStays: the sweep asks for the snapshot before it
// removes anything.
func TestWhatALostSnapshotReplacedStays(t *testing.T) {
	m := newMessy(t, nil)
	other := m.loop("left-bbbb", 1, 100)
	s := m.loop("left-aaaa", 3, 100)
	m.leftovers.press()
	s = m.iterate(m.grow(s), 1, 100)
	before := m.records(s.ID)
	m.projection.mu.Lock()
	lost := *m.projection.entries[s.ID]
	lost.Base = other.Rev // the record at this revision is not one of its own
	m.projection.entries[s.ID] = &lost
	m.projection.mu.Unlock()
	if err := m.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := m.records(s.ID); n != before {
		t.Errorf("%d records, want all %d", n, before)
	}
}

// TestADamagedLoopKeepsWhatItsSnapshotReplaced.
func TestADamagedLoopKeepsWhatItsSnapshotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMessy(t, nil)
		s := m.loop("left-aaaa", 3, 100)
		m.leftovers.press()
		s = m.settle(s)
		m.quarantine(s.ID, s.Rev, &damageError{s.ID, s.Rev, errors.New("it is broken")})
		time.Sleep(2 * calm)
		synctest.Wait()
		if n := m.records(s.ID); n != 5 {
			t.Errorf("%d records, want all 5", n)
		}
		m.wantNothing()
	})
}

// TestTheSweepCountsWhatItRemoves, while it is never calm.
func TestTheSweepCountsWhatItRemoves(t *testing.T) {
	m := newMessy(t, nil)
	s := m.loop("left-aaaa", 3, 100)
	m.leftovers.press()
	s = m.settle(s)
	if n, bytes := m.counted(); n != 1 || bytes <= 0 {
		t.Errorf("%d leftovers of %d bytes", n, bytes)
	}
	if err := m.sweep(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := m.records(s.ID); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	m.wantNothing()
}
