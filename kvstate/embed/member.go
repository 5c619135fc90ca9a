package embed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"

	"example.com/loop-mcp/internal/bugs"
	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go"
)

const (
	storeURL     = "nats://loop-mcp:4222" // of the connection; the dialer knows the way
	joinPatience = 10 * time.Second       // for a host that has the lock and can't be reached
	holdOff      = time.Second            // before a process that could not host tries again
	quietFor     = 2 * time.Second        // a connection may be away before anybody is told
	dialTimeout  = 2 * time.Second
)

// Member is one process among those that share a store. One of them hosts the
// server; when that one ends, another takes over.
type Member struct {
	opts   Options
	log    *logger
	tcp    bool
	folder *folder
	lock   *flock.Flock
	runner *runner
	conn   *nats.Conn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	once   sync.Once

	mu       sync.Mutex // held while this process becomes host
	host     *Host      // nil: another process hosts
	token    string     // of the host that was dialed
	hostPID  int        // of the host that was dialed last
	closed   bool
	restful  time.Time            // until then this process leaves hosting to others
	unable   error                // why it could not host when it tried last; nil: it could, or need not
	asks     map[string]time.Time // hosts that were asked to hand over, and when they promised to
	replaced error                // why the store was given up
	over     chan struct{}        // closed then

	tasks sync.WaitGroup

	trouble trouble
}

// Join takes part in the store in a directory, with whatever other processes
// there are: it becomes the host, or uses the one that is there. The connection
// outlives every change of the host; requests that are under way meanwhile fail
// or are not answered.
//
// An older host is asked to hand over, so that the newest release hosts.
//
// An [*InUseError] says that a process has the directory and does not share it or
// does not answer, an [*IncompatibleError] that it has an older protocol and does
// not hand over, a [*ReplacedError] that it has a newer one.
func Join(ctx context.Context, opts Options) (*Member, error) {
	return join(ctx, opts, runtime.GOOS == "windows", joinPatience)
}

func join(ctx context.Context, opts Options, tcp bool, most time.Duration) (*Member, error) {
	opts, err := opts.check()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := &Member{opts: opts, log: newLogger(opts.Logger), folder: &folder{path: opts.Dir}, tcp: tcp, lock: newLock(opts.Dir), asks: map[string]time.Time{}, over: make(chan struct{})}
	if err := prepare(opts); err != nil {
		return nil, m.folder.explain(err)
	}
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if m.runner, err = newRunner(opts); err == nil {
		err = m.enter(ctx, most)
	} else {
		err = m.folder.explain(err)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// enter connects for the first time. It waits for a host that can't be reached,
// and less for one that has not even said who it is.
func (m *Member) enter(ctx context.Context, most time.Duration) error {
	began := time.Now()
	for try := 1; ; try++ {
		conn, err := nats.Connect(storeURL, m.connection()...)
		if err == nil {
			return m.entered(conn)
		}
		if known := m.Trouble(); known != nil {
			err = known
		}
		var wait *notYetError
		if !errors.As(err, &wait) {
			return err
		}
		if waited := time.Since(began); waited > most || waited > patience && (wait.inUse.PID == 0 || wait.inUse.Suspended) {
			return m.unreached(wait.inUse)
		}
		timer := time.NewTimer(reconnectDelay(try))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("open the store in %s: %w", m.opts.Dir, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// unreached says why a host was not reached. One that had no room to say who it is
// has something to look up, and is soon gone.
func (m *Member) unreached(found *InUseError) error {
	if found.PID == 0 && m.opts.Looks {
		return m.folder.explain(found)
	}
	return found
}

// entered begins to use the connection.
func (m *Member) entered(conn *nats.Conn) error {
	m.mu.Lock()
	m.conn = conn
	m.mu.Unlock()
	m.trouble.over()
	if err := m.folder.found(); err != nil {
		return err
	}
	if _, err := conn.Subscribe(handoverSubject, m.asked); err != nil {
		return fmt.Errorf("open the store in %s: %w", m.opts.Dir, err)
	}
	m.tasks.Go(m.watchHost)
	m.tasks.Go(m.watchFolder)
	m.takeOver()
	return nil
}

// back is called when there is a connection again: its host may be an older one.
func (m *Member) back(*nats.Conn) {
	m.trouble.over()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.tasks.Go(m.takeOver)
	}
}

func (m *Member) connection() []nats.Option {
	return []nats.Option{
		nats.SetCustomDialer(m), nats.SkipHostLookup(), nats.TokenHandler(m.currentToken), nats.Name("loop-mcp"),
		nats.Timeout(dialTimeout), nats.MaxReconnects(-1), nats.CustomReconnectDelay(reconnectDelay),
		// A token of the host before is refused twice in a row, and the next one is good.
		nats.IgnoreAuthErrorAbort(), nats.IgnoreDiscoveredServers(),
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2),
		// A write that was held back while there was no server must not go out
		// later: whoever sent it has found out that it failed.
		nats.ReconnectBufSize(-1),
		nats.ReconnectHandler(m.back),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { m.log.Debugf("the connection to the store's host ended: %v", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { // else it goes to stderr
			m.log.Warnf("the connection to the store: %v", err)
		}),
	}
}

// reconnectDelay is short, because the next host is there at once, and not the
// same for all.
func reconnectDelay(try int) time.Duration {
	base := 5 * time.Millisecond
	if try > 200 {
		base = 100 * time.Millisecond
	}
	return base + rand.N(base)
}

// SkipTLSHandshake tells the client that connections never leave the machine.
func (m *Member) SkipTLSHandshake() bool { return true }

// Dial is called by the client whenever it needs a connection: it becomes the
// host when there is none, else it dials the host.
func (m *Member) Dial(string, string) (net.Conn, error) {
	conn, err := m.dial()
	switch {
	case err != nil:
		m.trouble.note(m.log, err)
	case conn.RemoteAddr().Network() != "pipe": // whether it answers is still to be seen
		m.trouble.note(m.log, m.notYet(errors.New("no answer")))
	}
	return conn, err
}

func (m *Member) dial() (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errors.New("the store is closed")
	}
	if m.replaced != nil {
		return nil, m.replaced
	}
	if err := m.folder.there(); err != nil { // whoever hosts there has another store
		return nil, err
	}
	if m.host == nil && time.Now().After(m.restful) {
		m.unable = m.elect()
		if m.unable != nil {
			m.restful = time.Now().Add(holdOff)
			return nil, m.unable
		}
	}
	if m.host != nil {
		m.token = m.host.token
		return m.host.InProcessConn()
	}
	conn, err := m.call()
	switch {
	case err == nil:
		m.restful, m.unable = time.Time{}, nil // somebody hosts
	case m.unable != nil && errors.Is(err, errNoHost):
		return nil, m.unable
	}
	return conn, err
}

// elect makes this process the host unless another one has the lock.
func (m *Member) elect() error {
	locked, err := m.lock.TryLock()
	if err != nil {
		return m.folder.explain(fmt.Errorf("lock %s: %w: choose a directory on a local disk", m.lock.Path(), err))
	}
	if err := m.folder.there(); err != nil { // it was replaced this moment
		return errors.Join(err, m.lock.Unlock())
	}
	if !locked && !bugs.NoLock {
		return nil
	}
	if l, ok := Look(m.opts.Dir); ok && l.Answers && !bugs.NoLock {
		return errors.Join(fmt.Errorf("process %d hosts the loops in %s, and its file %s was removed: end that process, or two would write to one store", l.PID, m.opts.Dir, lockFile), m.lock.Unlock())
	}
	clearSockets(m.opts.Dir)
	h := &Host{opts: m.opts, log: m.log, folder: m.folder, lock: m.lock, shared: true, runner: m.runner.name}
	if m.tcp {
		h.token = newToken()
	}
	if err := h.begin(m.ctx); err != nil {
		return err
	}
	if err := h.share(m.tcp); err != nil {
		return errors.Join(m.folder.explain(err), h.Close())
	}
	m.host = h
	return nil
}

// call dials the host.
func (m *Member) call() (net.Conn, error) {
	e, ok := readEndpoint(m.opts.Dir)
	switch {
	case !ok || !lives(e.PID):
		return nil, m.notYet(errNoHost)
	case e.Protocol > m.opts.protocol:
		return nil, m.replacedBy(e)
	case e.Protocol < m.opts.protocol:
		return nil, m.displace(e)
	case e.Alone:
		return nil, inUse(m.opts.Dir)
	case e.Address == "":
		return nil, m.notYet(errors.New("it is about to open the store"))
	case suspended(e.PID):
		return nil, m.notYet(errSuspended)
	}
	conn, err := dialHost(e)
	if err != nil {
		return nil, m.notYet(err)
	}
	m.token, m.hostPID = e.Token, e.PID
	if e.Durability == Process && m.opts.Durability == Power {
		m.log.Warnf("process %d hosts the store with durability %s, not %s as configured here", e.PID, e.Durability, m.opts.Durability)
	}
	return conn, nil
}

var errNoHost = errors.New("nobody says that it hosts the store")

func dialHost(e endpoint) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), e.Network, e.Address)
}

