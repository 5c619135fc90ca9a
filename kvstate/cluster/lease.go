package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The times of a lease; the package doc says why.
const (
	TTL      = 15 * time.Second // how long others wait for a sign
	ValidFor = 11 * time.Second // how long the holder has it after a renewal

	renewEvery = 2 * time.Second
	keptFor    = time.Minute     // by the servers
	renewTry   = 4 * time.Second // for one answer
	pause      = 250 * time.Millisecond
)

var (
	errLapsed = errors.New("the lease of this worker could not be renewed in time")
	errBuried = errors.New("another worker has declared this one dead")
	errClosed = errors.New("the connection to the NATS servers is closed")
)

// Worker is the value of a lease.
type Worker struct {
	Name    string    `json:"-"` // of the lease
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Version string    `json:"version,omitempty"`
	Role    string    `json:"role,omitempty"` // Options.Role; empty: not known
	Since   time.Time `json:"since"`          // by the clock of its machine
	Number  int       `json:"n"`              // of the renewals

	Silent time.Duration `json:"-"` // since the last one, by the servers' clocks
}

// Process is the [Member.Runner] of the worker.
func (w Worker) Process() string {
	if process, ok := holder(w.Name); ok {
		return process
	}
	return w.Name
}

// leases are the lease of this process and what it knows of others.
type leases struct {
	m     *Member
	began sync.Once

	mu     sync.Mutex
	number int
	name   string          // of the lease that is held or was held last
	held   context.Context // nil: none yet
	got    chan struct{}   // closes when a lease is got
	others map[string]*sign
	seen   []Worker  // that lived at seenAt
	seenAt time.Time // zero: nobody has looked
	rev    uint64    // of the newest renewal
	mine   bool      // the lease has not been lost

	renewed time.Time // when the servers last took a renewal

	said map[string]bool // in the log since there was a lease; only keep uses it
}

func (l *leases) init(m *Member) {
	l.m, l.got, l.others = m, make(chan struct{}), map[string]*sign{}
}

// Lease waits until this process has a lease. It returns its name, for claims,
// and a context that ends when loops claimed with it may be taken by others. The
// first call makes this process a worker that others see, until Close.
func (m *Member) Lease(ctx context.Context) (name string, held context.Context, err error) {
	l := &m.leases
	l.began.Do(func() {
		m.tasks.Go(func() { l.keep(m.ctx) })
		m.tasks.Go(func() { l.observe(m.ctx) })
	})
	for {
		l.mu.Lock()
		name, held, got := l.name, l.held, l.got
		l.mu.Unlock()
		if held != nil && held.Err() == nil {
			return name, held, nil
		}
		select {
		case <-ctx.Done():
			return "", nil, fmt.Errorf("wait for a lease: %w", context.Cause(ctx))
		case <-m.ctx.Done():
			return "", nil, fmt.Errorf("wait for a lease: %w", errClosed)
		case <-got:
		}
	}
}

// keep holds one lease after the other until ctx ends.
func (l *leases) keep(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			sleep(ctx, pause)
		}
		if err := l.m.ensureLeases(ctx); err != nil {
			if ctx.Err() == nil {
				l.say("this worker gets no lease yet", err)
				sleep(ctx, renewEvery)
			}
			continue
		}
		had, err := l.hold(ctx)
		switch {
		case ctx.Err() != nil:
		case had:
			l.say("this worker has no lease: it ends its bodies and begins nothing", err)
		default:
			l.say("this worker gets no lease yet", err)
		}
	}
}

// say tells the log why there is no lease, each reason once until there is one.
func (l *leases) say(what string, cause error) {
	text := what + cause.Error()
	if l.said[text] {
		l.m.log.Debug(what, "cause", cause)
		return
	}
	if l.said == nil {
		l.said = map[string]bool{}
	}
	l.said[text] = true
	l.m.log.Warn(what, "cause", cause)
}

// hold gets a lease and renews it until it is lost. had is false when it got none.
func (l *leases) hold(ctx context.Context) (had bool, err error) {
	r := renewal{m: l.m, sent: map[int]time.Time{}}
	host, _ := os.Hostname() // it only informs
	r.worker = Worker{Host: host, PID: os.Getpid(), Version: l.m.opts.Version, Role: l.m.opts.Role, Since: time.Now().UTC()}
	l.mu.Lock()
	l.number++
	r.worker.Name = l.m.runner + "-" + strconv.Itoa(l.number)
	l.mu.Unlock()
	sent, err := r.renew(ctx, time.Now().Add(ValidFor))
	if err != nil {
		return false, r.because(err)
	}
	held, lose := context.WithCancelCause(ctx)
	end := time.AfterFunc(time.Until(sent.Add(ValidFor)), func() { lose(errLapsed) })
	defer end.Stop()
	l.grant(held, r.worker.Name, r.rev)
	for {
		sleep(held, renewEvery)
		if sent, err = r.renew(held, sent.Add(ValidFor)); err != nil {
			lose(err)
			l.note(r.rev, ctx.Err() != nil)
			return true, r.because(context.Cause(held))
		}
		l.note(r.rev, true)
		if end.Stop() {
			end.Reset(time.Until(sent.Add(ValidFor)))
		}
	}
}

