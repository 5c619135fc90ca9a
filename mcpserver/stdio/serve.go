package stdio

import (
	"context"
	"runtime/debug"
	"strconv"

	"example.com/loop-mcp/mcpserver/internal/rpc"
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
	if k.Method == rpc.MethodInitialized {
		c.client.SetReady()
	}
	session := c.newSession(k)
	defer session.Close()
	answer := c.handle(ctx, k, session, msg)
	session.Close()
	if k.ID != nil {
		_ = c.out.put(outLine{answer, k.gone}, outboxLimit, k.gone) // fails only when nobody wants it
	}
}

// handle returns the encoded answer; a panic becomes an internal error.
func (c *conn) handle(ctx context.Context, k *call, session callSession, msg []byte) []byte {
	defer close(k.handled)
	if rpc.IsClosed(k.gone) {
		return nil
	}
	if k.stream > 0 {
		if err := c.server.RegisterSession(ctx, session); err == nil {
			defer c.server.UnregisterSession(context.WithoutCancel(ctx), session.SessionID())
		}
	}
	resp := c.dispatch(c.server.WithContext(ctx, session), k, msg)
	if k.ID == nil {
		return nil
	}
	data, err := rpc.Encode(rpc.WithID(resp, k.ID))
	if err != nil {
		c.opts.Logger.Error("answer can't be written as JSON", "method", k.Method, "error", err)
		return rpc.ErrorLine(k.ID, mcp.INTERNAL_ERROR, "the answer can't be written as JSON")
	}
	return data
}

func (c *conn) dispatch(ctx context.Context, k *call, msg []byte) (resp mcp.JSONRPCMessage) {
	defer func() {
		if r := recover(); r != nil {
			c.opts.Logger.Error("handler panicked", "method", k.Method, "panic", r, "stack", string(debug.Stack()))
			resp = nil
		}
	}()
	if k.ID != nil && c.opts.Before != nil {
		ctx, msg = c.opts.Before(ctx, k.Method, msg)
	}
	if k.ID != nil && c.opts.Around != nil {
		return c.opts.Around(ctx, k.Method, msg, c.server.HandleMessage)
	}
	return c.server.HandleMessage(ctx, msg)
}

// newSession returns the session mcp-go and the handlers see while serving k.
func (c *conn) newSession(k *call) callSession {
	box := c.out.mailbox(k.gone, c.opts.Logger)
	request := &rpc.Session{ID: c.client.ID, Client: c.client, URIs: &c.client.URIs, Box: box, Ask: c.ask}
	if k.stream == 0 {
		box.Blocking = true
		return request
	}
	stream := &rpc.Subscription{Session: request, Request: k.ID}
	request.ID, request.URIs = c.client.ID+"/"+strconv.Itoa(k.stream), &rpc.URIs{}
	box.Prepare = stream.Prepare
	return stream
}

// ask asks the person at a client with those capabilities.
func (c *conn) ask(ctx context.Context, caps mcp.ClientCapabilities, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return c.asks.Elicit(ctx, caps, r, func(line []byte, stop <-chan struct{}) error {
		return c.out.put(outLine{data: line}, outboxLimit, stop)
	})
}

// callSession is a session that ends with its call.
type callSession interface {
	server.ClientSession
	Close()
}
