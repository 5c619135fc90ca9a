package cluster_test

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/loops"
)

// TestTheLeaderIsKilledDuringCommits: everything that was acknowledged is there,
// no iteration is committed twice, no loop is taken for damaged or gone, and who
// reads sees what was acknowledged before.
func TestTheLeaderIsKilledDuringCommits(t *testing.T) {
	kills := 1
	if os.Getenv("LOOP_MCP_LONG_TESTS") != "" {
		kills = 10
	}
	c := clustertest.Start(t, clustertest.Options{})
	writer, reader := store(t, member(t, cluster.Options{URL: c.URL()})), store(t, member(t, cluster.Options{URL: c.URL()}))
	lease := member(t, cluster.Options{URL: c.URL()})
	_, held, err := lease.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &writers{t: t, writer: writer, reader: reader, acknowledged: make([]atomic.Int64, 8)}
	w.begin()
	for range kills {
		w.progress(20)
		leader := c.Leader("KV_LOOPS")
		c.Kill(leader)
		w.progress(20)
		c.Begin(leader)
		c.Ready()
	}
	w.finish()
	if held.Err() != nil {
		t.Error("a fail-over of the servers' cost a worker its lease")
	}
}

// writers commit to loops, each to one, as fast as they can.
type writers struct {
	t              *testing.T
	writer, reader *kvstate.Store
	acknowledged   []atomic.Int64 // iterations of each loop
	stop           atomic.Bool
	all            sync.WaitGroup
}

func (w *writers) begin() {
	for i := range w.acknowledged {
		w.all.Go(func() { w.write(i) })
	}
}

func (w *writers) write(i int) {
	s, err := w.writer.Create(w.t.Context(), queuedLoop(loops.ID(fmt.Sprintf("writer-%d", i))))
	for err == nil && !w.stop.Load() {
		s.Iteration++
		s.Pass, s.Status = s.Iteration, loops.Paused
		now := time.Now().UTC()
		s.New = loops.Delta{Iteration: &loops.Iteration{Iteration: s.Iteration, Pass: s.Pass, OK: true, Done: true, StartedAt: now, EndedAt: now}}
		if s, err = w.writer.Commit(w.t.Context(), s); err == nil {
			w.acknowledged[i].Store(int64(s.Iteration))
			err = w.look(i, s)
		}
	}
	if err != nil {
		w.t.Errorf("loop %d: %v", i, err)
	}
}

// look reads a loop in another process, now and then.
func (w *writers) look(i int, want loops.State) error {
	if want.Iteration%10 != 0 {
		return nil
	}
	got, err := w.reader.Load(w.t.Context(), want.ID)
	if err == nil && got.Rev < want.Rev {
		err = fmt.Errorf("another process reads iteration %d after %d was acknowledged", got.Iteration, want.Iteration)
	}
	return err
}

// progress waits until each loop has so many more iterations.
func (w *writers) progress(more int64) {
	w.t.Helper()
	for i := range w.acknowledged {
		for want, try := w.acknowledged[i].Load()+more, 0; w.acknowledged[i].Load() < want; try++ {
			if try == 1200 || w.t.Failed() {
				w.t.Fatalf("loop %d stands at iteration %d", i, w.acknowledged[i].Load())
			}
			<-time.After(50 * time.Millisecond)
		}
	}
}

func (w *writers) finish() {
	w.stop.Store(true)
	w.all.Wait()
	heads := must[[]loops.Head](w.t)(w.reader.List(w.t.Context()))
	if len(heads) != len(w.acknowledged) {
		w.t.Errorf("%d loops are listed", len(heads))
	}
	for i := range w.acknowledged {
		l := must[loops.Loop](w.t)(w.reader.History(w.t.Context(), loops.ID(fmt.Sprintf("writer-%d", i))))
		if len(l.Iterations) != int(w.acknowledged[i].Load()) {
			w.t.Errorf("loop %d: %d iterations are stored, %d were acknowledged", i, len(l.Iterations), w.acknowledged[i].Load())
		}
		for n, it := range l.Iterations {
			if it.Iteration != n+1 {
				w.t.Fatalf("loop %d: iteration %d follows %d", i, it.Iteration, n)
			}
		}
	}
}

func queuedLoop(id loops.ID) loops.State {
	now := time.Now().UTC()
	return loops.State{
		ID: id, Status: loops.Paused, Limits: loops.DefaultLimits(), UpdatedAt: now,
		Origin: loops.Origin{Spec: loops.Spec{Name: "test", Goal: "be stored"}, Source: loops.SourceLibrary, CreatedAt: now},
	}
}
