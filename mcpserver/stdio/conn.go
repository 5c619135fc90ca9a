package stdio

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// CodeBusy is the JSON-RPC error code of a request refused because too many are in flight. The same
// request may succeed later.
const CodeBusy = rpc.CodeBusy

// conn is one Serve call.
type conn struct {
	server *server.MCPServer
	opts   Options
	table  *table
	out    *outbox
	crew   *crew
	client *rpc.Client
	asks   rpc.Asks // what the client is asked

	// Used by the reading goroutine only.
	greeted bool            // FirstMessage was called
	barrier <-chan struct{} // closed when the latest initialize was answered; nil: none yet
	busy    bool            // no call ended within the last patience
	unread  bool            // the outbox did not shrink within the last patience
	streams int             // subscriptions/listen requests so far, to name their sessions
}

func newConn(s *server.MCPServer, w io.Writer, opts Options) *conn {
	out := newOutbox(w)
	return &conn{
		server: s,
		opts:   opts,
		table:  newTable(opts.MaxInFlight, 4*opts.MaxLine),
		out:    out,
		crew:   newCrew(),
		client: &rpc.Client{ID: "stdio-" + rand.Text(), Box: out.mailbox(nil, opts.Logger)},
	}
}

// read accepts messages until in ends (nil), breaks, or ctx ends.
func (c *conn) read(ctx context.Context, in io.Reader) error {
	lines := newLineReader(in, c.opts.MaxLine)
	for ctx.Err() == nil {
		line, err := lines.next()
		switch {
		case err == nil:
			c.accept(ctx, line)
		case errors.Is(err, errTooLong):
			c.refuse(recoverID(line), mcp.INVALID_REQUEST,
				fmt.Sprintf("the line is longer than %d bytes; send a shorter one", c.opts.MaxLine))
		case err == io.EOF:
			return nil
		default:
			return fmt.Errorf("read a message: %w", err)
		}
	}
	return nil
}

// accept starts, cancels, ignores or refuses what one line says.
func (c *conn) accept(ctx context.Context, line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	m, bad := rpc.Parse(line)
	if bad != nil {
		c.refuse(bad.ID, bad.Code, bad.Text)
		return
	}
	if !c.greeted {
		c.greeted = true
		if c.opts.FirstMessage != nil {
			c.opts.FirstMessage()
		}
	}
	switch {
	case m.Method == "":
		c.asks.Resolve(m.Key, line)
	case m.Method == rpc.MethodCancelled && m.ID == nil:
		if c.table.cancel(m.Cancels) {
			c.busy = false // its place is about to get free
		}
	default:
		c.start(ctx, m, line)
	}
}

// start serves m on its own goroutine, or refuses it.
func (c *conn) start(ctx context.Context, m rpc.Message, line []byte) {
	ctx, cancel := context.WithCancel(ctx)
	k := newCall(m, len(line), cancel)
	if m.Method == rpc.MethodListen {
		c.streams++
		k.stream = c.streams
	}
	if err := c.admit(k); err != nil {
		cancel()
		c.refuseCall(k, err)
		return
	}
	after := c.barrier
	if m.Method == rpc.MethodInitialize {
		c.barrier = k.done
	}
	c.crew.do(func() { c.serve(ctx, k, line, after) })
}

// admit enters k into the table, waiting for a free place while places do get free.
func (c *conn) admit(k *call) error {
	err := c.table.add(k)
	if err != errBusy {
		c.busy = false
		return err
	}
	if c.busy {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-c.table.freed:
			if err := c.table.add(k); err != errBusy {
				return err
			}
		case <-timer.C:
			c.busy = true
			return errBusy
		}
	}
}

func (c *conn) refuseCall(k *call, err error) {
	switch {
	case errors.Is(err, errClosed): // read after the end; nobody waits any more
	case k.ID == nil:
		c.opts.Logger.Debug("notification dropped", "method", k.Method, "reason", err)
	case errors.Is(err, errBusy):
		c.refuse(k.ID, CodeBusy, err.Error())
	default:
		c.refuse(k.ID, mcp.INVALID_REQUEST, err.Error())
	}
}

// refuse queues an error reply without waiting for a client that doesn't read.
func (c *conn) refuse(id []byte, code int, text string) {
	data := rpc.ErrorLine(id, code, text)
	wait := patience
	if c.unread {
		wait = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	err := c.out.put(outLine{data: data}, 2*outboxLimit, ctx.Done())
	if err != nil && !c.unread {
		c.opts.Logger.Warn("refusals are dropped: the client doesn't read", "first", text)
	}
	c.unread = err != nil
}