func (m *Member) currentToken() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.token
}

// notYetError says that there is a holder of the lock that can't be reached, as
// happens for a moment when the host changes.
type notYetError struct {
	inUse *InUseError
	cause error
}

func (e *notYetError) Error() string {
	if errors.Is(e.cause, errSuspended) { // the other one says so
		return e.inUse.Error()
	}
	return fmt.Sprintf("%v (%v)", e.inUse, e.cause)
}

func (e *notYetError) Unwrap() []error { return []error{e.inUse, e.cause} }

func (m *Member) notYet(cause error) *notYetError {
	found := inUse(m.opts.Dir)
	found.Silent, found.Suspended = true, found.PID != 0 && suspended(found.PID)
	return &notYetError{inUse: found, cause: cause}
}

// Room returns a [*DiskError] when size bytes can't be written to the store now,
// whichever process hosts it. A part of the disk is left free, so that the server
// never meets a full one; urgent is for what ends or pauses a loop, which may use
// most of that part.
func (m *Member) Room(size int64, urgent bool) error { return m.folder.room(size, urgent) }

// Try returns why a write is not answered: it writes a small file beside the
// store and returns a [*DiskError] when that fails.
func (m *Member) Try() error { return m.folder.try() }

// Conn returns the connection to the store. Close closes it.
func (m *Member) Conn() *nats.Conn { return m.conn }

// Hosts reports whether this process hosts the server now.
func (m *Member) Hosts() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.host != nil
}

// Runner returns the name by which other processes know this one.
func (m *Member) Runner() string { return m.runner.name }

// Alive reports whether the process whose Runner has that name takes part in the
// store. It may say so of one that ended a moment ago.
func (m *Member) Alive(name string) bool { return m.runner.alive(name) }

// Close ends the connection. A host hands over: it ends its server, then lets go
// of the lock, and another process takes it. A second Close does nothing.
func (m *Member) Close() error {
	var err error
	m.once.Do(func() {
		if m.conn != nil {
			m.conn.Close()
		}
		m.cancel()
		m.mu.Lock()
		m.closed = true
		m.mu.Unlock()
		m.tasks.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.host != nil {
			err = m.host.Close()
			m.host = nil
		}
		if m.runner != nil {
			err = errors.Join(err, m.runner.close())
		}
	})
	return err
}