func (l *leases) grant(held context.Context, name string, rev uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name, l.held, l.rev, l.mine, l.renewed = name, held, rev, true, time.Now()
	close(l.got)
	l.got = make(chan struct{})
	if len(l.said) > 0 {
		l.said = nil
		l.m.log.Warn("this worker has a lease again", "lease", name)
	}
}

func (l *leases) note(rev uint64, mine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rev, l.mine = rev, mine; mine {
		l.renewed = time.Now()
	}
}

// release says that this worker is over, so that nobody has to wait for it.
// Nothing renews the lease any more.
func (l *leases) release() {
	l.mu.Lock()
	name, rev, mine := l.name, l.rev, l.mine
	l.mu.Unlock()
	if !mine || !l.m.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.m.bury(ctx, name, rev) == nil {
		return
	}
	if rev, _, over, err := l.m.newest(ctx, name); err == nil && !over && rev != 0 { // a renewal was under way
		_ = l.m.bury(ctx, name, rev) // else others wait for it
	}
}

// renewal writes one lease again and again.
type renewal struct {
	m      *Member
	worker Worker
	rev    uint64            // of its newest message; 0: there is none
	sent   map[int]time.Time // when each number was sent
	last   error             // of the last try; nil: it succeeded
}

// because adds to why a lease was lost what became of its last renewal.
func (r *renewal) because(err error) error {
	if r.last == nil || errors.Is(err, errBuried) {
		return err
	}
	return fmt.Errorf("%w: %w", err, r.m.explain(r.last))
}

// renew writes the lease until the servers acknowledge it, at most until a
// moment. It returns when what they took was sent.
func (r *renewal) renew(ctx context.Context, until time.Time) (time.Time, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, until, errLapsed)
	defer cancel()
	for {
		r.worker.Number++
		value, err := json.Marshal(r.worker)
		if err != nil {
			return time.Time{}, err
		}
		now := time.Now()
		r.sent[r.worker.Number] = now
		rev, err := r.m.put(ctx, r.worker.Name, r.rev, value, nil)
		if err == nil || ctx.Err() == nil { // else it was cut off here
			r.m.decided(now, err)
			r.last = err
		}
		if err == nil {
			r.rev = rev
			clear(r.sent)
			return now, nil
		}
		if ctx.Err() != nil {
			return time.Time{}, context.Cause(ctx)
		}
		r.m.log.Debug("a lease was not renewed; it is tried again", "cause", err)
		landed, found, err := r.look(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if found {
			return landed, nil
		}
		sleep(ctx, pause)
	}
}

// look finds out whether an attempt whose answer was lost has landed, and when
// it was sent.
func (r *renewal) look(ctx context.Context) (sent time.Time, found bool, err error) {
	rev, value, over, err := r.m.newest(ctx, r.worker.Name)
	switch {
	case err != nil:
		return time.Time{}, false, nil //nolint:nilerr // it is tried again
	case over, rev != r.rev && value == nil:
		return time.Time{}, false, errBuried
	case rev == r.rev:
		return time.Time{}, false, nil
	}
	var there Worker
	if json.Unmarshal(value, &there) != nil {
		return time.Time{}, false, errBuried
	}
	r.rev = rev
	sent, found = r.sent[there.Number]
	return sent, found, nil
}

// put writes the lease name after revision rev.
func (m *Member) put(ctx context.Context, name string, rev uint64, value []byte, more nats.Header) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, renewTry)
	defer cancel()
	msg := &nats.Msg{Subject: leaseSubject(name), Data: value, Header: nats.Header{
		"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(rev, 10)},
		"Nats-TTL":                            {strconv.Itoa(int(keptFor / time.Second))},
	}}
	maps.Copy(msg.Header, more)
	ack, err := m.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// tryName is a lease that nobody has, and tryTTL how long the servers keep what is
// written there, in seconds.
const (
	tryName = "try"
	tryTTL  = "1"
)

// Try writes what means nothing beside the leases, and returns what the servers say
// to that. A lease that was renewed a moment ago tells as much.
func (m *Member) Try(ctx context.Context) error {
	m.leases.mu.Lock()
	renewed := m.leases.renewed
	m.leases.mu.Unlock()
	if time.Since(renewed) < 2*renewEvery {
		return nil
	}
	msg := &nats.Msg{Subject: leaseSubject(tryName), Header: nats.Header{operation: {"DEL"}, "Nats-TTL": {tryTTL}}}
	_, err := m.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	return err
}

// bury writes that the lease is over if rev is still its newest revision.
func (m *Member) bury(ctx context.Context, name string, rev uint64) error {
	_, err := m.put(ctx, name, rev, nil, nats.Header{operation: {"DEL"}})
	return err
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
