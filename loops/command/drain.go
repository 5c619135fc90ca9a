package command

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	drainTime = 250 * time.Millisecond // of silence in a pipe that an unreachable process still holds
	drainBusy = 2 * time.Second        // for a reader to come back from what it read
	drainMost = 10 * time.Second       // for a slow reader, or a process out of reach that goes on printing
)

// source is our end of a pipe. It tells how far its reader is.
type source struct {
	file  io.ReadCloser
	state atomic.Int64 // odd while the reader waits for bytes; grows with every Read
	once  sync.Once
	ended chan struct{} // closed when it has been read to its end
}

func newSource(f io.ReadCloser) *source { return &source{file: f, ended: make(chan struct{})} }

// Read implements [io.Reader].
func (s *source) Read(b []byte) (int, error) {
	s.state.Add(1)
	n, err := s.file.Read(b)
	s.state.Add(1)
	if err != nil {
		s.once.Do(func() { close(s.ended) })
	}
	return n, err
}

// drain waits until the last bytes of s have been read. Everybody who could write
// is gone, so that a reader for whom nothing comes has them all: a process out of
// reach holds the pipe. A reader that is at work gets its time, until the latest.
func (s *source) drain(latest time.Time) {
	const every = drainTime / 2
	tick := time.NewTicker(every)
	defer tick.Stop()
	silent := time.Duration(0)
	for state := s.state.Load(); ; {
		select {
		case <-s.ended:
			return
		case <-tick.C:
		}
		if now := s.state.Load(); now != state {
			state, silent = now, 0
		} else {
			silent += every
		}
		waits, begun := state%2 == 1, state > 0
		if (waits || !begun) && silent >= drainTime || silent >= drainBusy || time.Now().After(latest) {
			return
		}
	}
}

func closeSources(all []*source) {
	for _, s := range all {
		s.file.Close()
	}
}
