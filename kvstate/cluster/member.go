package cluster

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	dialTimeout  = 5 * time.Second // for one server
	pingInterval = 5 * time.Second
	askTimeout   = 5 * time.Second // for one question to JetStream
	askAgain     = 250 * time.Millisecond
	choosing     = 10 * time.Second // servers that choose a leader; 4.4 to 8.5 s were measured

	unavailable jetstream.ErrorCode = 10008 // JetStream is, for a moment
)

// Member is one process among those that use the servers. It is safe for
// concurrent use.
type Member struct {
	opts     Options
	log      *slog.Logger
	conn     *nats.Conn
	js       jetstream.JetStream
	replicas int
	trouble  trouble
	entered  atomic.Bool // there was a connection

	runner string
	leases leases

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	once   sync.Once
}

// Connect connects to one of the servers and asks what JetStream there can do.
// ctx bounds Connect alone; the connection outlives every change of servers, and
// requests that are under way meanwhile fail or are not answered. What is wrong
// is said in the error, a sentence for the operator. The caller closes the member.
func Connect(ctx context.Context, opts Options) (*Member, error) {
	return connect(ctx, opts)
}

func connect(ctx context.Context, opts Options, more ...nats.Option) (*Member, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.Name == "" {
		opts.Name = "loop-mcp"
	}
	m := &Member{opts: opts, log: opts.Logger, runner: "run-" + strings.ToLower(crand.Text()[:10])}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.leases.init(m)
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := m.enter(ctx, more); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// enter connects for the first time.
func (m *Member) enter(ctx context.Context, more []nats.Option) error {
	options, err := m.connection()
	if err != nil {
		return err
	}
	if m.conn, err = nats.Connect(strings.Join(m.opts.servers(), ","), append(options, more...)...); err != nil {
		return m.explain(err)
	}
	m.entered.Store(true)
	if m.js, err = jetstream.New(m.conn); err != nil {
		return m.explain(err)
	}
	if err := m.checkVersion(); err != nil {
		return err
	}
	if m.opts.Bare {
		return nil
	}
	if err := m.checkAccount(ctx); err != nil {
		return err
	}
	m.replicas = m.opts.Replicas
	if m.replicas == 0 {
		m.replicas = 3
		if m.conn.ConnectedClusterName() == "" {
			m.replicas = 1
			m.log.Info("the NATS server is alone: it has the only copy of each loop", "server", m.opts.Where())
		}
	}
	return nil
}

// The versions of servers: what is missing in older ones.
const (
	oldest    = "2.12.0" // is refused: batches of direct gets, and leases that end
	wellKnown = "2.15.0" // older ones are known to lose acknowledged records when machines fail
)

func (m *Member) checkVersion() error {
	version := m.conn.ConnectedServerVersion()
	switch {
	case before(version, oldest):
		return fmt.Errorf("the NATS server %s is of version %s; loops need at least %s, and %s or newer to survive what machines do: upgrade it", m.opts.Where(), version, oldest, wellKnown)
	case before(version, wellKnown):
		m.log.Warn("the NATS server is older than "+wellKnown+", which fixed losses of acknowledged records when machines fail; upgrade it", "server", m.opts.Where(), "version", version)
	}
	return nil
}

// before compares versions such as 2.15.2; what can't be read is new.
func before(version, than string) bool {
	parse := func(v string) (n [3]int) {
		_, _ = fmt.Sscanf(v, "%d.%d.%d", &n[0], &n[1], &n[2]) // what is missing counts as 0
		return n
	}
	a, b := parse(version), parse(than)
	if a == [3]int{} {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// checkAccount asks whether this account may use JetStream at all. Servers that
// choose a leader say that they are unavailable, or nothing; they are given time.
func (m *Member) checkAccount(ctx context.Context) error {
	for began := time.Now(); ; {
		err := m.askAccount(ctx)
		if !leaderless(err) && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil || time.Since(began) > choosing {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askAgain):
		}
	}
}

// leaderless reports whether servers say that none of them decides: they choose one, or
// too few of them are there to do so.
func leaderless(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == unavailable
}

func (m *Member) askAccount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	denied := m.trouble.watchDenials(ctx)
	_, err := m.js.AccountInfo(denied)
	if cause := context.Cause(denied); err != nil && cause != nil && ctx.Err() == nil {
		return cause // a sentence already
	}
	if err != nil {
		return m.explain(err)
	}
	return nil
}

// reconnectDelay is short at first: another server of the cluster is there.
func reconnectDelay(try int) time.Duration {
	base := 20 * time.Millisecond << min(try, 6)
	return base/2 + rand.N(base)
}

// Conn returns the connection. Close closes it.
func (m *Member) Conn() *nats.Conn { return m.conn }

// Runner returns the name of this process; its leases begin with it.
func (m *Member) Runner() string { return m.runner }

// Replicas is how many servers are to have each record of new streams.
func (m *Member) Replicas() int { return m.replicas }

// Trouble returns why there is no connection, or what the servers refused a
// moment ago; nil: nothing is wrong.
func (m *Member) Trouble() error {
	return m.trouble.now(m.conn != nil && m.conn.IsConnected())
}

// Close gives the lease up and ends the connection. Bodies that run under the
// lease see its end; the caller ends what works on loops before. A second Close
// does nothing.
func (m *Member) Close() error {
	m.once.Do(func() {
		m.cancel()
		m.tasks.Wait()
		m.leases.release()
		if m.conn != nil {
			m.conn.Close()
		}
	})
	return nil
}
