package loops_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

// slot is a store for one loop that costs next to nothing.
type slot struct {
	loops.Store
	ready chan loops.State
	s     loops.State
	over  chan loops.State // gets the loop when it has settled
}

func (p *slot) Runner() string   { return "bench" }
func (p *slot) Requeue(loops.ID) {}

func (p *slot) CountLive(context.Context, bool) (int, error) { return 0, nil }

func (p *slot) List(context.Context) ([]loops.Head, error) { return nil, nil }

func (p *slot) Create(_ context.Context, s loops.State) (loops.State, error) {
	s.Rev, s.New = 1, loops.Delta{}
	p.s = s
	p.ready <- s
	return s, nil
}

func (p *slot) Load(context.Context, loops.ID) (loops.State, error) { return p.s, nil }

func (p *slot) Commit(_ context.Context, s loops.State) (loops.State, error) {
	s.Rev++
	s.New = loops.Delta{}
	p.s = s
	if s.Status.Settled() {
		p.over <- s
	}
	return s, nil
}

func (p *slot) Ready(ctx context.Context) (loops.ID, uint64, error) {
	select {
	case s := <-p.ready:
		return s.ID, s.Rev, nil
	case <-ctx.Done():
		return "", 0, ctx.Err()
	}
}

func (p *slot) Watch(ctx context.Context, _ loops.ID, _ uint64) iter.Seq2[loops.Head, error] {
	return func(func(loops.Head, error) bool) { <-ctx.Done() }
}

// BenchmarkEngine is what the engine itself takes for an iteration: the store and
// the body do nothing.
func BenchmarkEngine(b *testing.B) {
	store := &slot{ready: make(chan loops.State, 1), over: make(chan loops.State, 1)}
	body := loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) {
		return loops.Result{Output: "nothing to do"}, nil
	})
	e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"bench": body}}, nil)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	for _, turns := range []int{1, 20, 10_000} {
		b.Run(fmt.Sprintf("iterations=%d", turns), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began, iterations := time.Now(), 0
			for b.Loop() {
				if _, err := e.Start(b.Context(), loops.StartRequest{Spec: loops.Spec{Name: "bench", Goal: "count",
					Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "bench"}, Limits: loops.Limits{MaxIterations: loops.Count(turns)}}}); err != nil {
					b.Fatal(err)
				}
				if s := <-store.over; s.Iteration != turns {
					b.Fatal(s.Summary())
				}
				iterations += turns
			}
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(took.Microseconds())/float64(iterations), "µs/iteration")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(iterations), "allocs/iteration")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(iterations), "B/iteration")
			b.ReportMetric(0, "ns/op")
		})
	}
}
