package clustertest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy is a way to a server that can be cut. It is safe for concurrent use.
type Proxy struct {
	target string
	l      net.Listener

	mu    sync.Mutex
	open  chan struct{} // closed while bytes get through
	conns map[net.Conn]bool
	done  bool
	tasks sync.WaitGroup
}

// NewProxy listens on loopback and hands on to a server until the test ends.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{target: target, l: l, open: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(p.open)
	p.tasks.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// URL is the way through the proxy.
func (p *Proxy) URL() string { return "nats://" + p.l.Addr().String() }

// Cut lets no byte through any more, as a cable that is pulled does: nobody is
// told.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// Heal lets bytes through again, those that were held back first.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

func (p *Proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.join(in) })
	}
}

// join hands on between a client and the server until one of them ends.
func (p *Proxy) join(in net.Conn) {
	p.gate()
	out, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = in.Close()
		return
	}
	if !p.keep(in, out) {
		return
	}
	var both sync.WaitGroup
	one := func(to, from net.Conn) {
		p.copy(to, from)
		_, _ = to.Close(), from.Close()
	}
	both.Go(func() { one(out, in) })
	both.Go(func() { one(in, out) })
	both.Wait()
}

func (p *Proxy) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.gate()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// gate waits until bytes get through.
func (p *Proxy) gate() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.done {
			_ = c.Close()
		}
		p.conns[c] = true
	}
	return !p.done
}

func (p *Proxy) close() {
	_ = p.l.Close()
	p.Heal()
	p.mu.Lock()
	p.done = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.tasks.Wait()
}
