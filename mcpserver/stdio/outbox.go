package stdio

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
)

const (
	// outboxLimit is how many bytes may wait for the client before requests wait too.
	outboxLimit = 1 << 20
	// writeSize is how many bytes are written at once, and about how many short lines are joined.
	writeSize = 64 << 10
)

var errUnwanted = errors.New("nobody wants this line any more")

// outLine is one message to the client.
type outLine struct {
	data []byte          // with its newline
	gone <-chan struct{} // once closed the line is not written; nil: never
}

// outbox queues lines and writes them whole, in order, from one goroutine.
type outbox struct {
	w       io.Writer
	ready   chan struct{} // gets a token when there is something to do
	aborted chan struct{} // closed when nothing will be written any more
	done    chan struct{} // closed when run has returned
	abort   func()        // closes aborted

	mu     sync.Mutex
	queue  []outLine
	size   int           // bytes queued and being written
	shrunk int           // how often size shrank
	room   chan struct{} // closed and replaced when size shrinks
	closed bool
	err    error // the write that broke
}

func newOutbox(w io.Writer) *outbox {
	o := &outbox{
		w:       w,
		ready:   make(chan struct{}, 1),
		aborted: make(chan struct{}),
		done:    make(chan struct{}),
		room:    make(chan struct{}),
	}
	o.abort = sync.OnceFunc(func() { close(o.aborted) })
	return o
}

// mailbox returns one whose notifications are queued here; those of a call that is gone are dropped.
func (o *outbox) mailbox(gone <-chan struct{}, log *slog.Logger) *rpc.Mailbox {
	return &rpc.Mailbox{
		Send:   func(data []byte) { _ = o.put(outLine{data, gone}, outboxLimit, gone) }, // fails only when nobody wants it
		Closed: o.aborted,
		Gone:   gone,
		Log:    log,
	}
}

// put queues l once fewer than limit bytes wait. It gives up with errUnwanted when stop is closed
// before there is room, and when nothing is written any more.
func (o *outbox) put(l outLine, limit int, stop <-chan struct{}) error {
	for {
		room, err := o.tryPut(l, limit)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-stop:
			return errUnwanted
		case <-o.aborted:
			return errUnwanted
		}
	}
}

// tryPut queues l, or returns a channel that is closed when there may be room.
func (o *outbox) tryPut(l outLine, limit int) (<-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.err != nil {
		return nil, errUnwanted
	}
	if o.size >= limit {
		return o.room, nil
	}
	o.queue = append(o.queue, l)
	o.size += len(l.data)
	o.wake()
	return nil, nil
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// close lets run return when the queue is empty. Later puts fail.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.wake()
}

// run writes until the outbox is closed and empty, aborted, or a write fails.
func (o *outbox) run() {
	defer close(o.done)
	defer o.abort()
	for {
		batch, more := o.take()
		if !more {
			return
		}
		if err := o.write(batch); err != nil {
			o.mu.Lock()
			o.err = fmt.Errorf("write to the client: %w", err)
			o.mu.Unlock()
			return
		}
	}
}

// take waits for lines and returns them; false: there will be none.
func (o *outbox) take() ([]outLine, bool) {
	for {
		o.mu.Lock()
		batch, closed := o.queue, o.closed
		o.queue = nil
		o.mu.Unlock()
		if len(batch) > 0 || closed {
			return batch, len(batch) > 0
		}
		select {
		case <-o.ready:
		case <-o.aborted:
			return nil, false
		}
	}
}

// write joins short lines and leaves out those nobody wants any more.
func (o *outbox) write(batch []outLine) error {
	var buf []byte
	for i, l := range batch {
		if rpc.IsClosed(l.gone) {
			o.shrink(len(l.data))
		} else {
			buf = append(buf, l.data...)
		}
		if len(buf) < writeSize && i < len(batch)-1 {
			continue
		}
		if err := o.writeAll(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	return nil
}

// writeAll writes in pieces, so that a slow client is seen to read.
func (o *outbox) writeAll(buf []byte) error {
	for len(buf) > 0 && !rpc.IsClosed(o.aborted) {
		n, err := o.w.Write(buf[:min(len(buf), writeSize)])
		if err != nil {
			return err
		}
		o.shrink(n)
		buf = buf[n:]
	}
	return nil
}

func (o *outbox) shrink(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.size -= n
	o.shrunk++
	close(o.room)
	o.room = make(chan struct{})
}

// settle waits for done as long as the client reads: false when nothing was read for the time stall.
func (o *outbox) settle(done <-chan struct{}, stall time.Duration) bool {
	for {
		before := o.progress()
		select {
		case <-done:
			return true
		case <-time.After(stall):
			if o.progress() == before {
				return false
			}
		}
	}
}

func (o *outbox) progress() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shrunk
}

// failure returns the write that broke, or nil.
func (o *outbox) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
