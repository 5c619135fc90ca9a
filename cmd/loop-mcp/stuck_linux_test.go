package main

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// BenchmarkBesideAStuckClient reports how long it takes to hand in an iteration of
// a loop, through a server of its own, while another server has a client: one that
// waits for nothing, one that asked two hundred times over for the progress of that
// loop and reads it, and one that asked and reads nothing. The store is with the
// server of that client.
func BenchmarkBesideAStuckClient(b *testing.B) {
	for _, client := range []struct {
		name  string
		asks  int
		reads bool
	}{{"waits for nothing", 0, true}, {"reads", 200, true}, {"never reads", 200, false}} {
		b.Run(client.name, func(b *testing.B) {
			w := newBox(b).wild("serve")
			w.write(helloServer + callTool(1, "loop_list", `{}`, ""))
			w.answer("1")
			c := w.b.opened()
			limits := map[string]any{"max_iterations": 1000, "max_passes": 1000}
			s, problem := c.call("loop_start", map[string]any{"goal": "x", "until": map[string]any{"all": []any{map[string]any{"kind": "predicate", "expression": "false"}}},
				"limits": limits, "stall": map[string]any{"passes": 0}})
			if problem != "" {
				b.Fatal(problem)
			}
			id := fmt.Sprint(s["loop_id"])
			for n := range client.asks {
				w.write(callTool(100+n, "loop_wait", fmt.Sprintf(`{"loop_id":%q,"for":"settled","wait_seconds":50}`, id), fmt.Sprint("token", n)))
			}
			if client.reads {
				go io.Copy(io.Discard, w.lines)
			}
			var took []float64
			for n := 0; b.Loop(); n++ {
				turn, _ := s["attention"].(map[string]any)
				began := time.Now()
				if s, problem = c.call("loop_continue", map[string]any{"loop_id": id, "action": "submit", "attention_id": turn["id"], "output": fmt.Sprint("output ", n), "done": true}); problem != "" {
					b.Fatal(problem)
				}
				took = append(took, time.Since(began).Seconds()*1000)
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2], "p50-ms")
			b.ReportMetric(took[(len(took)*99-1)/100], "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
