package streamhttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// writeSize is how many bytes the write timeout is for.
const writeSize = 64 << 10

var errEnded = errors.New("the response has ended")

// reply is the response to one HTTP request: a single JSON document, or a stream of events once there
// is more to say. Nothing is written to it after end has returned.
type reply struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	streams bool          // the client takes a stream
	jsons   bool          // the client takes a document
	primer  string        // what a stream begins with
	over    chan struct{} // closed when the response has ended
	stopped atomic.Bool   // writes are to end

	mu        sync.Mutex
	streaming bool
	settled   bool // whether it is a stream does not change any more
	ended     bool
}

func newReply(w http.ResponseWriter, r *http.Request, timeout time.Duration) *reply {
	p := &reply{w: w, control: http.NewResponseController(w), timeout: timeout, over: make(chan struct{})}
	p.jsons, p.streams = accepts(r.Header)
	return p
}

// document answers with one JSON document, or as an event where the client wants streams only.
func (p *reply) document(status int, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return errEnded
	}
	defer p.endLocked()
	if p.streaming || !p.jsons && p.streams && status == http.StatusOK {
		return p.writeEvent("", data)
	}
	p.w.Header().Set("Content-Type", "application/json")
	p.w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	p.w.WriteHeader(status)
	return p.write(data)
}

// status answers without a document.
func (p *reply) status(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended && !p.streaming {
		p.w.WriteHeader(status)
	}
	p.endLocked()
}

// stream makes the response a stream, if it is none yet.
func (p *reply) stream() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begin()
}

// event writes one event. An id is left out when it is empty.
func (p *reply) event(id string, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writeEvent(id, data)
}

// comment writes what keeps the connection from looking dead.
func (p *reply) comment() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled && !p.streaming {
		return nil
	}
	if err := p.begin(); err != nil {
		return err
	}
	return p.write([]byte(": still here\n\n"))
}

// settle reports whether the response is a stream; a comment does not make it one any more.
func (p *reply) settle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled = true
	return p.streaming
}

// begin makes the response a stream.
func (p *reply) begin() error {
	if p.ended {
		return errEnded
	}
	if p.streaming {
		return nil
	}
	p.streaming = true
	header := p.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	p.w.WriteHeader(http.StatusOK)
	return p.write([]byte(p.primer))
}

func (p *reply) writeEvent(id string, data []byte) error {
	if err := p.begin(); err != nil {
		return err
	}
	head := "event: message\ndata: "
	if id != "" {
		head = "id: " + id + "\n" + head
	}
	event := make([]byte, 0, len(head)+len(data)+1)
	event = append(event, head...)
	event = append(event, data...) // ends with its newline and has no other
	return p.write(append(event, '\n'))
}

// write writes in pieces, so that a slow client is seen to read. An error ends the response.
func (p *reply) write(data []byte) error {
	for {
		_ = p.control.SetWriteDeadline(time.Now().Add(p.timeout)) // a writer without deadlines has none
		n := min(len(data), writeSize)
		_, err := p.w.Write(data[:n])
		if err == nil {
			err = p.control.Flush()
		}
		if err == nil && p.stopped.Load() {
			err = errEnded
		}
		if err != nil {
			p.endLocked()
			return err
		}
		if data = data[n:]; len(data) == 0 {
			return nil
		}
	}
}

// interrupt ends a write to a client that does not read.
func (p *reply) interrupt() {
	p.stopped.Store(true)
	_ = p.control.SetWriteDeadline(time.Unix(1, 0)) // a writer without deadlines has none
}

// end ends the response; whoever holds it returns.
func (p *reply) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked()
}

func (p *reply) endLocked() {
	if !p.ended {
		p.ended = true
		close(p.over)
	}
}

// hold keeps the response alive until it has ended, ctx has, or quit is closed. Its caller may return
// to net/http afterwards.
func (p *reply) hold(ctx context.Context, every time.Duration, quit <-chan struct{}) {
	defer p.end()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-p.over:
			return
		case <-ctx.Done():
			return
		case <-quit:
			return
		case <-tick.C:
			if p.streams {
				_ = p.comment() // an error ends the response
			}
		}
	}
}
