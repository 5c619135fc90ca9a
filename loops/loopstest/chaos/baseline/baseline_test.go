package baseline

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// recordBytes is about what one iteration of a loop without output takes.
const recordBytes = 2200

// writer stores one record durably.
type writer func(loop, iteration int, record []byte) error

// side is how many loops run at once.
var sides = []int{1, 100, 1000}

// BenchmarkFile appends to one file. each: an fdatasync for each record, one
// after the other. group: one fdatasync for all records that wait.
func BenchmarkFile(b *testing.B) {
	for _, group := range []bool{false, true} {
		for _, many := range sides {
			b.Run(fmt.Sprintf("group=%t/loops=%d", group, many), func(b *testing.B) {
				f := openFile(b)
				if group {
					run(b, many, f.appendTogether)
				} else {
					run(b, many, f.append)
				}
				b.ReportMetric(float64(f.syncs)/float64(f.records), "syncs/iteration")
			})
		}
	}
}

// BenchmarkSQLite inserts one row for each iteration: modernc.org/sqlite, WAL,
// synchronous=FULL, one connection.
func BenchmarkSQLite(b *testing.B) {
	for _, many := range sides {
		b.Run(fmt.Sprintf("loops=%d", many), func(b *testing.B) { run(b, many, openSQLite(b)) })
	}
}

// run has many loops write their records and reports what one iteration took.
func run(b *testing.B, many int, write writer) {
	each := b.N
	if many > 1 {
		each = max(1, b.N/20)
	}
	record := make([]byte, recordBytes)
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
}

func report(b *testing.B, iterations int, took time.Duration) {
	b.ReportMetric(float64(iterations)/took.Seconds(), "iterations/s")
	b.ReportMetric(0, "ns/op")
}
