package streamhttp

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

var (
	errBusy   = errors.New("too many requests are in flight; wait for answers, then ask again")
	errEnding = errors.New("the server is ending; ask again when it is back")
	errBytes  = errors.New("too many large messages are in flight; wait for answers, then ask again")
)

// load counts what is going on, and refuses what is too much.
type load struct {
	maxCalls, maxStreams int
	maxBytes             int64
	bytes                atomic.Int64

	mu      sync.Mutex
	calls   map[string]int // by owner
	streams map[string]int
}

func newLoad(o Options) load {
	return load{
		maxCalls:   o.MaxInFlight,
		maxStreams: o.MaxStreams,
		maxBytes:   8 * int64(o.MaxBody),
		calls:      make(map[string]int),
		streams:    make(map[string]int),
	}
}

// call counts one call of the owner's, until its result is called; nil: there are too many.
func (l *load) call(owner string) (done func()) { return l.take(l.calls, l.maxCalls, owner) }

// stream counts one long stream of the owner's in the same way.
func (l *load) stream(owner string) (done func()) { return l.take(l.streams, l.maxStreams, owner) }

func (l *load) take(counts map[string]int, most int, owner string) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if counts[owner] >= most {
		return nil
	}
	counts[owner]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if counts[owner]--; counts[owner] == 0 {
			delete(counts, owner)
		}
	})
}

// smallBody is what a message may always have: only what is more is counted.
const smallBody = 64 << 10

// counted reads a body and counts its bytes until release.
type counted struct {
	io.Reader
	load *load
	read int64
	held int64
}

// Read fails with errBytes when all bodies together are too large.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += int64(n)
	if more := c.read - smallBody - c.held; more > 0 {
		c.held += more
		if c.load.bytes.Add(more) > c.load.maxBytes {
			return n, errBytes
		}
	}
	return n, err
}

func (c *counted) release() { c.load.bytes.Add(-c.held) }
