package cluster_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/loops"
)

// BenchmarkCluster is commits of many loops side by side, three copies of each,
// on three servers of this machine: with and without a sync before each
// acknowledgement.
func BenchmarkCluster(b *testing.B) {
	for _, durable := range []bool{false, true} {
		c := clustertest.Start(b, clustertest.Options{Durable: durable})
		for _, n := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("synced=%t/loops=%d", durable, n), func(b *testing.B) {
				s := store(b, member(b, cluster.Options{URL: c.URL()}))
				commits(b, s, fmt.Sprintf("%t-%d-%d", durable, n, time.Now().UnixNano()), n)
			})
		}
	}
}

// commits makes b.N commits of n loops, 2 KB each.
func commits(b *testing.B, s *kvstate.Store, prefix string, n int) {
	states := make([]loops.State, n)
	for i := range states {
		states[i] = must[loops.State](b)(s.Create(b.Context(), queuedLoop(loops.ID(fmt.Sprintf("%s-%d", prefix, i)))))
	}
	output := make([]byte, 2048)
	for i := range output {
		output[i] = "0123456789abcdef"[(i*i+i/7)%16]
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range states {
		share := b.N / n
		if i < b.N%n {
			share++
		}
		all.Go(func() {
			for range share {
				next := states[i]
				next.Iteration++
				next.Pass = next.Iteration
				next.Output = loops.Text{Text: string(output), Size: int64(len(output))}
				now := time.Now().UTC()
				next.New = loops.Delta{Iteration: &loops.Iteration{Iteration: next.Iteration, Pass: next.Pass, OK: true, Output: next.Output, StartedAt: now, EndedAt: now}}
				var err error
				if states[i], err = s.Commit(b.Context(), next); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
