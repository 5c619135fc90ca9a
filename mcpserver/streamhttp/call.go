package streamhttp

import (
	"context"
	"crypto/rand"
	"net/http"
	"runtime/debug"
	"sync"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// call is one request or notification of a client's being served.
type call struct {
	rpc.Message
	body    []byte
	modern  bool
	client  *clientSession // nil: a modern one
	out     sink
	header  http.Header
	ctx     context.Context
	cancel  context.CancelFunc
	silence func()        // cancels it; nothing more is written for it
	gone    chan struct{} // closed by silence
	done    func()        // called when its goroutine ends
}

func newCall(ctx context.Context, m rpc.Message, body []byte) *call {
	k := &call{Message: m, body: body, gone: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.WithValue(ctx, callKey{}, k))
	k.silence = sync.OnceFunc(func() {
		close(k.gone)
		k.cancel()
	})
	return k
}

// detach lets the call go on when its connection ends, and end with the session.
func (k *call) detach(session context.Context) {
	k.cancel()
	ctx, cancel := context.WithCancel(context.WithoutCancel(k.ctx))
	stop := context.AfterFunc(session, cancel)
	k.ctx = ctx
	k.cancel = func() {
		stop()
		cancel()
	}
}

type callKey struct{}

// Disconnect ends the connection over which the request of ctx is to be answered. Its client, one of
// the older era, comes back in half a second for what it missed and for the answer, so that a long
// call need not hold a connection. It reports whether that was possible.
func Disconnect(ctx context.Context) bool {
	k, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return false
	}
	s, ok := k.out.(*stream)
	return ok && s.disconnect()
}

// run serves k from its session to its answer. It owns the call's session.
func (h *Handler) run(k *call) {
	defer k.done()
	defer k.cancel()
	if k.client != nil && k.Method == rpc.MethodInitialized {
		k.client.SetReady()
	}
	session := h.newSession(k)
	defer session.Close()
	status, answer := h.handle(k, session)
	session.Close()
	if rpc.IsClosed(k.gone) {
		answer = nil
	}
	k.out.answer(status, answer)
}

// handle returns the encoded answer; a panic becomes an internal error.
func (h *Handler) handle(k *call, session callSession) (status int, answer []byte) {
	if k.isListen() {
		if err := h.server.RegisterSession(k.ctx, session); err == nil {
			defer h.server.UnregisterSession(context.WithoutCancel(k.ctx), session.SessionID())
		}
	}
	resp := h.dispatch(h.server.WithContext(k.ctx, session), k)
	if k.ID == nil {
		return http.StatusAccepted, nil
	}
	resp = rpc.WithID(resp, k.ID)
	data, err := rpc.Encode(resp)
	if err != nil {
		h.opts.Logger.Error("answer can't be written as JSON", "method", k.Method, "error", err)
		return http.StatusOK, rpc.ErrorLine(k.ID, mcp.INTERNAL_ERROR, "the answer can't be written as JSON")
	}
	if failed, ok := resp.(mcp.JSONRPCError); ok && k.modern {
		return statusOf(failed.Error.Code), data
	}
	return http.StatusOK, data
}

func (h *Handler) dispatch(ctx context.Context, k *call) (resp mcp.JSONRPCMessage) {
	defer func() {
		if r := recover(); r != nil {
			h.opts.Logger.Error("handler panicked", "method", k.Method, "panic", r, "stack", string(debug.Stack()))
			resp = nil
		}
	}()
	msg := k.body
	if k.ID != nil && h.opts.Before != nil {
		ctx, msg = h.opts.Before(ctx, k.Method, msg)
	}
	if k.ID != nil && h.opts.Around != nil {
		return h.opts.Around(ctx, k.Method, msg, h.server.HandleMessage)
	}
	return h.server.HandleMessage(ctx, msg)
}

func (k *call) isListen() bool { return k.modern && k.ID != nil && k.Method == rpc.MethodListen }

// newSession returns the session mcp-go and the handlers see while serving k.
func (h *Handler) newSession(k *call) callSession {
	box := &rpc.Mailbox{Send: k.out.notify, Gone: k.gone, Log: h.opts.Logger}
	if k.ID == nil {
		box.Send = func([]byte) {} // a notification is answered without a word
	}
	request := &rpc.Session{Box: box}
	if k.client != nil {
		request.ID, request.Client, request.URIs = k.client.ID, &k.client.Client, &k.client.URIs
	} else {
		request.ID, request.URIs = "http-"+rand.Text(), &rpc.URIs{}
	}
	if out, ok := k.out.(*stream); ok && k.client != nil { // an older client's: it can be sent requests
		request.Ask = func(ctx context.Context, caps mcp.ClientCapabilities, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
			return k.client.asks.Elicit(ctx, caps, r, out.ask)
		}
	}
	if !k.isListen() {
		box.Blocking = true
		return request
	}
	stream := &rpc.Subscription{Session: request, Request: k.ID}
	box.Prepare = stream.Prepare
	return stream
}

// callSession is a session that ends with its call.
type callSession interface {
	server.ClientSession
	Close()
}
