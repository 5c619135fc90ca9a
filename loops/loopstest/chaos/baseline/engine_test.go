package baseline

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// BenchmarkEngine runs loops of loop-mcp whose bodies do nothing, with
// durability: power, as the others here, and with process.
func BenchmarkEngine(b *testing.B) {
	for _, durability := range []string{embed.Power, embed.Process} {
		for _, many := range sides {
			b.Run(fmt.Sprintf("durability=%s/loops=%d", durability, many), func(b *testing.B) { benchmarkEngine(b, durability, many) })
		}
	}
}

func benchmarkEngine(b *testing.B, durability string, many int) {
	h, err := embed.Start(b.Context(), embed.Options{Dir: filepath.Join(b.TempDir(), "state"), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(h.Conn())
	if err != nil {
		b.Fatal(err)
	}
	store, err := kvstate.Open(b.Context(), js, &kvstate.Options{Group: durability == embed.Power, Mark: filepath.Join(b.TempDir(), "marks")})
	if err != nil {
		b.Fatal(err)
	}
	body := loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) {
		return loops.Result{Output: "nothing to do"}, nil
	})
	e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"none": body}}, &loops.Options{Workers: many, LiveLoops: 2 * many})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		for _, err := range []error{<-done, store.Close(), h.Close()} {
			if err != nil {
				b.Error(err)
			}
		}
	})
	each := min(b.N, 10_000)
	if many > 1 {
		each = max(1, b.N/20)
	}
	var all sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for range many {
		all.Go(func() { runLoop(b, e, each) })
	}
	all.Wait()
	report(b, many*each, time.Since(began))
	info, err := js.Stream(b.Context(), "KV_LOOPS")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.CachedInfo().State.LastSeq)/float64(many*each), "records/iteration")
}

// runLoop runs one loop of n iterations to its end.
func runLoop(b *testing.B, e *loops.Engine, n int) {
	out, err := e.Start(b.Context(), loops.StartRequest{Spec: loops.Spec{Name: "bench", Goal: "count",
		Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "none"}, Limits: loops.Limits{MaxIterations: loops.Count(n)}}})
	if err != nil {
		b.Error(err)
		return
	}
	s, timedOut, err := e.Wait(b.Context(), out.ID, 0, loops.ForSettled, time.Hour, nil)
	if err != nil || timedOut || s.Ledger.Iterations != n {
		b.Errorf("%s: timed out %t, %v", s.Summary(), timedOut, err)
	}
}
