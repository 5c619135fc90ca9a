package baseline

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/rush"
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
	e, heads, end := engine(b, durability, many, nothing)
	defer end()
	each := share(b, many)
	var all sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for range many {
		all.Go(func() { runLoop(b, e, each) })
	}
	all.Wait()
	report(b, many*each, time.Since(began))
	b.ReportMetric(float64(heads().LastSeq)/float64(many*each), "records/iteration")
}

// nothing is a body that does nothing.
func nothing(context.Context, loops.Turn) (loops.Result, error) {
	return loops.Result{Output: "nothing to do"}, nil
}

// engine runs an engine as the program does, with a store in a fresh folder. heads
// asks for the state of the stream that has its records.
func engine(b *testing.B, durability string, workers int, body loops.BodyFunc) (e *loops.Engine, heads func() jetstream.StreamState, end func()) {
	b.Helper()
	h, err := embed.Start(b.Context(), embed.Options{Dir: filepath.Join(b.TempDir(), "state"), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(h.Conn())
	if err != nil {
		b.Fatal(err)
	}
	store, err := kvstate.Open(b.Context(), js, &kvstate.Options{Group: durability == embed.Power, Disk: h, Mark: filepath.Join(b.TempDir(), "marks"), Rush: rush.Begin})
	if err != nil {
		b.Fatal(err)
	}
	e = loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"none": body}}, &loops.Options{Workers: workers, LiveLoops: 2 * workers})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	heads = func() jetstream.StreamState {
		stream, err := js.Stream(b.Context(), "KV_LOOPS")
		if err != nil {
			b.Fatal(err)
		}
		return stream.CachedInfo().State
	}
	return e, heads, func() {
		cancel()
		for _, err := range []error{<-done, store.Close(), h.Close()} {
			if err != nil {
				b.Error(err)
			}
		}
	}
}

// recordSize is how many bytes the server has for a record of the loops of
// [BenchmarkEngine]: the mean of the first twenty of one of them.
func recordSize(b *testing.B) (bytes uint64) {
	b.Helper()
	var heads func() jetstream.StreamState
	e, heads, end := engine(b, embed.Process, 1, func(ctx context.Context, t loops.Turn) (loops.Result, error) {
		if t.Iteration == 20 { // when it settles, one record replaces all
			bytes = heads().Bytes / heads().Msgs
		}
		return nothing(ctx, t)
	})
	defer end()
	runLoop(b, e, 20)
	return bytes
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
