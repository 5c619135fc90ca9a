package baseline

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// writer stores one record durably.
type writer func(loop, iteration int, record []byte) error

// side is how many loops run at once.
var sides = []int{1, 100, 1000}

// BenchmarkFile appends to one file. each: an fdatasync for each record, one
// after the other. group: one fdatasync for all records that wait.
func BenchmarkFile(b *testing.B) {
	record := make([]byte, recordSize(b))
	for _, group := range []bool{false, true} {
		for _, many := range sides {
			b.Run(fmt.Sprintf("group=%t/loops=%d", group, many), func(b *testing.B) {
				f := openFile(b)
				if group {
					run(b, many, record, f.appendTogether)
				} else {
					run(b, many, record, f.append)
				}
				b.ReportMetric(float64(f.syncs)/float64(f.records), "syncs/iteration")
			})
		}
	}
}

// BenchmarkSQLite inserts one row for each iteration, into a table without an
// index, which is the least that one can do: modernc.org/sqlite, WAL,
// synchronous=FULL, one connection.
func BenchmarkSQLite(b *testing.B) {
	record := make([]byte, recordSize(b))
	for _, many := range sides {
		b.Run(fmt.Sprintf("loops=%d", many), func(b *testing.B) { run(b, many, record, openSQLite(b)) })
	}
}

// run has many loops write their records and reports what one iteration took.
func run(b *testing.B, many int, record []byte, write writer) {
	each := share(b, many)
	var all sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for loop := range many {
		all.Go(func() {
			for n := range each {
				if err := write(loop, n, record); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	report(b, many*each, time.Since(began))
	b.ReportMetric(float64(len(record)), "B/record")
}

// share is how many iterations each of many loops has.
func share(b *testing.B, many int) int {
	if many > 1 {
		return max(1, b.N/20)
	}
	return min(b.N, 10_000) // the most that a loop may have
}

func report(b *testing.B, iterations int, took time.Duration) {
	b.ReportMetric(float64(iterations)/took.Seconds(), "iterations/s")
	b.ReportMetric(0, "ns/op")
}
