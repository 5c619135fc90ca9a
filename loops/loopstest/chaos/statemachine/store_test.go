package statemachine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// shelf is a store and what it must hold.
type shelf struct {
	*rapid.T
	dir   string
	host  *embed.Host
	store *kvstate.Store

	name    string
	made    int
	states  map[loops.ID]loops.State
	outputs map[loops.ID][]string
	blobs   map[loops.ID]map[string]string
	count   int
	bound   map[string]loops.ID
}

// TestTheStoreHoldsWhatAMapWould: commits that are small, that roll up and that
// go to the object store, blobs, records and request ids, across restarts of the
// store and its server.
func TestTheStoreHoldsWhatAMapWould(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	was := checks.Value.String()
	if n, err := strconv.Atoi(was); err == nil {
		_ = checks.Value.Set(strconv.Itoa(n/20 + 1)) // a step takes longer here
	}
	defer func() { _ = checks.Value.Set(was) }()
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		s := &shelf{T: rt, dir: dir, name: fmt.Sprint("case-", n), states: map[loops.ID]loops.State{}, outputs: map[loops.ID][]string{},
			blobs: map[loops.ID]map[string]string{}, bound: map[string]loops.ID{}}
		s.open()
		defer s.close()
		rt.Repeat(map[string]func(*rapid.T){
			"create":       func(*rapid.T) { s.create() },
			"commit":       s.commit,
			"commit more":  s.commit,
			"stale commit": s.stale,
			"blob":         s.blob,
			"record":       func(*rapid.T) { s.record() },
			"request":      func(*rapid.T) { s.request() },
			"read":         s.read,
			"open anew":    func(*rapid.T) { s.close(); s.open() },
		})
		s.close()
		s.open()
		for id := range s.states {
			s.holds(id)
		}
	})
}

func (s *shelf) must(err error) {
	if err != nil {
		s.Fatal(err)
	}
}

func (s *shelf) open() {
	var err error
	s.host, err = embed.Start(context.Background(), embed.Options{Dir: s.dir, Durability: embed.Process})
	s.must(err)
	js, err := jetstream.New(s.host.Conn())
	s.must(err)
	s.store, err = kvstate.Open(context.Background(), js, &kvstate.Options{Mark: filepath.Join(s.dir, "marks")})
	s.must(err)
}

func (s *shelf) close() { s.must(errors.Join(s.store.Close(), s.host.Close())) }

func (s *shelf) pick(rt *rapid.T) loops.ID {
	if s.made == 0 {
		rt.Skip("there is no loop")
	}
	return s.id(rapid.IntRange(1, s.made).Draw(rt, "loop"))
}

func (s *shelf) id(n int) loops.ID { return loops.ID(fmt.Sprintf("%s-%d", s.name, n)) }

func (s *shelf) create() {
	now := time.Now().UTC()
	id := s.id(s.made + 1)
	got, err := s.store.Create(context.Background(), loops.State{ID: id, Status: loops.Paused, Limits: loops.DefaultLimits(), UpdatedAt: now,
		Origin: loops.Origin{Spec: loops.Spec{Name: "shelf", Goal: "be kept"}, Source: loops.SourceLibrary, CreatedAt: now}})
	s.must(err)
	s.made++
	s.states[id] = got
}

func (s *shelf) commit(rt *rapid.T) {
	id := s.pick(rt)
	next := s.states[id]
	size := rapid.SampledFrom([]int{1, 2000, 2000, 70_000, 300_000}).Draw(rt, "size")
	next.Iteration++
	next.Status, next.Stop = loops.Paused, nil
	if rapid.IntRange(0, 4).Draw(rt, "settle") == 0 { // a snapshot
		next.Status, next.Stop = loops.Completed, &loops.Stop{Reason: loops.GoalClaimed}
	}
	output := strings.Repeat(fmt.Sprintf("%s %d. ", id, next.Iteration), size/12+1)
	next.Output = loops.Text{Text: output, Size: int64(len(output))}
	next.New.Iteration = &loops.Iteration{Iteration: next.Iteration, OK: true, Output: next.Output}
	got, err := s.store.Commit(context.Background(), next)
	s.must(err)
	s.states[id] = got
	s.outputs[id] = append(s.outputs[id], output)
}

// stale commits on a revision that is gone.
func (s *shelf) stale(rt *rapid.T) {
	id := s.pick(rt)
	old := s.states[id]
	old.Rev--
	if _, err := s.store.Commit(context.Background(), old); !errors.Is(err, loops.ErrConflict) {
		s.Fatalf("a commit to revision %d of %s, which is at %d: %v", old.Rev, id, old.Rev+1, err)
	}
}

func (s *shelf) blob(rt *rapid.T) {
	id := s.pick(rt)
	data := strings.Repeat(fmt.Sprint(id, len(s.blobs[id]), " "), rapid.SampledFrom([]int{1, 1000, 60_000}).Draw(rt, "size"))
	ref, err := s.store.PutBlob(context.Background(), id, []byte(data))
	s.must(err)
	if s.blobs[id] == nil {
		s.blobs[id] = map[string]string{}
	}
	s.blobs[id][ref] = data
}

func (s *shelf) record() {
	s.must(s.store.Update(context.Background(), s.name, func(old []byte) ([]byte, error) {
		if string(old) != strings.Repeat("x", s.count) {
			return nil, fmt.Errorf("the record is %q, want %d", old, s.count)
		}
		return append(old, 'x'), nil
	}))
	s.count++
}

func (s *shelf) request() {
	id, key := s.id(len(s.bound)+1), fmt.Sprint(s.name, " ", len(s.bound))
	got, err := s.store.Reserve(context.Background(), key, id)
	s.must(err)
	s.bound[key] = got
	for key, want := range s.bound {
		if got, err := s.store.Reserve(context.Background(), key, "another"); err != nil || got != want {
			s.Fatalf("request %q is bound to %s (%v), want %s", key, got, err, want)
		}
	}
}

func (s *shelf) read(rt *rapid.T) { s.holds(s.pick(rt)) }

// holds compares a loop with what was put there.
func (s *shelf) holds(id loops.ID) {
	l, err := s.store.History(context.Background(), id)
	s.must(err)
	if want := s.states[id]; l.Rev != want.Rev || l.Iteration != want.Iteration || l.Status != want.Status || l.Output != want.Output {
		s.Fatalf("%s is %s at revision %d, iteration %d; want %s at %d, %d", id, l.Status, l.Rev, l.Iteration, want.Status, want.Rev, want.Iteration)
	}
	if len(l.Iterations) != len(s.outputs[id]) {
		s.Fatalf("%s has %d iterations, want %d", id, len(l.Iterations), len(s.outputs[id]))
	}
	for i, it := range l.Iterations {
		if it.Output.Text != s.outputs[id][i] {
			s.Fatalf("%s: the output of iteration %d is another one", id, i+1)
		}
	}
	for ref, want := range s.blobs[id] {
		got, err := s.store.Blob(context.Background(), id, ref)
		s.must(err)
		if string(got) != want {
			s.Fatalf("%s: the blob %s is another one", id, ref)
		}
	}
}
