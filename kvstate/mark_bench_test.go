package kvstate_test

import (
	"path/filepath"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// BenchmarkMark is a durable iteration with and without the high-water mark.
// Each turn does both, so that a busy machine slows down both. The medians say
// what most commits cost; the means include the sync of each batch of marks.
func BenchmarkMark(b *testing.B) {
	for _, durability := range []string{embed.Power, embed.Process} {
		b.Run("durability="+durability, func(b *testing.B) { benchmarkMark(b, durability) })
	}
}

func benchmarkMark(b *testing.B, durability string) {
	var stores [2]*kvstate.Store
	var states [2]loops.State
	var took [2][]time.Duration
	for i := range stores {
		dir := b.TempDir()
		opts := &kvstate.Options{}
		if i == 1 {
			opts.Mark = filepath.Join(dir, "marks")
		}
		stores[i] = open(b, stream(b, host(b, dir, durability)), opts)
		states[i] = must[loops.State](b)(stores[i].Create(b.Context(), newLoop("bench-aaaa")))
	}
	for n := 0; b.Loop(); n++ {
		for turn := range stores {
			i := (n + turn) % 2
			next := iterate(states[i], "ok")
			began := time.Now()
			var err error
			if states[i], err = stores[i].Commit(b.Context(), next); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	for i, name := range []string{"without", "with"} {
		var sum time.Duration
		for _, d := range took[i] {
			sum += d
		}
		b.ReportMetric(micros(median(took[i])), "µs/commit-p50-"+name)
		b.ReportMetric(micros(sum)/float64(len(took[i])), "µs/commit-mean-"+name)
	}
}
