package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// bench lets package clustertest, which is made for tests, work for a run. What
// would end a test ends in a panic with a benchError.
type bench struct {
	testing.TB
	ctx context.Context
	dir string

	mu   sync.Mutex
	ends []func()
}

type benchError struct{ text string }

func (e benchError) Error() string { return e.text }

// guarded calls f, which calls clustertest.
func guarded(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			failed, ours := r.(benchError)
			if !ours {
				panic(r)
			}
			err = failed
		}
	}()
	f()
	return nil
}

func (b *bench) Helper()                           {}
func (b *bench) Context() context.Context          { return b.ctx }
func (b *bench) Failed() bool                      { return false }
func (b *bench) Logf(string, ...any)               {}
func (b *bench) Error(args ...any)                 { b.Fatal(args...) }
func (b *bench) Errorf(format string, args ...any) { b.Fatalf(format, args...) }
func (b *bench) Fatal(args ...any)                 { panic(benchError{fmt.Sprint(args...)}) }
func (b *bench) Fatalf(format string, args ...any) { panic(benchError{fmt.Sprintf(format, args...)}) }

func (b *bench) TempDir() string {
	dir := filepath.Join(b.dir, "nodes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	return dir
}

func (b *bench) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ends = append(b.ends, f)
}

// end does what was to be done at the end of a test.
func (b *bench) end() {
	b.mu.Lock()
	ends := b.ends
	b.ends = nil
	b.mu.Unlock()
	for i := range ends {
		_ = guarded(ends[len(ends)-1-i])
	}
}
