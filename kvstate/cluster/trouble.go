package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// trouble is why there is no connection, and what the servers refused.
type trouble struct {
	mu       sync.Mutex
	err      error
	since    time.Time // when there was a connection last
	none     error     // why none of the servers decides
	noneAt   time.Time // since when
	denied   error
	deniedAt time.Time
	waiting  map[int]context.CancelCauseFunc // of those who want to know of denials at once
	next     int
}

// denialCounts is how long a refusal explains what goes wrong.
const denialCounts = 10 * time.Second

// lastsAfter is how long servers may be away before waiting for them is no use to
// whoever asks: longer than they take to choose one that decides.
const lastsAfter = 12 * time.Second

// awayError is why the servers can't be reached or decide nothing.
type awayError struct {
	error
	since time.Time
}

func (e *awayError) Unwrap() error { return e.error }

// Lasts reports that this is so for longer than it is when one server fails.
func (e *awayError) Lasts() bool { return time.Since(e.since) >= lastsAfter }

// note remembers why there is no connection.
func (t *trouble) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.since = time.Now()
	}
	t.err = err
}

func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err, t.none = nil, nil
}

// undecided remembers that none of the servers decided about what was sent to them
// at a moment; nil: one did.
func (t *trouble) undecided(sent time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.none == nil {
		t.noneAt = sent
	}
	t.none = err
}

// deny remembers what the servers do not allow.
func (t *trouble) deny(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.denied, t.deniedAt = err, time.Now()
	for _, cancel := range t.waiting {
		cancel(err)
	}
}

// watchDenials returns a context that ends with the next denial.
func (t *trouble) watchDenials(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = map[int]context.CancelCauseFunc{}
	}
	t.next++
	number := t.next
	t.waiting[number] = cancel
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiting, number)
	})
	return ctx
}

// now is what is wrong at the moment.
func (t *trouble) now(connected bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !connected && t.err != nil {
		return &awayError{t.err, t.since}
	}
	if e := (&awayError{t.none, t.noneAt}); t.none != nil && e.Lasts() { // before, they may be choosing
		return e
	}
	if t.denied != nil && time.Since(t.deniedAt) < denialCounts {
		return t.denied
	}
	return nil
}

// decided notes what became of a renewal that was sent at a moment: whether one of
// the servers decides.
func (m *Member) decided(sent time.Time, err error) {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == notYetDecided:
	case m.ctx.Err() != nil, !m.conn.IsConnected(), errors.Is(err, nats.ErrReconnectBufExceeded): // nobody was asked
	case err == nil, errors.As(err, &api) && !leaderless(err):
		m.trouble.undecided(sent, nil)
	default:
		m.trouble.undecided(sent, m.nobodyDecides(err))
	}
}

// disconnected is called when the connection breaks.
func (m *Member) disconnected(err error) {
	if m.ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("the server closed the connection")
	}
	m.trouble.note(m.explain(err))
	m.log.Warn("the connection to the NATS servers broke; it is being made again", "servers", m.opts.Where(), "cause", err)
}

// heard is called with what the server says without being asked.
func (m *Member) heard(err error) {
	if m.ctx.Err() != nil {
		return
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		m.trouble.deny(m.explain(err))
	}
	m.log.Warn("the NATS server", "says", err)
}

// wordedError is an error whose own text says less than the words.
type wordedError struct {
	words string
	error
}

func (e *wordedError) Error() string { return e.words }
func (e *wordedError) Unwrap() error { return e.error }

// nobodyDecides says that the servers that can be reached do not do their work.
func (m *Member) nobodyDecides(err error) error {
	switch {
	case m.conn.ConnectedClusterName() != "":
		return &wordedError{fmt.Sprintf("a majority of the NATS servers %s is away: start those that do not run; loops go on by themselves then, and what failed meanwhile can be tried again", m.opts.Where()), err}
	case errors.Is(err, context.DeadlineExceeded):
		return &wordedError{fmt.Sprintf("the NATS server %s does not answer: look whether it or its disk stands still; loops go on by themselves then, and what failed meanwhile can be tried again", m.opts.Where()), err}
	}
	return m.explain(err)
}

// notYetDecided is the error code for a renewal while one before it waits for the
// other servers.
const notYetDecided jetstream.ErrorCode = 10164

// full are the error codes of limits of storage: of a server, an account, a stream.
var full = []jetstream.ErrorCode{10023, 10047, 10002, 10077}

// explain says what is wrong in a sentence that names what to do.
func (m *Member) explain(err error) error {
	where := m.opts.Where()
	var (
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
		dial    *net.OpError
		api     *jetstream.APIError
	)
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded): // there is no connection, and its own reason is known
		return cmp.Or(m.trouble.now(false), fmt.Errorf("no NATS server answers at %s (%w)", where, err))
	case leaderless(err) && m.conn.ConnectedClusterName() != "", errors.Is(err, context.DeadlineExceeded) && m.entered.Load() && m.conn.IsConnected():
		return m.nobodyDecides(err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("the account has no JetStream on %s: ask its operator to enable JetStream for this account (%w)", where, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("JetStream does not answer on %s: start the servers with jetstream enabled (nats-server -js), or enable it for this account (%w)", where, err)
	case errors.As(err, &api) && slices.Contains(full, api.ErrorCode):
		return fmt.Errorf("the NATS servers %s have reached the limit of their storage, or of this account's: raise it, or make room (%w)", where, err)
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("this NATS user may not do what loops need: %w; give it the permissions of docs/cluster.md", err)
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return fmt.Errorf("the credentials for %s have expired: put new ones into nats.creds_file (%w)", where, err)
	case errors.Is(err, nats.ErrAuthRevoked):
		return fmt.Errorf("the credentials for %s were revoked: put new ones into nats.creds_file (%w)", where, err)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrNkeysNotSupported):
		return fmt.Errorf("%s refuses this user: check nats.creds_file, or user and password in nats.url (%w)", where, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is signed by nobody known here: name its authority in nats.ca_file (%w)", where, err)
	case errors.As(err, &record), errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
		return fmt.Errorf("%s and this program do not agree about TLS: write tls:// in nats.url if the servers use it, nats:// if not (%w)", where, err)
	case errors.Is(err, nats.ErrMaxConnectionsExceeded), errors.Is(err, nats.ErrMaxAccountConnectionsExceeded):
		return fmt.Errorf("%s takes no more connections: raise the limit of the account, or end processes that are not needed (%w)", where, err)
	case m.entered.Load() && errors.As(err, &dial):
		return fmt.Errorf("no NATS server answers at %s: start them, of a cluster a majority; loops go on by themselves then, and what failed meanwhile can be tried again (%w)", where, err)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), strings.Contains(err.Error(), "no such host"):
		return fmt.Errorf("no NATS server answers at %s: check nats.url and that the servers run (%w)", where, err)
	}
	return fmt.Errorf("the NATS servers %s: %w", where, err)
}
