package kvstate

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// many is a crowd with marks on a server of its own that syncs each message, and
// can be opened again.
type many struct {
	crowd
	t     *testing.T
	opts  Options
	dir   string
	close func()
}

func newMany(t *testing.T, loops int) *many {
	t.Helper()
	m := &many{t: t, dir: t.TempDir(), opts: Options{Group: true, Mark: filepath.Join(t.TempDir(), "marks")}}
	m.open()
	t.Cleanup(func() { m.close() })
	for n := range loops {
		s, err := m.Create(t.Context(), crowdLoop(n))
		if err != nil {
			t.Fatal(err)
		}
		m.states = append(m.states, s)
	}
	return m
}

// open opens server and store.
func (m *many) open() {
	m.t.Helper()
	h, err := embed.Start(m.t.Context(), embed.Options{Dir: m.dir, Durability: embed.Power})
	if err != nil {
		m.t.Fatal(err)
	}
	js, err := jetstream.New(h.Conn())
	if err == nil {
		m.opts.Disk = h
		m.Store, err = Open(m.t.Context(), js, &m.opts)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	store := m.Store
	m.close = func() {
		if err := store.Close(); err != nil {
			m.t.Error(err)
		}
		h.Close()
	}
	m.posts.send = func(ctx context.Context, id string, group []*post) (uint64, error) {
		m.mu.Lock()
		m.sizes = append(m.sizes, len(group))
		m.mu.Unlock()
		return store.sendBatch(ctx, id, group)
	}
	<-m.swept
}

// hurry makes sure that it is not calm for as long as a test takes.
func (m *many) hurry() {
	m.leftovers.mu.Lock()
	defer m.leftovers.mu.Unlock()
	m.leftovers.last = time.Now().Add(time.Hour)
}

// together commits to all loops in batches, and makes sure that they count as such.
func (m *many) together(change func(n int, s *loops.State)) {
	m.t.Helper()
	began := time.Now()
	m.mu.Lock()
	m.sizes = nil
	m.mu.Unlock()
	for n, err := range m.commitAll(m.t.Context(), change) {
		if err != nil {
			m.t.Fatalf("%s: %v", m.states[n].ID, err)
		}
	}
	m.leftovers.mu.Lock()
	last := m.leftovers.last
	m.leftovers.mu.Unlock()
	if len(m.sizes) == 0 || last.Before(began) || last.After(time.Now()) {
		m.t.Fatalf("batches of %v commits, the last one at %s", m.sizes, last)
	}
	m.hurry()
}

// iterated is an iteration with so many bytes.
func iterated(s *loops.State, size int) {
	s.Iteration++
	s.Pass = s.Iteration
	s.Output = loops.Text{Text: strings.Repeat(rand.Text(), size/26+1)[:size], Size: int64(size)}
	s.New.Iteration = &loops.Iteration{Iteration: s.Iteration, Pass: s.Pass, OK: true, Output: s.Output}
}

// compare reads each loop in full and holds it against what was acknowledged.
func (m *many) compare() {
	m.t.Helper()
	m.check(m.t)
	for _, want := range m.states {
		l, err := m.History(m.t.Context(), want.ID)
		if err != nil || l.Rev != want.Rev || l.Status != want.Status || l.Output != want.Output || len(l.Iterations) != want.Iteration {
			m.t.Errorf("%s: revision %d, %s, %d iterations: %v; want %d, %s, %d", want.ID, l.Rev, l.Status, len(l.Iterations), err, want.Rev, want.Status, want.Iteration)
		}
	}
}

// left returns how many loops have left something, how much that is by the count
// that the bound is held against, and how much it is loop by loop.
func (m *many) left() (n int, counted, sum int64) {
	m.leftovers.mu.Lock()
	defer m.leftovers.mu.Unlock()
	for _, one := range m.leftovers.all {
		sum += one.bytes
	}
	return len(m.leftovers.all), m.leftovers.bytes, sum
}

// replaced returns how many records there are that no loop needs.
func (m *many) replaced() int {
	m.t.Helper()
	st, err := m.js.Stream(m.t.Context(), streamLoops)
	if err != nil {
		m.t.Fatal(err)
	}
	left := int(st.CachedInfo().State.Msgs)
	for _, need := range m.projection.needed() {
		left -= int(need.records)
	}
	return left
}

// TestWhatBatchesLeaveIsCountedAndRemovedByTheNextProcess: small and large loops,
// some that settle and some that go on, in batches that are synced. The process ends
// before it is calm; the next one leaves as much as the bound has room for.
func TestWhatBatchesLeaveIsCountedAndRemovedByTheNextProcess(t *testing.T) {
	const atOnce, rounds, large = 24, 2, 2
	m := newMany(t, atOnce)
	for range rounds {
		m.together(func(n int, s *loops.State) {
			if n%12 == 8 {
				iterated(s, 300<<10) // in the object store; it goes alone
				return
			}
			iterated(s, 100)
		})
	}
	m.together(func(n int, s *loops.State) {
		switch iterated(s, 100); n % 4 {
		case 0: // a snapshot of a loop that settles
			s.Status, s.Stop = loops.Completed, &loops.Stop{Reason: loops.GoalClaimed}
		case 1: // and of one that goes on
			s.Output.Text = strings.Repeat(rand.Text(), 3<<10)
			s.Output.Size = int64(len(s.Output.Text))
			s.New.Iteration.Output = s.Output
		}
	})
	const snapshots = atOnce / 2
	if there := m.replaced(); there < (snapshots-large)*(rounds+1) {
		t.Errorf("%d replaced records are there, want those of all snapshots", there)
	}
	if n, counted, sum := m.left(); n != snapshots || counted != sum || counted < (snapshots-large)*(rounds+1)*recordCost {
		t.Errorf("%d loops left something, %d bytes of it are counted, they left %d", n, counted, sum)
	}
	m.compare()

	m.close() // before it is calm
	m.open()
	if there := m.replaced(); there != 0 {
		t.Errorf("%d replaced records are there after the store was opened", there)
	}
	if n, counted, _ := m.left(); n != 0 || counted != 0 {
		t.Errorf("%d loops left something, %d bytes of it are counted, want none", n, counted)
	}
	m.compare()
	if v, err := m.Verify(t.Context()); err != nil || v.Damaged() > 0 {
		t.Errorf("Verify: %+v, %v", v, err)
	}

	m.states = slices.DeleteFunc(m.states, func(s loops.State) bool { return s.Status.Settled() })
	const room = 200 << 10 // for the first of them
	m.hurry()
	m.leftovers.reserve(MaxLeftovers - room)
	m.together(func(_ int, s *loops.State) {
		s.Status, s.Stop = loops.Completed, &loops.Stop{Reason: loops.GoalClaimed}
	})
	n, counted, sum := m.left()
	if n == 0 || n == len(m.states) || counted != sum+MaxLeftovers-room || counted > MaxLeftovers {
		t.Errorf("%d of %d loops left something, %d bytes of it are counted, they left %d of %d", n, len(m.states), counted, sum, room)
	}
	m.compare()
}
