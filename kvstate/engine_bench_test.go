package kvstate_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"

	"github.com/nats-io/nats.go/jetstream"
)

// engine starts a server, a store and an engine in a fresh folder.
func engine(b *testing.B, durability string, body loops.Body) *loops.Engine {
	b.Helper()
	host, err := embed.Start(b.Context(), embed.Options{Dir: filepath.Join(b.TempDir(), "store"), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(host.Conn())
	if err != nil {
		b.Fatal(err)
	}
	store, err := kvstate.Open(b.Context(), js, nil)
	if err != nil {
		b.Fatal(err)
	}
	e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"bench": body}}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := store.Close(); err != nil {
			b.Error(err)
		}
		if err := host.Close(); err != nil {
			b.Error(err)
		}
	})
	return e
}

// runLoop runs one loop of n iterations to its end.
func runLoop(b *testing.B, e *loops.Engine, n int) {
	b.Helper()
	out, err := e.Start(b.Context(), loops.StartRequest{Spec: loops.Spec{Name: "bench", Goal: "count",
		Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "bench"}, Limits: loops.Limits{MaxIterations: loops.Count(n)}}})
	if err != nil {
		b.Fatal(err)
	}
	s, timedOut, err := e.Wait(b.Context(), out.ID, 0, loops.ForSettled, time.Hour, nil)
	if err != nil || timedOut || s.Ledger.Iterations != n {
		b.Fatalf("%s: timed out %t, %v", s.Summary(), timedOut, err)
	}
}

// BenchmarkIteration is the cost of one durable no-op iteration of one loop,
// next to raw writes of a record of the same size on the same disk.
func BenchmarkIteration(b *testing.B) {
	body := loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) {
		return loops.Result{Output: "nothing to do"}, nil
	})
	for _, durability := range []string{"power", "process"} {
		b.Run(durability, func(b *testing.B) {
			e := engine(b, durability, body)
			b.ResetTimer()
			for left := b.N; left > 0; left -= 10_000 {
				runLoop(b, e, min(left, 10_000))
			}
		})
	}
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("raw-write-sync=%t", sync), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			record := make([]byte, 2048)
			b.ResetTimer()
			for range b.N {
				if _, err := f.Write(record); err != nil {
					b.Fatal(err)
				}
				if sync {
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkSideBySide runs 16 loops with 10 ms bodies at once and reports the
// share of the ideal rate.
func BenchmarkSideBySide(b *testing.B) {
	const loopsAtOnce, iterations, takes = 16, 50, 10 * time.Millisecond
	body := loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
		}
		return loops.Result{Output: "nothing to do"}, ctx.Err()
	})
	e := engine(b, "power", body)
	b.ResetTimer()
	for range b.N {
		done := make(chan struct{}, loopsAtOnce)
		for range loopsAtOnce {
			go func() { defer func() { done <- struct{}{} }(); runLoop(b, e, iterations) }()
		}
		for range loopsAtOnce {
			<-done
		}
	}
	ideal := time.Duration(b.N) * iterations * takes
	b.ReportMetric(100*ideal.Seconds()/b.Elapsed().Seconds(), "%ideal")
}
