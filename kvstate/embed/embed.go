package embed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"example.com/loop-mcp/internal/bugs"
	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// The values of Options.Durability.
const (
	Power   = "power"   // every acknowledged write is on the disk
	Process = "process" // every acknowledged write survives the process, not the machine
)

// Options of a host.
type Options struct {
	Dir        string        // where the store is; made if it is missing
	Durability string        // Power or Process; empty: Power
	Version    string        // of the program, for other processes to read
	Role       string        // what kind of process this is, for other processes to read
	Logger     *slog.Logger  // for the server's log; nil: discards
	Poll       time.Duration // how often the server's health is asked for; 0: 5 s
	OnHealth   func(error)   // called when the server becomes unhealthy, and with nil when it is well again; must not block; only in the process that hosts

	protocol int                     // Protocol, but for tests
	away     time.Duration           // awayFor, but for tests
	look     time.Duration           // lookEvery, but for tests
	network  func(dir string) string // networkFS, but for tests

	// Looks says that this process only reads. Then a full disk, where it can't be
	// written down that it is here, does not keep it out: it goes without, and when
	// it hosts, others find it as soon as there is room.
	Looks bool

	// AllowNetwork takes a directory on a network file system, where another
	// machine may not see the lock.
	AllowNetwork bool
}

// check fills in what is left out and refuses what is wrong.
func (o Options) check() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("open the store: no directory is given")
	}
	if o.Durability == "" {
		o.Durability = Power
	}
	if o.Durability != Power && o.Durability != Process {
		return o, fmt.Errorf("durability: must be %s or %s, got %q", Power, Process, o.Durability)
	}
	if o.protocol == 0 {
		o.protocol = Protocol
	}
	if o.away <= 0 {
		o.away = awayFor
	}
	if o.look <= 0 {
		o.look = lookEvery
	}
	if o.network == nil {
		o.network = networkFS
	}
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	return o, nil
}

const (
	storeDir     = "store" // of the server, in the folder of the store
	maxPayload   = 8 << 20
	maxMemory    = 256 << 20
	startTimeout = 30 * time.Second
	defaultPoll  = 5 * time.Second
	soonPoll     = 500 * time.Millisecond // while something is wrong

	// The room on the disk is asked for before each write ([Member.Room]), so the
	// server needs no limit: one that is set when it starts is wrong soon.
	maxStore = 1 << 50
)

// Host is a running server with its directory locked.
type Host struct {
	opts   Options
	log    *logger
	folder *folder
	lock   *flock.Flock // held by reference as long as poll runs: a collected lock is no lock
	conn   *nats.Conn   // of Start
	shared bool         // other processes may use it
	bridge *bridge      // of Join
	token  string       // that the server asks for; empty: none
	runner string       // of Join: who hosts

	mu     sync.Mutex
	srv    *server.Server // nil while it is being restarted
	staged string         // the folder in memory for batches; empty: none
	held   *os.File       // what root means; nil: root is the folder's own path
	root   string         // the folder, whatever gets its name
	unsaid *endpoint      // what endpoint.json is to say when there is room; nil: it says it

	stop chan struct{}
	done sync.WaitGroup
	once sync.Once
}

// Start locks the directory and runs the server on it until Close, for this
// process alone; [Join] shares it. When another process has the directory the
// error is an [*InUseError] and nothing was touched.
func Start(ctx context.Context, opts Options) (*Host, error) {
	opts, err := opts.check()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at := &folder{path: opts.Dir}
	if err := prepare(opts); err != nil {
		return nil, at.explain(err)
	}
	lock := newLock(opts.Dir)
	if err := take(ctx, lock, opts.Dir); err != nil {
		return nil, err
	}
	h := &Host{opts: opts, log: newLogger(opts.Logger), folder: at, lock: lock}
	if err := h.begin(ctx); err != nil {
		return nil, err
	}
	if h.conn, err = h.connect(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the store in %s: %w", opts.Dir, err), h.Close())
	}
	return h, nil
}

// begin runs the server. The lock is held, and given back when that fails.
func (h *Host) begin(ctx context.Context) error {
	h.stop = make(chan struct{})
	// gofail: var afterLock struct{}
	err := holds(h.lock.Path())
	if err == nil {
		err = checkFormat(h.opts.Dir)
	}
	if err == nil {
		err = h.pin()
	}
	if err == nil { // the server would begin with what it can open
		err = h.folder.because(shut(filepath.Join(h.opts.Dir, storeDir)))
	}
	if err == nil {
		err = h.announce(endpoint{Alone: !h.shared})
	}
	if err == nil {
		h.srv, err = h.serve(ctx)
	}
	if err == nil { // what the server has made is to stay where it is
		err = h.folder.there()
	}
	if err != nil {
		err = h.folder.explain(err)
		released := h.release()
		if _, known := errors.AsType[*DiskError](err); known {
			released = nil // it would say the same
		}
		return errors.Join(fmt.Errorf("start the store in %s: %w", h.opts.Dir, err), released)
	}
	// gofail: var afterServe struct{}
	h.Stage()
	h.done.Go(h.poll)
	return nil
}

