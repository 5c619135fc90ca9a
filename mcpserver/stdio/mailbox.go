package stdio

import (
	"log/slog"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
)

// mailboxPlaces is how many notifications a blocking mailbox hands out places for. The channel is
// twice as large, see channel.
const mailboxPlaces = 64

// mailbox carries the notifications of one session to the outbox.
//
// mcp-go asks a session for its channel before every send and drops the notification when the
// channel is full. So a blocking mailbox hands out its channel only when a place is free, which makes
// the sender wait and loses nothing. The pump that empties it starts with the first notification.
type mailbox struct {
	out      *outbox
	log      *slog.Logger
	gone     <-chan struct{}                // closed when nothing more may be written; nil: never
	blocking bool                           // senders wait for a place; else notifications get lost
	prepare  func(*mcp.JSONRPCNotification) // called before each is written; may be nil

	mu      sync.Mutex
	closed  bool
	ch      chan mcp.JSONRPCNotification // nil: not started
	places  chan struct{}                // a token for each place in use
	stop    chan struct{}
	stopped chan struct{} // closed when the pump has returned
}

// channel returns where to send one notification, or nil when none is wanted any more.
func (m *mailbox) channel() chan<- mcp.JSONRPCNotification {
	if isClosed(m.gone) || isClosed(m.out.aborted) || !m.start() {
		return nil
	}
	if !m.blocking {
		return m.ch
	}
	select {
	case m.places <- struct{}{}:
		return m.ch
	default:
	}
	// All places taken and nothing sent: whoever holds them asked for the channel and did not use
	// it. The channel's other half is room enough for those who are just about to.
	if len(m.ch) == 0 {
		return m.ch
	}
	select {
	case m.places <- struct{}{}:
		return m.ch
	case <-m.gone:
	case <-m.stopped:
	}
	return nil
}

// start starts the pump unless it runs; false: the mailbox is closed.
func (m *mailbox) start() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if m.ch == nil {
		m.ch = make(chan mcp.JSONRPCNotification, 2*mailboxPlaces)
		m.places = make(chan struct{}, mailboxPlaces)
		m.stop = make(chan struct{})
		m.stopped = make(chan struct{})
		go m.pump()
	}
	return true
}

// shut takes no more notifications. The channel it returns is closed when those sent before are in
// the outbox. It may be called again.
func (m *mailbox) shut() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ch == nil && !m.closed {
		m.stopped = make(chan struct{})
		close(m.stopped)
	} else if !m.closed {
		close(m.stop)
	}
	m.closed = true
	return m.stopped
}

func (m *mailbox) pump() {
	defer close(m.stopped)
	for {
		select {
		case n := <-m.ch:
			m.deliver(n)
		case <-m.stop:
			m.drain()
			return
		}
	}
}

func (m *mailbox) drain() {
	for {
		select {
		case n := <-m.ch:
			m.deliver(n)
		default:
			return
		}
	}
}

// deliver frees the notification's place and queues it, waiting for room.
func (m *mailbox) deliver(n mcp.JSONRPCNotification) {
	select {
	case <-m.places:
	default: // sent without asking for a place
	}
	if m.prepare != nil {
		m.prepare(&n)
	}
	data, err := encode(n)
	if err != nil {
		m.log.Error("notification can't be written as JSON", "method", n.Method, "error", err)
		return
	}
	_ = m.out.put(outLine{data, m.gone}, outboxLimit, m.gone) // fails only when nobody wants it
}
