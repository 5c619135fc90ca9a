package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// site is where bodies of several workers run: what an outsider sees of them.
type site struct {
	mu      sync.Mutex
	running map[string]int // by worker
	starts  int
	both    bool // bodies of two workers ran at once
	order   []string
	ended   map[string]error
}

func newSite() *site {
	return &site{running: map[string]int{}, ended: map[string]error{}}
}

// body returns a body for a worker. It takes its time for each iteration and
// stops when it is told to.
func (s *site) body(worker string, takes time.Duration) loops.Body {
	return loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
		s.begin(worker)
		defer s.end(ctx, worker)
		select {
		case <-ctx.Done():
			return loops.Result{}, context.Cause(ctx)
		case <-time.After(takes):
			return loops.Result{Output: fmt.Sprintf("iteration %d by %s", t.Iteration, worker), Done: t.Iteration == 5}, nil
		}
	})
}

func (s *site) begin(worker string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts++
	s.running[worker]++
	for other, n := range s.running {
		s.both = s.both || other != worker && n > 0
	}
	s.order = append(s.order, worker)
}

// has waits until a worker has the loop: whoever comes before that may take it.
func (s *site) has(worker string) {
	for {
		time.Sleep(time.Second)
		s.mu.Lock()
		began := s.running[worker] > 0
		s.mu.Unlock()
		if began {
			return
		}
	}
}

func (s *site) end(ctx context.Context, worker string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[worker]--
	s.ended[worker] = context.Cause(ctx)
}

// worker works on loops on a member until stop is called.
func (s *site) worker(t *testing.T, m *cluster.Member, name string, takes time.Duration) (e *loops.Engine, stop func()) {
	e = loops.New(store(t, m), loops.Parts{Handlers: map[string]loops.Body{"work": s.body(name, takes)}}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return e, stop
}

func start(t *testing.T, e *loops.Engine) loops.ID {
	t.Helper()
	out, err := e.Start(t.Context(), loops.StartRequest{Spec: loops.Spec{
		Goal: "Five iterations", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "work"},
		Limits: loops.Limits{MaxIterations: 8, MaxPasses: 8, IterationTimeout: loops.Duration(time.Hour)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// check waits for the end of a loop and looks at its journal.
func (s *site) check(t *testing.T, e *loops.Engine, id loops.ID, starts int) {
	t.Helper()
	got, _, err := e.Wait(t.Context(), id, 0, loops.ForSettled, 20*time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := must[loops.Loop](t)(e.History(t.Context(), id))
	var numbers []int
	for _, it := range l.Iterations {
		numbers = append(numbers, it.Iteration)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4, 5}, numbers); diff != "" || got.Status != loops.Completed {
		t.Errorf("%s: iterations %s", got.Summary(), diff)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.both {
		t.Errorf("two workers ran the body at once: %v", s.order)
	}
	if got.Ledger.Starts > 8 || s.starts > got.Ledger.Starts || s.starts != starts {
		t.Errorf("the body was started %d times, want %d; the ledger says %d", s.starts, starts, got.Ledger.Starts)
	}
}

// TestACutOffWorkerStopsItsBodiesAndAnotherGoesOn, and the first one works again
// when it is back.
func TestACutOffWorkerStopsItsBodiesAndAnotherGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		way := newCable(h)
		s := newSite()
		one, _ := s.worker(t, join(t, way), "one", time.Minute)
		id := start(t, one)
		s.has("one")
		_, stop := s.worker(t, join(t, newCable(h)), "two", time.Minute)
		time.Sleep(90 * time.Second) // the first iteration is committed, the second is under way
		way.cut()
		time.Sleep(time.Minute)
		s.mu.Lock()
		if cause := s.ended["one"]; !errors.Is(cause, loops.ErrUnleased) || s.running["two"] != 1 {
			t.Errorf("the body of the worker that was cut off ended with %v; the other runs %d", cause, s.running["two"])
		}
		s.mu.Unlock()
		way.heal()
		time.Sleep(2 * time.Minute)
		stop()
		s.check(t, one, id, 7)
		if last := s.order[len(s.order)-1]; last != "one" {
			t.Errorf("the last start was of %s", last)
		}
	})
}

// TestAKilledWorkersLoopsGoOnWithAnother.
func TestAKilledWorkersLoopsGoOnWithAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		s := newSite()
		first := join(t, newCable(h))
		one, _ := s.worker(t, first, "one", time.Minute)
		id := start(t, one)
		s.has("one")
		two, _ := s.worker(t, join(t, newCable(h)), "two", time.Minute)
		time.Sleep(90 * time.Second)
		s.mu.Lock()
		if s.order[1] != "one" {
			t.Errorf("the starts were of %v", s.order)
		}
		s.mu.Unlock()
		s.kill(first, "one")
		s.check(t, two, id, 6)
	})
}

// kill ends a worker as a signal does: its body is gone as well.
func (s *site) kill(m *cluster.Member, worker string) {
	m.Drop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[worker] = 0
}

// TestAWorkerThatEndsHandsItsLoopsOverAtOnce.
func TestAWorkerThatEndsHandsItsLoopsOverAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		s := newSite()
		one, stop := s.worker(t, join(t, newCable(h)), "one", time.Minute)
		id := start(t, one)
		s.has("one")
		two, _ := s.worker(t, join(t, newCable(h)), "two", time.Minute)
		time.Sleep(90 * time.Second)
		stop()
		synctest.Wait()
		time.Sleep(time.Second)
		s.mu.Lock()
		if s.running["two"] != 1 {
			t.Errorf("a second after the end of its worker nobody works on the loop: %v", s.order)
		}
		s.mu.Unlock()
		s.check(t, two, id, 6)
	})
}
