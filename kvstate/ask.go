package kvstate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How long one request may take, and all repetitions of it when the caller set
// no deadline.
const (
	tryTimeout = 5 * time.Second
	patience   = 30 * time.Second
)

var errNoRecord = errors.New("no such record")

// errMangled says that the server found a message and answered what can't be
// one: what it has stored is damaged where its own checksum does not look.
var errMangled = errors.New("the server's answer is mangled")

// getRequest is a request of JetStream's message get APIs.
type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// beganKey is in the context of a request, with the time of its first try.
type beganKey struct{}

// patient gives ctx a deadline when it has none, and remembers when it began.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = beganAt(ctx, time.Now())
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, patience, &silence{errors.New("the store did not answer within " + patience.String())})
}

// beganAt is ctx with the time of the first try, unless it has an earlier one.
func beganAt(ctx context.Context, at time.Time) context.Context {
	if ctx.Value(beganKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, beganKey{}, at)
}

// waited is how long a request is repeated already.
func waited(ctx context.Context) time.Duration {
	if began, ok := ctx.Value(beganKey{}).(time.Time); ok {
		return time.Since(began)
	}
	return 0
}

// ask sends a request until it is answered or ctx ends.
func (s *Store) ask(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		one, cancel := s.line.during(ctx)
		m, err := s.nc.RequestWithContext(one, subject, data)
		cancel()
		if err == nil {
			return m, nil
		}
		if err := s.again(ctx, try, err); err != nil {
			return nil, err
		}
	}
}

// direct reads one message. ErrNoRecord when there is none. Where several servers
// have it, one that is behind would say so of a record that was acknowledged, so
// that the one that decides is asked.
func (s *Store) direct(ctx context.Context, stream string, r getRequest) (stored, error) {
	if s.replicated {
		return s.leader(ctx, stream, r)
	}
	subject, data := s.prefix+"DIRECT.GET."+stream, []byte(nil)
	if r.LastFor != "" {
		subject += "." + r.LastFor
	} else {
		data, _ = json.Marshal(r) // numbers and subjects: cannot fail
	}
	m, err := s.ask(ctx, subject, data)
	if err != nil {
		return stored{}, err
	}
	return readDirect(m)
}

// readDirect takes a message out of the answer of a direct get.
func readDirect(m *nats.Msg) (stored, error) {
	if status := m.Header.Get("Status"); status != "" {
		if status == "404" {
			return stored{}, errNoRecord
		}
		return stored{}, fmt.Errorf("the server answered %s %s", status, m.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return stored{}, fmt.Errorf("%w: it has no sequence: %w", errMangled, err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return stored{}, fmt.Errorf("%w: it has no time: %w", errMangled, err)
	}
	return stored{m.Header.Get("Nats-Subject"), seq, at, m.Header, m.Data}, nil
}

// leader reads one message from where writes are decided. Servers that choose who
// decides say that they are not available, and are asked again.
func (s *Store) leader(ctx context.Context, stream string, r getRequest) (stored, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		m, err := s.askLeader(ctx, stream, r)
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.Code < 500 || lasting(err) {
			return m, err
		}
		if err := s.again(ctx, try, err); err != nil {
			return stored{}, err
		}
	}
}

func (s *Store) askLeader(ctx context.Context, stream string, r getRequest) (stored, error) {
	data, _ := json.Marshal(r) // numbers and subjects: cannot fail
	m, err := s.ask(ctx, s.prefix+"STREAM.MSG.GET."+stream, data)
	if err != nil {
		return stored{}, err
	}
	var answer struct {
		Error   *jetstream.APIError
		Message struct {
			Subject    string
			Seq        uint64
			Hdrs, Data string
			Time       time.Time
		}
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return stored{}, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	switch e := answer.Error; {
	case e != nil && e.Code == 404:
		return stored{}, errNoRecord
	case e != nil:
		return stored{}, inWords(fmt.Errorf("the server answered: %w", e))
	}
	got := answer.Message
	body, err := base64.StdEncoding.DecodeString(got.Data)
	if err != nil {
		return stored{}, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	result := stored{subject: got.Subject, seq: got.Seq, at: got.Time, data: body, header: nats.Header{}}
	raw, err := base64.StdEncoding.DecodeString(got.Hdrs)
	if err == nil && len(raw) > 0 {
		result.header, err = nats.DecodeHeadersMsg(raw)
	}
	if err != nil {
		return stored{}, fmt.Errorf("%w: %w", errMangled, err)
	}
	return result, nil
}

// How much one batch brings.
const (
	batchMessages = 256
	batchBytes    = 8 << 20
)

// batch reads all messages of a subject from sequence seq on, oldest first.
func (s *Store) batch(ctx context.Context, stream, subject string, seq uint64, each func(stored) error) error {
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; {
		last, more, err := s.oneBatch(ctx, stream, getRequest{Seq: seq, NextFor: subject, Batch: batchMessages, MaxBytes: batchBytes}, each)
		var lost *lostError
		switch {
		case errors.As(err, &lost):
			try++
			if err := s.again(ctx, try, lost.err); err != nil {
				return err
			}
		case err != nil || !more:
			return err
		}
		if last > 0 {
			seq, try = last+1, 0
		}
	}
}

// lostError says that a batch was not answered to its end.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }

// oneBatch returns the last sequence that was read and whether there are more.
func (s *Store) oneBatch(ctx context.Context, stream string, r getRequest, each func(stored) error) (uint64, bool, error) {
	ctx, cancel := s.line.during(ctx)
	defer cancel()
	// A synchronous subscription has room for 64 Ki messages, half a megabyte for each batch.
	answers := make(chan *nats.Msg, r.Batch+1) // and its end
	inbox, err := s.nc.ChanSubscribe(s.nc.NewInbox(), answers)
	if err != nil {
		return 0, false, &lostError{err}
	}
	defer inbox.Unsubscribe()
	data, _ := json.Marshal(r) // numbers and subjects: cannot fail
	if err := s.nc.PublishRequest(s.prefix+"DIRECT.GET."+stream, inbox.Subject, data); err != nil {
		return 0, false, &lostError{err}
	}
	var last uint64
	for {
		m, err := nextAnswer(ctx, answers)
		if err != nil {
			return last, false, &lostError{err}
		}
		if m.Header.Get("Status") == "204" { // the end of the batch
			return last, last > 0 && m.Header.Get("Nats-Num-Pending") != "0", nil
		}
		one, err := readDirect(m)
		if errors.Is(err, errNoRecord) {
			return last, false, nil
		}
		if err == nil {
			err = each(one)
		}
		if err != nil {
			return last, false, err
		}
		last = one.seq
	}
}

// nextAnswer waits for the next message; that nobody answers is an error.
func nextAnswer(ctx context.Context, answers <-chan *nats.Msg) (*nats.Msg, error) {
	select {
	case m, open := <-answers:
		switch {
		case !open:
			return nil, nats.ErrConnectionClosed
		case len(m.Data) == 0 && m.Header.Get("Status") == "503":
			return nil, nats.ErrNoResponders
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
