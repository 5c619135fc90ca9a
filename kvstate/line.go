package kvstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/loops"
)

// line ends the requests that are under way when the connection breaks: their
// answers are lost, and the client would wait for them until their deadline.
type line struct {
	mu     sync.Mutex
	ctx    context.Context
	broken context.CancelCauseFunc
}

var errLine = errors.New("the connection to the store broke")

func (l *line) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		l.broken(errLine)
	}
	l.ctx, l.broken = context.WithCancelCause(context.Background())
}

// during bounds one request: by the usual time and by the connection.
func (l *line) during(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	connection := l.ctx
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	stop := context.AfterFunc(connection, cancel)
	return ctx, func() { stop(); cancel() }
}

// whole returns a context that ends with ctx, or with the cause errLine when the
// connection breaks.
func (l *line) whole(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	connection := l.ctx
	l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(connection, func() { cancel(errLine) })
	return ctx, func() { stop(); cancel(nil) }
}

// watchLine renews the line when the connection breaks, until ctx ends.
func (s *Store) watchLine(ctx context.Context, changes chan nats.Status) {
	defer s.nc.RemoveStatusListener(changes)
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-changes:
			if !open {
				return
			}
			s.projection.doubt()
			s.line.renew()
			s.liveLog.forget() // it is gone if the server has ended
		}
	}
}

// How requests are repeated: another process takes over the server in about
// 100 ms, and what takes longer than two seconds takes its time.
const (
	retryOften = 50 * time.Millisecond
	triesOften = 40
	soonKnown  = 3 * time.Second // for what is known to last, when tries take their time
)

// again is [again] that says why the store can't be reached, if that is known. It
// does not wait long for what lasts: a host that is known to be stopped, a folder
// that may not be written to, servers that have been away for long.
func (s *Store) again(ctx context.Context, try int, err error) error {
	end := again(ctx, try, err)
	if end == nil && try == 0 {
		return nil
	}
	if s.opts.Trouble == nil {
		return cmp.Or(end, s.away(ctx, err))
	}
	if gone := s.there(); gone != nil && end == nil {
		return gone
	}
	why := s.opts.Trouble()
	lasts, _ := errors.AsType[interface {
		error
		Lasts() bool
	}](why)
	switch {
	case end == nil && (try > triesOften || waited(ctx) > soonKnown) && lasts != nil && lasts.Lasts():
		return &unwritable{withTry(why, err)}
	case end == nil && denied(why):
		return fmt.Errorf("%w (last try: %w)", why, err)
	case end == nil:
		return s.away(ctx, err)
	case why == nil:
		return end
	}
	if ctx.Err() != nil {
		end = withTry(context.Cause(ctx), err)
	}
	return fmt.Errorf("%w: %w", why, end)
}

// again waits before the next try, or returns why there is none.
func again(ctx context.Context, try int, err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("%w: %w", loops.ErrClosed, err)
	}
	wait := min(time.Millisecond<<min(try, 10), retryOften)
	if try > triesOften {
		wait = time.Second
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w (last try: %w)", context.Cause(ctx), err)
	case <-timer.C:
		return nil
	}
}
