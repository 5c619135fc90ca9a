package stdio

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const (
	defaultMaxLine     = 8 << 20
	defaultMaxInFlight = 256

	// Clients send SIGTERM or SIGKILL two seconds after they closed our input; with lastWords this
	// leaves a quarter of a second to close the store.
	defaultGrace = 1500 * time.Millisecond

	// lastWords is how long a handler has to answer once its context is cancelled at the end.
	lastWords = 250 * time.Millisecond

	// patience is how long the reader waits for room when no room appears.
	patience = 100 * time.Millisecond
)

// Options are the choices Serve leaves open. Nil and the zero value are useful.
type Options struct {
	// Before replaces the context and the message of a request just before it is dispatched, on the
	// request's own goroutine; the context carries the request's session. The message may hold
	// invalid UTF-8. A panic is answered as an internal error. Default: nothing is replaced.
	Before func(ctx context.Context, method string, msg json.RawMessage) (context.Context, json.RawMessage)

	// Around replaces the dispatch of a request: it may answer itself or call next, which is what it
	// would be without. It runs after Before, on the request's own goroutine; a panic is answered as
	// an internal error. Default: next.
	Around func(ctx context.Context, method string, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage

	// FirstMessage is called once, on the reading goroutine, when the first valid message arrived.
	// It must not block. Default: not called.
	FirstMessage func()

	// MaxLine is the longest accepted line in bytes, without its end. Default: 8 MiB.
	MaxLine int

	// MaxInFlight is how many requests and notifications are served at a time. Default: 256.
	MaxInFlight int

	// Grace is how long running requests may go on after the end of input, and how long Serve then
	// waits for a client that has stopped reading. Negative: not at all. Default: 1.5s.
	Grace time.Duration

	// Logger gets panics, dropped refusals and abandoned handlers. Default: discarded.
	Logger *slog.Logger
}

// withDefaults returns a copy of o with every zero replaced by its default.
func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.MaxLine <= 0 {
		d.MaxLine = defaultMaxLine
	}
	if d.MaxInFlight <= 0 {
		d.MaxInFlight = defaultMaxInFlight
	}
	if d.Grace == 0 {
		d.Grace = defaultGrace
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// Serve answers the requests read from in by writing to out until in ends, ctx ends or out breaks.
// It returns nil after the end of in, ctx.Err() after the end of ctx, and otherwise what broke.
//
// Serve owns both streams until it returns. To end a Read that blocks when ctx ends, or a Write to a
// client that has stopped reading, it sets the stream's deadline where it has one and else closes
// it. Every goroutine has then ended, but for two kinds nobody can end: one in a Read or Write that
// ignores both, and one in a handler that ignores its context, whose answer is dropped.
//
// Several Serve calls may share one server.
func Serve(ctx context.Context, s *server.MCPServer, in io.Reader, out io.Writer, opts *Options) error {
	c := newConn(s, out, opts.withDefaults())
	if err := s.RegisterSession(ctx, c.client); err != nil {
		return fmt.Errorf("register the stdio session: %w", err)
	}
	defer s.UnregisterSession(context.WithoutCancel(ctx), c.client.SessionID())

	calls, cancelCalls := context.WithCancel(ctx)
	defer cancelCalls()
	defer close(c.crew.quit)
	go c.out.run()
	var readErr error
	read := make(chan struct{})
	go func() {
		defer close(read)
		readErr = c.read(calls, in)
	}()

	var err error
	grace := time.Duration(0)
	select {
	case <-read:
		err, grace = readErr, c.opts.Grace
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.out.done:
	}
	if werr := c.finish(ctx, cancelCalls, grace, out); err == nil {
		err = werr
	}
	c.endRead(in, read)
	return err
}

// endRead waits for the reader, interrupting it if it still reads.
func (c *conn) endRead(in io.Reader, read <-chan struct{}) {
	if rpc.IsClosed(read) {
		return
	}
	if d, ok := in.(interface{ SetReadDeadline(time.Time) error }); !ok || d.SetReadDeadline(time.Unix(1, 0)) != nil {
		closeStream(in)
	}
	select {
	case <-read:
	case <-time.After(lastWords):
		c.opts.Logger.Debug("a read of the input can't be interrupted: it ends with the process") // so with most pipes that a program inherits
	}
}

func closeStream(stream any) {
	if c, ok := stream.(io.Closer); ok {
		_ = c.Close() // only to wake whoever blocks in it
	}
}
