package kvstate_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// BenchmarkMany runs many loops with bodies that do nothing side by side, b.N
// iterations each. cpu-µs is what both the engine and the server take of the
// processors for one iteration; messages is what the server stores for one.
func BenchmarkMany(b *testing.B) {
	for _, many := range []int{1, 16, 100, 1000} {
		for _, durability := range []string{embed.Power, embed.Process} {
			b.Run(fmt.Sprintf("loops=%d/durability=%s", many, durability), func(b *testing.B) { benchmarkMany(b, many, durability) })
		}
	}
}

func benchmarkMany(b *testing.B, many int, durability string) {
	body := loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) {
		return loops.Result{Output: "nothing to do"}, nil
	})
	var js jetstream.JetStream
	e, _ := engineWith(b, durability, body, &js, &loops.Options{Workers: many, LiveLoops: 2 * many})
	runLoop(b, e, 10)
	was, cpu := lastRecord(b, js), processorTime(b)
	b.ResetTimer()
	began := time.Now()
	n := min(b.N, most)
	var all sync.WaitGroup
	for range many {
		all.Go(func() { runLoop(b, e, n) })
	}
	all.Wait()
	took, iterations := time.Since(began), float64(n*many)
	cpu = processorTime(b) - cpu
	b.ReportMetric(iterations/took.Seconds(), "iterations/s")
	b.ReportMetric(micros(cpu)/iterations, "cpu-µs/iteration")
	b.ReportMetric(float64(lastRecord(b, js)-was)/iterations, "messages/iteration")
	b.ReportMetric(processorsUsed(cpu, took), "processors")
	reportTidy(b, js, many+1)
	b.ReportMetric(0, "ns/op")
}

// reportTidy reports how long it takes, after what was measured, until each of
// many settled loops has one record: what snapshots replaced is removed when it is
// calm.
func reportTidy(b *testing.B, js jetstream.JetStream, many int) {
	b.Helper()
	b.StopTimer()
	stream := must[jetstream.Stream](b)(js.Stream(b.Context(), "KV_LOOPS"))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for must[*jetstream.StreamInfo](b)(stream.Info(b.Context())).State.Msgs > uint64(many) {
		<-tick.C
	}
	b.ReportMetric(time.Since(began).Seconds(), "s/tidy")
}

// lastRecord returns how many records the server has stored so far.
func lastRecord(b *testing.B, js jetstream.JetStream) uint64 {
	return must[jetstream.Stream](b)(js.Stream(b.Context(), "KV_LOOPS")).CachedInfo().State.LastSeq
}

// processorsUsed returns how many processors this process used at a time, the system
// on its behalf included.
func processorsUsed(cpu, took time.Duration) float64 { return cpu.Seconds() / took.Seconds() }
