package kvstate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// conversation returns memory of about n bytes as an agent keeps it: messages.
func conversation(r *rand.Rand, n int) []map[string]string {
	var all []map[string]string
	for ; n > 0; n -= 2000 {
		all = append(all, map[string]string{"role": "assistant", "text": prose(r, min(n, 2000))})
	}
	return all
}

// BenchmarkMemory is a commit inside an iteration, with a memory of some size:
// one that leaves the memory as it is (a call is reserved), and one that adds a
// message of 500 bytes to it (a call is settled). Beside each, as many bytes as
// the server has stored for it are written (and synced) plainly.
func BenchmarkMemory(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 512 << 10} {
		for _, durability := range []string{embed.Power, embed.Process} {
			for _, grows := range []bool{false, true} {
				b.Run(fmt.Sprintf("%dKB/durability=%s/grows=%t", size>>10, durability, grows), func(b *testing.B) {
					benchmarkMemory(b, durability, size, grows)
				})
			}
		}
	}
}

func benchmarkMemory(b *testing.B, durability string, size int, grows bool) {
	dir := b.TempDir()
	store := open(b, stream(b, host(b, dir, durability)), nil)
	raw := must[*os.File](b)(os.Create(filepath.Join(b.TempDir(), "raw")))
	defer raw.Close()
	r := rand.New(rand.NewPCG(1, 2))
	talk := conversation(r, size)
	s := newLoop("memory-aaaa")
	s.Memory = must[[]byte](b)(json.Marshal(talk))
	s = must[loops.State](b)(store.Create(b.Context(), s))
	empty := onDisk(b, dir)
	var commits, raws []time.Duration
	for b.Loop() {
		s.Grants++
		s.Reserved = []loops.Reserved{{ID: fmt.Sprint("g", s.Grants), Role: loops.RoleWorker, Model: "smart", Usage: loops.Usage{InputTokens: 30_000, TotalTokens: 31_000}}}
		if grows {
			talk[len(talk)-1] = map[string]string{"role": "assistant", "text": prose(r, 500)}
			s.Memory = must[[]byte](b)(json.Marshal(talk))
		}
		began := time.Now()
		var err error
		if s, err = store.Commit(b.Context(), s); err != nil {
			b.Fatal(err)
		}
		commits = append(commits, time.Since(began))
		began = time.Now()
		if _, err := raw.Write(s.Memory); err != nil {
			b.Fatal(err)
		}
		if durability == embed.Power {
			if err := raw.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		raws = append(raws, time.Since(began))
	}
	b.ReportMetric(micros(median(commits)), "µs/commit-p50")
	b.ReportMetric(micros(median(raws)), "µs/raw-p50")
	b.ReportMetric(float64(onDisk(b, dir)-empty)/float64(len(commits))/1000, "KB/commit")
}

// BenchmarkBlob stores what a body keeps beside its loop, and reads it back.
func BenchmarkBlob(b *testing.B) {
	for _, size := range []int{8 << 10, 64 << 10, 512 << 10} {
		for _, durability := range []string{embed.Power, embed.Process} {
			b.Run(fmt.Sprintf("%dKB/durability=%s", size>>10, durability), func(b *testing.B) {
				dir := b.TempDir()
				store := open(b, stream(b, host(b, dir, durability)), nil)
				s := must[loops.State](b)(store.Create(b.Context(), newLoop("blob-aaaa")))
				empty := onDisk(b, dir)
				r := rand.New(rand.NewPCG(1, 2))
				text := []byte(prose(r, size))
				var puts, gets []time.Duration
				for b.Loop() {
					copy(text, fmt.Sprintf("%16d", len(puts)))
					began := time.Now()
					ref := must[string](b)(store.PutBlob(b.Context(), s.ID, text))
					puts = append(puts, time.Since(began))
					began = time.Now()
					must[[]byte](b)(store.Blob(b.Context(), s.ID, ref))
					gets = append(gets, time.Since(began))
				}
				b.ReportMetric(micros(median(puts)), "µs/put-p50")
				b.ReportMetric(micros(median(gets)), "µs/get-p50")
				b.ReportMetric(float64(onDisk(b, dir)-empty)/float64(len(puts))/1000, "KB/blob")
			})
		}
	}
}

// BenchmarkMeteredIteration is an iteration of an agent whose model answers at
// once: a call is set aside, settled with a memory that has changed, and the
// iteration committed. It reports what the engine and the store take of it.
func BenchmarkMeteredIteration(b *testing.B) {
	for _, size := range []int{0, 16 << 10, 64 << 10} {
		for _, durability := range []string{embed.Power, embed.Process} {
			b.Run(fmt.Sprintf("%dKB/durability=%s", size>>10, durability), func(b *testing.B) {
				benchmarkMetered(b, durability, size)
			})
		}
	}
}

func benchmarkMetered(b *testing.B, durability string, size int) {
	var last time.Time
	var took []time.Duration
	talk := conversation(rand.New(rand.NewPCG(1, 2)), max(size, 100))
	e := engine(b, durability, loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
		began := time.Now()
		if t.Iteration > 1 {
			took = append(took, began.Sub(last))
		}
		grant, err := t.Meter.Reserve(ctx, loops.Call{Role: loops.RoleWorker, Model: "scripted", Input: 10, Output: 10, InputRate: 1, OutputRate: 1})
		if err != nil {
			return loops.Result{}, err
		}
		reserved := time.Since(began)
		talk[len(talk)-1]["n"] = fmt.Sprint(t.Iteration)
		memory := must[[]byte](b)(json.Marshal(talk))
		began = time.Now()
		err = t.Meter.Settle(ctx, grant, loops.Spent{Usage: loops.Usage{InputTokens: 1, OutputTokens: 1, TotalTokens: 2}}, memory)
		if n := len(took); n > 0 {
			took[n-1] += reserved + time.Since(began)
		}
		last = time.Now()
		return loops.Result{Output: "nothing to do", Memory: memory}, err
	}), nil)
	b.ResetTimer()
	for left := b.N; left > 0; left -= most {
		runLoop(b, e, min(left, most))
	}
	if len(took) > 0 {
		b.ReportMetric(micros(median(took)), "µs/iteration-p50")
	}
}
