package stdio

import (
	"context"
	"errors"
	"io"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
)

var errUnread = errors.New("the client has stopped reading; answers were not written")

// finish ends all calls, giving them grace, and writes what they answer. It returns what broke the
// output, if anything.
func (c *conn) finish(ctx context.Context, cancelCalls context.CancelFunc, grace time.Duration, w io.Writer) error {
	c.asks.Close()
	calls := c.table.close()
	for _, k := range calls {
		if k.stream > 0 {
			k.cancel() // would never end by itself
		}
	}
	awaitHandlers(calls, grace, ctx.Done(), c.out.done)
	cancelCalls()
	awaitHandlers(calls, lastWords, nil, nil)
	for _, k := range calls {
		if !rpc.IsClosed(k.handled) {
			c.opts.Logger.Warn("handler ignores the end of its context", "method", k.Method)
		}
	}
	return c.flush(calls, max(grace, lastWords), w)
}

// awaitHandlers waits for the handlers of all calls, for d at most or until one of the channels is
// closed.
func awaitHandlers(calls []*call, d time.Duration, ended, broken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, k := range calls {
		select {
		case <-k.handled:
		case <-timer.C:
			return
		case <-ended:
			return
		case <-broken:
			return
		}
	}
}

// flush writes what the handled calls have answered, as long as the client reads.
func (c *conn) flush(calls []*call, stall time.Duration, w io.Writer) error {
	for _, k := range calls {
		if rpc.IsClosed(k.handled) && !c.out.settle(k.done, stall) {
			return c.giveUp(calls, w)
		}
	}
	if !c.out.settle(c.client.Box.Shut(), stall) {
		return c.giveUp(calls, w)
	}
	c.out.close()
	if !c.out.settle(c.out.done, stall) {
		return c.giveUp(calls, w)
	}
	return c.out.failure()
}

// giveUp ends the output to a client that doesn't read.
func (c *conn) giveUp(calls []*call, w io.Writer) error {
	c.out.abort()
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); !ok || d.SetWriteDeadline(time.Unix(1, 0)) != nil {
		closeStream(w)
	}
	<-c.client.Box.Shut()
	for _, k := range calls {
		if rpc.IsClosed(k.handled) {
			<-k.done // nothing holds it up any more
		}
	}
	select {
	case <-c.out.done:
	case <-time.After(lastWords):
		c.opts.Logger.Warn("a write to the output can't be interrupted")
	}
	return errUnread
}
