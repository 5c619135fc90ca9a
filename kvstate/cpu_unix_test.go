//go:build unix

package kvstate_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// processorTime returns what this process took of the processors so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident returns what Linux says of this process's memory; elsewhere it is 0.
func resident(b *testing.B) int64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	var size, pages int64
	if _, scanErr := fmt.Sscan(string(data), &size, &pages); err != nil || scanErr != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
