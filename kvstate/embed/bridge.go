package embed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	maxSocketPath = 99 // bytes; macOS has room for 103
	socketPattern = "host-*.sock"
	dirPattern    = "loop-mcp-*"
)

// bridge hands connections from other processes on to the server in this one.
type bridge struct {
	listener net.Listener
	dir      string // of the socket, when it was made for it
	dial     func() (net.Conn, error)

	mu     sync.Mutex
	conns  map[net.Conn]bool // nil: closed
	closed chan struct{}
	tasks  sync.WaitGroup
}

// share lets other processes of this user use the server.
func (h *Host) share(tcp bool) error {
	e := endpoint{Network: "unix"}
	h.bridge = &bridge{dial: h.InProcessConn, conns: map[net.Conn]bool{}, closed: make(chan struct{})}
	var err error
	if tcp {
		e.Network, e.Token = "tcp", h.token
		h.bridge.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	} else {
		err = h.bridge.listen(h.opts.Dir)
	}
	if err != nil {
		return fmt.Errorf("share the store in %s: %w", h.opts.Dir, err)
	}
	e.Address = h.bridge.listener.Addr().String()
	h.bridge.tasks.Go(h.bridge.accept)
	return h.announce(e)
}

// newToken returns 192 random bits.
func newToken() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand.Read
	return hex.EncodeToString(b[:])
}

// listen makes a socket that only this user reaches. Its name is new each time,
// so that nobody takes one host for another.
func (b *bridge) listen(store string) error {
	dir := store
	name := fmt.Sprintf("host-%s.sock", newToken()[:8])
	if len(filepath.Join(dir, name)) > maxSocketPath {
		var err error
		if dir, err = shortDir(len(name)); err != nil {
			return err
		}
		b.dir = dir
	}
	path := filepath.Join(dir, name)
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return errors.Join(err, b.removeDir())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close(), b.removeDir())
	}
	b.listener = listener
	return nil
}

// shortDir makes a directory for a socket whose name has so many bytes, closed
// to others and under a name that nobody can guess.
func shortDir(name int) (string, error) {
	var problems []error
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		if !filepath.IsAbs(base) || len(base)+len(dirPattern)+12+name > maxSocketPath {
			continue
		}
		dir, err := os.MkdirTemp(base, dirPattern)
		if err == nil {
			return dir, nil
		}
		problems = append(problems, err)
	}
	return "", errors.Join(append([]error{fmt.Errorf("a socket's path may have %d bytes: the path of the store is longer, and there is no shorter directory for temporary files; set TMPDIR or LOOP_MCP_HOME to a short path", maxSocketPath)}, problems...)...)
}

func (b *bridge) removeDir() error {
	if b.dir == "" {
		return nil
	}
	return os.Remove(b.dir)
}

// clearSockets removes what hosts that were killed left behind. The lock is held.
func clearSockets(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, socketPattern)) // the pattern is well-formed
	if e, ok := readEndpoint(dir); ok && e.Network == "unix" {
		left = append(left, e.Address)
	}
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Type() != os.ModeSocket {
			continue
		}
		_ = os.Remove(path) // it is in nobody's way
		own, _ := filepath.Match(dirPattern, filepath.Base(filepath.Dir(path)))
		if own && filepath.Dir(path) != dir {
			_ = os.Remove(filepath.Dir(path))
		}
	}
}

func (b *bridge) accept() {
	for {
		conn, err := b.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files: it passes
			timer := time.NewTimer(50 * time.Millisecond)
			select {
			case <-timer.C:
			case <-b.closed:
				timer.Stop()
			}
		default:
			b.connect(conn)
		}
	}
}

// connect copies between a connection and the server until one of them ends.
func (b *bridge) connect(outer net.Conn) {
	inner, err := b.dial()
	if err != nil {
		hangUp(outer)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		hangUp(outer, inner)
		return
	}
	b.conns[outer] = true
	forward := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // that it ends is all that matters
		hangUp(outer, inner)
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.conns, outer)
	}
	b.tasks.Go(func() { forward(inner, outer) })
	b.tasks.Go(func() { forward(outer, inner) })
}

// hangUp closes connections. Nobody is left who could be told of an error.
func hangUp(conns ...net.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// close ends all connections and waits for them.
func (b *bridge) close() {
	if b.listener == nil {
		return
	}
	_ = b.listener.Close() // nobody can be told
	b.mu.Lock()
	for conn := range b.conns {
		hangUp(conn)
	}
	b.conns = nil
	b.mu.Unlock()
	close(b.closed)
	b.tasks.Wait()
	_ = b.removeDir() // in nobody's way
}
