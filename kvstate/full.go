package kvstate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"example.com/loop-mcp/loops"
)

// A limit of servers elsewhere is known by what they refuse alone. What waits for
// room is sent again twice a second, so a refusal counts for a few of these times.
const (
	refusalHolds = 3 * time.Second
	tryEvery     = 2 * time.Second // at most, Options.Try
	tryTakes     = time.Second
)

// refusal is why the servers took no record a moment ago.
type refusal struct {
	known atomic.Bool // whether there is an err

	mu    sync.Mutex
	err   error
	size  int       // of that record
	at    time.Time // when they refused it
	tried time.Time // when they were tried last
}

// note remembers what became of a record of some bytes.
func (r *refusal) note(size int, err error) {
	full := errors.Is(err, loops.ErrUnwritable)
	if !full && (err != nil || !r.known.Load()) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case full:
		r.set(err, size)
	case size >= r.size:
		r.set(nil, 0)
	}
}

// set is for who holds mu.
func (r *refusal) set(err error, size int) {
	r.err, r.size, r.at = err, size, time.Now()
	r.known.Store(err != nil)
}

// full returns why the servers have no room, as far as that is known.
func (s *Store) full() error {
	r := &s.refusal
	r.mu.Lock()
	defer r.mu.Unlock()
	switch now := time.Now(); {
	case r.err != nil && now.Sub(r.at) < refusalHolds:
		return r.err
	case s.opts.Try == nil || now.Sub(r.tried) < tryEvery:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryTakes)
	defer cancel()
	err := inWords(s.opts.Try(ctx))
	if !errors.Is(err, loops.ErrUnwritable) {
		err = nil // what else may be wrong others say better
	}
	r.set(err, 0)
	r.tried = r.at
	return r.err
}
