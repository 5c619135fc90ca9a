package baseline

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// file is a log on the disk.
type file struct {
	mu      sync.Mutex
	out     *os.File
	records int
	syncs   int

	waiting []byte
	next    *round // that what waits belongs to
	busy    bool
}

// round is one write and sync for all that wait.
type round struct {
	records int
	done    chan struct{}
	err     error
}

func openFile(b *testing.B) *file {
	out, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { out.Close() })
	return &file{out: out, next: &round{done: make(chan struct{})}}
}

func (f *file) append(_, _ int, record []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records++
	f.syncs++
	if _, err := f.out.Write(record); err != nil {
		return err
	}
	return datasync(f.out)
}

// appendTogether writes a record with all others that wait. One of the callers
// does it for the others.
func (f *file) appendTogether(_, _ int, record []byte) error {
	f.mu.Lock()
	f.waiting = append(f.waiting, record...)
	mine := f.next
	mine.records++
	for f.busy && f.next == mine {
		f.mu.Unlock()
		<-mine.done
		return mine.err
	}
	if f.next == mine {
		f.busy = true
		f.flush()
	}
	f.mu.Unlock()
	<-mine.done
	return mine.err
}

// flush writes what waits until nothing does. The caller holds mu.
func (f *file) flush() {
	for f.next.records > 0 {
		data, now := f.waiting, f.next
		f.waiting, f.next = nil, &round{done: make(chan struct{})}
		f.mu.Unlock()
		if _, now.err = f.out.Write(data); now.err == nil {
			now.err = datasync(f.out)
		}
		f.mu.Lock()
		f.records += now.records
		f.syncs++
		close(now.done)
	}
	f.busy = false
}
