package rpc

import (
	"log/slog"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
)

// MailboxPlaces is how many notifications a blocking mailbox hands out places for. The channel is
// twice as large, see Channel.
const MailboxPlaces = 64

// Mailbox carries the notifications of one session to a transport. Its exported fields are set before
// its first use and not changed.
//
// mcp-go asks a session for its channel before every send and drops the notification when the
// channel is full. So a blocking mailbox hands out its channel only when a place is free, which makes
// the sender wait and loses nothing. The pump that empties it starts with the first notification.
type Mailbox struct {
	Send     func(data []byte)              // called by the pump, in order, with a line; may wait for room
	Closed   <-chan struct{}                // closed when nothing will be written any more; nil: never
	Gone     <-chan struct{}                // closed when nobody wants these notifications; nil: never
	Blocking bool                           // senders wait for a place; else notifications get lost
	Prepare  func(*mcp.JSONRPCNotification) // called before each is written; may be nil
	Log      *slog.Logger

	mu      sync.Mutex
	closed  bool
	ch      chan mcp.JSONRPCNotification // nil: not started
	places  chan struct{}                // a token for each place in use
	stop    chan struct{}
	stopped chan struct{} // closed when the pump has returned
}

// Channel returns where to send one notification, or nil when none is wanted any more.
func (m *Mailbox) Channel() chan<- mcp.JSONRPCNotification {
	if IsClosed(m.Gone) || IsClosed(m.Closed) || !m.start() {
		return nil
	}
	if !m.Blocking {
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
	case <-m.Gone:
	case <-m.stopped:
	}
	return nil
}

// start starts the pump unless it runs; false: the mailbox is closed.
func (m *Mailbox) start() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if m.ch == nil {
		m.ch = make(chan mcp.JSONRPCNotification, 2*MailboxPlaces)
		m.places = make(chan struct{}, MailboxPlaces)
		m.stop = make(chan struct{})
		m.stopped = make(chan struct{})
		go m.pump()
	}
	return true
}

// Shut takes no more notifications. The channel it returns is closed when those sent before have
// been passed on. It may be called again.
func (m *Mailbox) Shut() <-chan struct{} {
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

func (m *Mailbox) pump() {
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

func (m *Mailbox) drain() {
	for {
		select {
		case n := <-m.ch:
			m.deliver(n)
		default:
			return
		}
	}
}

// deliver frees the notification's place and passes it on, waiting for room.
func (m *Mailbox) deliver(n mcp.JSONRPCNotification) {
	select {
	case <-m.places:
	default: // sent without asking for a place
	}
	if m.Prepare != nil {
		m.Prepare(&n)
	}
	data, err := Encode(n)
	if err != nil {
		m.Log.Error("notification can't be written as JSON", "method", n.Method, "error", err)
		return
	}
	m.Send(data)
}

// IsClosed reports whether c, on which nothing is sent, is closed.
func IsClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
