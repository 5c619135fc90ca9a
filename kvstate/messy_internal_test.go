package kvstate

import (
	"bytes"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// messy is a store with marks on a server of its own.
type messy struct {
	*Store
	t    *testing.T
	opts Options
}

// newMessy opens a store; opts may be nil.
func newMessy(t *testing.T, opts *Options) *messy {
	t.Helper()
	_, js := hosted(t, t.TempDir())
	if opts == nil {
		opts = &Options{Mark: filepath.Join(t.TempDir(), "marks")}
	}
	m := &messy{t: t, opts: *opts}
	m.open(js)
	return m
}

func (m *messy) open(js jetstream.JetStream) {
	m.t.Helper()
	store, err := Open(m.t.Context(), js, &m.opts)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Store = store
	m.t.Cleanup(func() { store.Close() })
	<-store.swept // else it may remove what a test wants to see
}

// reopen ends the store and opens it again.
func (m *messy) reopen() {
	m.t.Helper()
	if err := m.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.open(m.js)
}

// loop creates a loop with so many iterations of size bytes.
func (m *messy) loop(id loops.ID, iterations, size int) loops.State {
	m.t.Helper()
	s := crowdLoop(0)
	s.ID = id
	s, err := m.Create(m.t.Context(), s)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.iterate(s, iterations, size)
}

func (m *messy) iterate(s loops.State, iterations, size int) loops.State {
	m.t.Helper()
	for range iterations {
		s.Iteration++
		s.Pass = s.Iteration
		s.Output = loops.Text{Text: rand64(size), Size: int64(size)}
		s.New.Iteration = &loops.Iteration{Iteration: s.Iteration, Pass: s.Pass, OK: true, Output: s.Output}
		s = m.commit(s)
	}
	return s
}

func (m *messy) commit(s loops.State) loops.State {
	m.t.Helper()
	s, err := m.Commit(m.t.Context(), s)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func (m *messy) settle(s loops.State) loops.State {
	m.t.Helper()
	s.Status, s.Stop = loops.Completed, &loops.Stop{Reason: loops.GoalClaimed}
	return m.commit(s)
}

// grow iterates until there is another snapshot.
func (m *messy) grow(s loops.State) loops.State {
	m.t.Helper()
	for base := m.projection.base(s.ID); m.projection.base(s.ID) == base; {
		s = m.iterate(s, 1, 20<<10)
	}
	return s
}

// records returns how many the stream has of a loop.
func (m *messy) records(id loops.ID) uint64 {
	m.t.Helper()
	st, err := m.js.Stream(m.t.Context(), streamLoops)
	if err != nil {
		m.t.Fatal(err)
	}
	info, err := st.Info(m.t.Context(), jetstream.WithSubjectFilter(subject(id)))
	if err != nil {
		m.t.Fatal(err)
	}
	return info.State.Subjects[subject(id)]
}

// check reads a loop in every way.
func (m *messy) check(want loops.State) {
	m.t.Helper()
	got, err := m.Load(m.t.Context(), want.ID)
	if err != nil || got.Rev != want.Rev || got.Status != want.Status || got.Output != want.Output {
		m.t.Errorf("Load gives revision %d, %s: %v; want %d, %s", got.Rev, got.Status, err, want.Rev, want.Status)
	}
	l, err := m.History(m.t.Context(), want.ID)
	if err != nil || l.Rev != want.Rev || len(l.Iterations) != want.Iteration {
		m.t.Errorf("History gives revision %d with %d iterations: %v; want %d with %d", l.Rev, len(l.Iterations), err, want.Rev, want.Iteration)
	}
	if v, err := m.Verify(m.t.Context()); err != nil || v.Damaged() > 0 {
		m.t.Errorf("Verify: %+v, %v", v, err)
	}
	var file bytes.Buffer
	if manifest, err := m.Backup(m.t.Context(), &file); err != nil || len(manifest.LeftOut) > 0 {
		m.t.Fatalf("Backup: %+v, %v", manifest, err)
	}
	copied := newMessy(m.t, nil)
	if _, err := copied.Restore(m.t.Context(), bytes.NewReader(file.Bytes()), int64(file.Len())); err != nil {
		m.t.Fatal(err)
	}
	if l, err := copied.History(m.t.Context(), want.ID); err != nil || l.Status != want.Status || len(l.Iterations) != want.Iteration {
		m.t.Errorf("restored: %s with %d iterations: %v", l.Status, len(l.Iterations), err)
	}
}

// counted returns what is counted as left over.
func (m *messy) counted() (int, int64) {
	m.leftovers.mu.Lock()
	defer m.leftovers.mu.Unlock()
	return len(m.leftovers.all), m.leftovers.bytes
}

func (m *messy) wantNothing() {
	m.t.Helper()
	if n, bytes := m.counted(); n != 0 || bytes != 0 {
		m.t.Errorf("%d leftovers of %d bytes are counted, want none", n, bytes)
	}
}

// rand64 returns n bytes that do not compress well.
func rand64(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(rand.Text())
	}
	return b.String()[:n]
}
