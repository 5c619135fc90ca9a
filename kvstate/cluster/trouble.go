package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
	denied   error
	deniedAt time.Time
	waiting  map[int]context.CancelCauseFunc // of those who want to know of denials at once
	next     int
}

// denialCounts is how long a refusal explains what goes wrong.
const denialCounts = 10 * time.Second

func (t *trouble) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *trouble) over() { t.note(nil) }

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
		return t.err
	}
	if t.denied != nil && time.Since(t.deniedAt) < denialCounts {
		return t.denied
	}
	return nil
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

// explain says what is wrong in a sentence that names what to do.
func (m *Member) explain(err error) error {
	where := m.opts.Where()
	var (
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("the account has no JetStream on %s: ask its operator to enable JetStream for this account (%w)", where, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("JetStream does not answer on %s: start the servers with jetstream enabled (nats-server -js), or enable it for this account (%w)", where, err)
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
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), strings.Contains(err.Error(), "no such host"):
		return fmt.Errorf("no NATS server answers at %s: check nats.url and that the servers run (%w)", where, err)
	}
	return fmt.Errorf("the NATS servers %s: %w", where, err)
}
