package stdio

import (
	"context"
	"runtime/debug"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// serve runs one call from the barrier to its queued answer. It owns the call's session.
func (c *conn) serve(ctx context.Context, k *call, msg []byte, after <-chan struct{}) {
	defer c.table.remove(k)
	if after != nil {
		select {
		case <-after:
		case <-ctx.Done():
		}
	}
	if k.method == methodInitialized {
		c.client.setReady()
	}
	session := c.newSession(k)
	defer session.close()
	answer := c.handle(ctx, k, session, msg)
	session.close()
	if k.id != nil {
		_ = c.out.put(outLine{answer, k.gone}, outboxLimit, k.gone) // fails only when nobody wants it
	}
}

// handle returns the encoded answer; a panic becomes an internal error.
func (c *conn) handle(ctx context.Context, k *call, session callSession, msg []byte) []byte {
	defer close(k.handled)
	if isClosed(k.gone) {
		return nil
	}
	if k.stream > 0 {
		if err := c.server.RegisterSession(ctx, session); err == nil {
			defer c.server.UnregisterSession(context.WithoutCancel(ctx), session.SessionID())
		}
	}
	resp := c.dispatch(c.server.WithContext(ctx, session), k, msg)
	if k.id == nil {
		return nil
	}
	data, err := encode(withID(resp, k.id))
	if err != nil {
		c.opts.Logger.Error("answer can't be written as JSON", "method", k.method, "error", err)
		return errorLine(k.id, mcp.INTERNAL_ERROR, "the answer can't be written as JSON")
	}
	return data
}

func (c *conn) dispatch(ctx context.Context, k *call, msg []byte) (resp mcp.JSONRPCMessage) {
	defer func() {
		if r := recover(); r != nil {
			c.opts.Logger.Error("handler panicked", "method", k.method, "panic", r, "stack", string(debug.Stack()))
			resp = nil
		}
	}()
	if k.id != nil && c.opts.Before != nil {
		ctx, msg = c.opts.Before(ctx, k.method, msg)
	}
	if k.id != nil && c.opts.Around != nil {
		return c.opts.Around(ctx, k.method, msg, c.server.HandleMessage)
	}
	return c.server.HandleMessage(ctx, msg)
}

// newSession returns the session mcp-go and the handlers see while serving k.
func (c *conn) newSession(k *call) callSession {
	box := &mailbox{out: c.out, log: c.opts.Logger, gone: k.gone}
	request := &requestSession{client: c.client, uris: &c.client.uris, box: box}
	if k.stream == 0 {
		box.blocking = true
		return request
	}
	stream := &streamSession{requestSession: request, number: k.stream, id: k.id}
	request.uris = &uris{}
	box.prepare = stream.prepare
	return stream
}

// callSession is a session that ends with its call.
type callSession interface {
	server.ClientSession
	close()
}
