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

// silence is why there is no answer, with the words of whoever knows.
type silence struct{ cause error }

func (e *silence) Error() string { return e.cause.Error() }

func (e *silence) Unwrap() []error { return []error{loops.ErrUnanswered, e.cause} }

// How long servers are given that say that none of them decides. To choose one that
// does takes up to 8.5 s; without a majority there is none until the others are back.
const choosing = 14 * time.Second

// errUndecided is the error code of servers without one that decides.
const errUndecided = 10008

// away returns why trying again does not help soon: NATS servers have said for
// longer than they take to choose one that none of them decides. nil: it may.
func (s *Store) away(ctx context.Context, err error) error {
	var api *jetstream.APIError
	undecided := errors.As(err, &api) && api.ErrorCode == errUndecided || s.replicated && errors.Is(err, nats.ErrNoResponders)
	if s.opts.Disk != nil || !undecided || waited(ctx) < choosing {
		return nil
	}
	return &silence{fmt.Errorf("a majority of the NATS servers is away: start those that do not run; loops go on by themselves then, and what failed meanwhile can be tried again (%w)", err)}
}

// withTry adds the error of the last try to why there is no answer, if it says more
// than that there is none.
func withTry(why, last error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(last, nats.ErrReconnectBufExceeded), errors.Is(last, nats.ErrNoResponders), errors.Is(last, context.Canceled), errors.Is(last, context.DeadlineExceeded),
		errors.As(last, &api) && api.ErrorCode == errUndecided:
		return why
	}
	return fmt.Errorf("%w (last try: %w)", why, last)
}
