package streamhttp

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
)

// sink is where a call's notifications and its answer go.
type sink interface {
	notify(data []byte)
	// answer ends it. Nil data is no answer.
	answer(status int, data []byte)
}

// direct is the sink of a modern call: what the client misses is lost, and the call with it.
type direct struct{ *reply }

func (d direct) notify(data []byte) {
	if d.streams {
		_ = d.event("", data) // an error ends the response, and with it the call
	}
}

func (d direct) answer(status int, data []byte) {
	if data == nil {
		d.status(http.StatusAccepted)
		return
	}
	_ = d.document(status, data)
}

var (
	errGap     = errors.New("the events after this Last-Event-ID are not kept any more; send the request again")
	errEventID = errors.New("Last-Event-ID is none of this server's event ids")
)

// stream is the sink of a session's call, and what a session sends outside calls (number 0). It
// outlives the connection: while a client is away its events are kept for when it comes back.
type stream struct {
	session *clientSession
	number  uint64

	live atomic.Pointer[reply] // the same as reply, for who can't wait for the lock

	mu     sync.Mutex
	reply  *reply // nil: nobody is connected
	begun  bool   // the client has an event id to come back with
	closed bool   // nothing more will be sent
	seq    uint64
}

// attach makes p the connection of the stream. The one before it, which may be broken without anybody
// having seen it, ends.
func (s *stream) attach(p *reply) {
	s.interrupt()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attachLocked(p)
}

func (s *stream) attachLocked(p *reply) {
	if s.reply != nil {
		s.begun = s.reply.settle() || s.begun
		s.reply.end()
	}
	s.connect(p)
	if s.session.primes() {
		p.primer = fmt.Sprintf("id: %s\nretry: %d\ndata: \n\n", s.eventID(s.seq), retryMillis)
	}
}

// retryMillis is how long clients wait before they come back.
const retryMillis = 500

// detach ends the connection p of the stream, if it is that still.
func (s *stream) detach(p *reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reply == p {
		s.detachLocked()
	}
	p.end()
}

func (s *stream) detachLocked() {
	s.begun = s.reply.settle() && s.resumable() || s.begun
	s.connect(nil)
}

func (s *stream) connect(p *reply) {
	s.reply = p
	s.live.Store(p)
}

// disconnect ends the connection so that the client comes back for the rest; false: it can't.
func (s *stream) disconnect() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.reply == nil || !s.reply.streams || !s.session.primes() || s.reply.stream() != nil {
		return false
	}
	p := s.reply
	s.detachLocked()
	p.end()
	return true
}

// resumable reports whether a client whose connection broke has an id to come back with.
func (s *stream) resumable() bool { return s.session.primes() || s.seq > 0 }

func (s *stream) notify(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && (s.begun || s.reply != nil && s.reply.streams) {
		s.deliver(data)
	}
}

// ask sends a request to the client, now or when it comes back. Where it would have to wait while stop
// is closed, it does not send.
func (s *stream) ask(line []byte, stop <-chan struct{}) error {
	if rpc.IsClosed(stop) {
		if !s.mu.TryLock() {
			return rpc.ErrGone
		}
	} else {
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.closed || !s.begun && (s.reply == nil || !s.reply.streams) {
		return rpc.ErrGone
	}
	s.deliver(line)
	return nil
}

// deliver sends the next event, and keeps it.
func (s *stream) deliver(data []byte) {
	s.seq++
	s.session.events.add(&s.session.log, s.number, s.seq, data)
	if s.reply != nil && s.reply.event(s.eventID(s.seq), data) != nil {
		s.detachLocked()
	}
}

func (s *stream) answer(status int, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	streams := s.begun
	if s.reply != nil {
		streams = s.reply.settle() || streams || !s.reply.jsons && s.reply.streams && status == http.StatusOK
	}
	switch {
	case data != nil && streams:
		s.deliver(data)
	case s.reply == nil: // the client is gone, and can't come back for it
	case data == nil:
		s.reply.status(http.StatusAccepted)
	default:
		_ = s.reply.document(status, data)
	}
	if s.reply != nil {
		s.reply.end()
		s.connect(nil)
	}
}

// interrupt ends a write to a client that doesn't read.
func (s *stream) interrupt() {
	if p := s.live.Load(); p != nil {
		p.interrupt()
	}
}

// close ends the stream without an answer, also to a client that doesn't read.
func (s *stream) close() {
	s.interrupt()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.reply != nil {
		s.reply.end()
		s.connect(nil)
	}
}

// resume makes p the connection of the stream and sends what came after seq.
func (s *stream) resume(p *reply, seq uint64) error {
	s.interrupt()
	s.mu.Lock()
	defer s.mu.Unlock()
	missed, complete := s.session.events.after(&s.session.log, s.number, seq)
	switch {
	case !complete, seq+uint64(len(missed)) < s.seq, s.closed && len(missed) == 0:
		return errGap
	case !s.closed && seq > s.seq:
		return errEventID
	}
	s.attachLocked(p)
	p.primer = ""
	s.begun = true
	err := p.stream()
	for _, e := range missed {
		if err == nil {
			err = p.event(s.eventID(e.seq), e.data)
		}
	}
	if s.closed || err != nil {
		p.end()
		s.connect(nil)
	}
	return nil
}

func (s *stream) eventID(seq uint64) string {
	return strconv.FormatUint(s.number, 10) + "-" + strconv.FormatUint(seq, 10)
}

// parseEventID is the inverse of eventID.
func parseEventID(id string) (number, seq uint64, err error) {
	first, second, _ := strings.Cut(id, "-")
	number, err = strconv.ParseUint(first, 10, 64)
	if err == nil {
		seq, err = strconv.ParseUint(second, 10, 64)
	}
	if err != nil {
		return 0, 0, errEventID
	}
	return number, seq, nil
}

// primes reports whether the client knows events without data.
func (s *clientSession) primes() bool {
	return s.events.limit > 0 && s.ProtocolVersion() >= mcp.ProtocolVersion20251125
}
