package kvstate_test

import (
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
