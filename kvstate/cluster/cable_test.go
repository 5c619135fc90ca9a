package cluster_test

import (
	"net"
	"sync"
	"time"

	"example.com/loop-mcp/kvstate/embed"
)

// cable is a way to a server inside that can be cut: then nothing comes and
// nothing goes, and nobody is told.
type cable struct {
	host *embed.Host

	mu   sync.Mutex
	open chan struct{}
}

func newCable(h *embed.Host) *cable {
	c := &cable{host: h, open: make(chan struct{})}
	close(c.open)
	return c
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = make(chan struct{})
}

func (c *cable) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.open)
}

func (c *cable) pass() {
	c.mu.Lock()
	open := c.open
	c.mu.Unlock()
	<-open
}

func (c *cable) Dial(string, string) (net.Conn, error) {
	c.pass()
	conn, err := c.host.InProcessConn()
	if err != nil {
		return nil, err
	}
	out := &cableConn{Conn: conn, cable: c, more: make(chan struct{}, 1)}
	go out.send()
	return out, nil
}

func (*cable) SkipTLSHandshake() bool { return true }

// cableConn takes what is written at once, as a socket does.
type cableConn struct {
	net.Conn
	cable *cable

	mu      sync.Mutex
	waiting []byte
	closed  bool
	more    chan struct{}
}

func (c *cableConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.cable.pass()
	return n, err
}

func (c *cableConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.waiting = append(c.waiting, b...)
	c.signal()
	return len(b), nil
}

func (c *cableConn) signal() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (*cableConn) SetDeadline(time.Time) error { return nil }

func (*cableConn) SetWriteDeadline(time.Time) error { return nil }

func (c *cableConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.signal()
	return c.Conn.Close()
}

// send hands on what was written while the cable is whole.
func (c *cableConn) send() {
	for range c.more {
		c.mu.Lock()
		data, closed := c.waiting, c.closed
		c.waiting = nil
		c.mu.Unlock()
		if closed {
			return
		}
		c.cable.pass()
		if _, err := c.Conn.Write(data); err != nil {
			return
		}
	}
}
