package kvstate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// Disk is what a store on this machine is written to.
type Disk interface {
	// Room is asked before each write and returns why so many bytes can't be
	// written now. It is quick. urgent is for what ends or pauses a loop.
	Room(size int64, urgent bool) error
	// Try is called when the server does not answer a write, and returns why that
	// may be. It writes something.
	Try() error
	// There returns an error when what is stored is not found any more where it
	// was. It is quick.
	There() error
}

// unwritable is why a write can't be made now, with the words of whoever knows.
type unwritable struct{ cause error }

func (e *unwritable) Error() string { return e.cause.Error() }

func (e *unwritable) Unwrap() []error { return []error{loops.ErrUnwritable, e.cause} }

// unanswered is how long a write may go without an answer before its disk is
// tried, and then again.
const unanswered = 250 * time.Millisecond

// perMessage is what a record takes beside its bytes, amply.
const perMessage = 4 << 10

// urgentKey is in the context of a write that ends or pauses a loop.
type urgentKey struct{}

func asUrgent(ctx context.Context) context.Context {
	return context.WithValue(ctx, urgentKey{}, true)
}

func urgent(ctx context.Context) bool {
	is, _ := ctx.Value(urgentKey{}).(bool)
	return is
}

// room returns an error when there is no room for so many bytes. What it refuses
// was not sent.
func (s *Store) room(ctx context.Context, size int) error {
	if s.opts.Disk == nil {
		return nil
	}
	if err := s.opts.Disk.Room(int64(size)+perMessage, urgent(ctx)); err != nil {
		return &unwritable{err}
	}
	return nil
}

// there returns an error when the folder of the store is another one now, or gone:
// nothing that is read counts then.
func (s *Store) there() error {
	if s.opts.Disk == nil {
		return nil
	}
	if err := s.opts.Disk.There(); err != nil {
		return &unwritable{err}
	}
	return nil
}

// answered bounds a write that is under way: it ends when its disk turns out not
// to work, with the reason as its cause. stop must be called.
func (s *Store) answered(ctx context.Context) (during context.Context, stop func()) {
	if s.opts.Disk == nil {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	timer := time.AfterFunc(unanswered, func() {
		for wait := time.NewTicker(unanswered); ctx.Err() == nil; {
			if err := s.opts.Disk.Try(); err != nil {
				end(&unwritable{err})
			}
			select {
			case <-ctx.Done():
			case <-wait.C:
			}
		}
	})
	return ctx, func() { timer.Stop(); end(nil) }
}

// publishOnce sends a message and returns its sequence. An error that is
// [loops.ErrUnwritable] says why there is no answer.
func (s *Store) publishOnce(ctx context.Context, m *nats.Msg) (revision uint64, failed error) {
	ctx, stop := s.answered(ctx)
	defer stop()
	seq, err := s.deliver(ctx, m)
	if s.opts.Disk == nil {
		defer func() { s.refusal.note(len(m.Data), failed) }()
	}
	// gofail: var lostAnswer struct{}
	// err = errLine
	switch cause := context.Cause(ctx); {
	case err == nil:
		return seq, nil
	case errors.Is(cause, loops.ErrUnwritable):
		return 0, cause
	}
	return 0, inWords(err)
}

// Trouble returns why nothing can be written now, as far as that is known; nil
// when nothing is known to be wrong. It is quick, or takes a second where servers
// have to be tried.
func (s *Store) Trouble() error {
	if s.opts.Trouble != nil {
		if err := s.opts.Trouble(); err != nil {
			return err
		}
	}
	if err := s.room(context.Background(), 0); err != nil {
		return err
	}
	return s.full()
}

// The limits of a server, by its error codes.
const (
	errStreamFull  = 10077 // a stream, or one of its subjects
	errServerFull  = 10023 // insufficient resources
	errAccountFull = 10002 // resource limits of the account
	errNoStorage   = 10047 // the server has no storage left for the account
)

// inWords says which limit a server has reached and how it is raised.
func inWords(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return err
	}
	words := ""
	switch api.ErrorCode {
	case errStreamFull:
		words = "the store has reached the limit of its stream: raise it (nats stream edit NAME --max-bytes=-1), or wait until settled loops are deleted after their retention"
	case errServerFull, errNoStorage:
		words = "the NATS server has reached the limit of its storage: raise max_file_store of jetstream in its configuration, or make room in its other streams"
	case errAccountFull:
		words = "the NATS account has reached the limit of its storage: raise its JetStream disk limit, or make room in its other streams"
	default:
		return refused(api, err)
	}
	return &unwritable{fmt.Errorf("%s (%w)", words, err)}
}