// pin finds the path at which the server works.
func (h *Host) pin() (err error) {
	if h.held, h.root, err = pin(h.opts.Dir); err != nil {
		return err
	}
	h.log.call(h.root, h.opts.Dir)
	return h.folder.there() // it was not replaced this moment
}

// Conn returns the connection to the server. Close closes it.
func (h *Host) Conn() *nats.Conn { return h.conn }

// Room is that of [Member].
func (h *Host) Room(size int64, urgent bool) error { return h.folder.room(size, urgent) }

// Try is that of [Member].
func (h *Host) Try() error { return h.folder.try() }

// Close ends the connection and the server, waits for both and unlocks the
// directory. A second Close does nothing.
func (h *Host) Close() error {
	var err error
	h.once.Do(func() {
		close(h.stop)
		h.done.Wait()
		err = h.release()
	})
	return err
}

// release lets go of everything; the lock last, when nothing writes any more.
func (h *Host) release() error {
	if h.conn != nil {
		h.conn.Close()
	}
	if h.bridge != nil {
		h.bridge.close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	shutdown(h.srv)
	h.srv = nil
	h.unlink()
	var err error
	if h.held != nil {
		err = h.held.Close()
	}
	return errors.Join(err, letGo(h.opts.Dir, h.runner, h.lock))
}

func shutdown(srv *server.Server) {
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// Restart ends the server and starts it again on the same directory. Requests
// under way fail; connections come back by themselves.
func (h *Host) Restart(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	shutdown(h.srv)
	srv, err := h.serve(ctx)
	h.srv = srv
	if err != nil {
		return fmt.Errorf("restart the store in %s: %w", h.opts.Dir, err)
	}
	h.stageAll()
	return nil
}

// serve starts a server.
func (h *Host) serve(ctx context.Context) (*server.Server, error) {
	store := filepath.Join(h.root, storeDir)
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, h.log.known(err)
	}
	old := append(oldStages(store), h.staged)
	if err := repair(store); err != nil {
		h.log.Warnf("what a killed process left of a stream: %v", err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "loop-mcp", DontListen: true, NoSigs: true, NoSystemAccount: false,
		JetStream: true, StoreDir: store, SyncAlways: h.opts.Durability == Power && !bugs.NoSync,
		JetStreamMaxStore: maxStore, JetStreamMaxMemory: maxMemory, MaxPayload: maxPayload,
		DisableJetStreamBanner: true, Authorization: h.token,
	})
	if err != nil {
		return nil, err
	}
	h.log.fatal.Store(nil)
	srv.SetLoggerV2(h.log, false, false, false)
	srv.Start()
	wait := startTimeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	ready := h.ready(srv, wait)
	switch fatal := h.log.fatal.Load(); {
	case fatal != nil:
		err = errors.New(*fatal)
	case !ready:
		err = fmt.Errorf("the server was not ready within %s", wait)
	case !srv.JetStreamEnabled():
		err = errors.New("the server could not open its store; its log says why")
	default:
		h.staged = ""
		unstage(old...) // what was in them has been read
		return srv, nil
	}
	shutdown(srv)
	return nil, err
}

// ready waits until a server takes connections, has said why it never will, or the
// time is over.
func (h *Host) ready(srv *server.Server, wait time.Duration) bool {
	for end := time.Now().Add(wait); h.log.fatal.Load() == nil && time.Now().Before(end); {
		if srv.ReadyForConnections(min(time.Until(end), readyEvery)) {
			return true
		}
	}
	return false
}

// readyEvery is how often a server that starts is asked whether it has given up.
const readyEvery = 50 * time.Millisecond

// InProcessConn is what the client library dials: the server of the moment.
func (h *Host) InProcessConn() (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.srv == nil {
		return nil, errors.New("the embedded server is not running")
	}
	return h.srv.InProcessConn()
}

func (h *Host) connect() (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(h), nats.Name("loop-mcp"), nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(int) time.Duration { return 10 * time.Millisecond }),
		// A write that was held back while there was no server must not go out
		// later: whoever sent it has found out that it failed.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { // else it goes to stderr
			h.log.Warnf("the connection to the store: %v", err)
		}))
}
