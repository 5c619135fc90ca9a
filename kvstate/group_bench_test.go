package kvstate_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// BenchmarkGroup commits from many loops at once, one by one and together.
func BenchmarkGroup(b *testing.B) {
	for _, many := range []int{1, 4, 8, 16, 32, 64, 256, 1000} {
		for _, group := range []bool{false, true} {
			b.Run(fmt.Sprintf("loops=%d/group=%t", many, group), func(b *testing.B) {
				h := host(b, b.TempDir(), embed.Power)
				store := open(b, stream(b, h), &kvstate.Options{Group: group, Disk: h})
				states := make([]loops.State, many)
				for n := range states {
					states[n] = must[loops.State](b)(store.Create(b.Context(), newLoop(loops.ID(fmt.Sprintf("group-%04d", n)))))
				}
				var all sync.WaitGroup
				began := time.Now()
				for n := range states {
					all.Go(func() {
						for range b.N {
							var err error
							if states[n], err = store.Commit(b.Context(), iterate(states[n], "ok")); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N*many)/time.Since(began).Seconds(), "commits/s")
			})
		}
	}
}
