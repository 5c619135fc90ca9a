package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// DefaultIdle is how long a provider may send nothing before a call is given up.
const DefaultIdle = 5 * time.Minute

// Call is one exchange: at most one request and its answer. Safe for concurrent
// use.
type Call struct {
	parent, inner context.Context
	cancel        context.CancelCauseFunc
	idle          time.Duration
	timer         *time.Timer

	mu       sync.Mutex
	begun    bool // the request was handed to the transport
	traced   bool // the transport tells what it does
	wrote    bool // the head of the request went out
	status   int
	header   http.Header
	streamed bool // the answer says that it is a stream of events
	received int64
	refusal  []byte // the head of a body that is no stream of events
}

type callKey struct{}

var (
	errIdle   = errors.New("the provider sent nothing")
	errSecond = errors.New("a call makes one request; a second one was refused")
)

// Begin starts a call. Requests with the returned context belong to it. It is
// given up when nothing arrives for idle (0: [DefaultIdle]), the time until the
// first byte included. The caller ends it with [Call.End].
func Begin(ctx context.Context, idle time.Duration) (context.Context, *Call) {
	if idle <= 0 {
		idle = DefaultIdle
	}
	inner, cancel := context.WithCancelCause(ctx)
	c := &Call{parent: ctx, inner: inner, cancel: cancel, idle: idle}
	c.timer = time.AfterFunc(idle, func() { cancel(errIdle) })
	return context.WithValue(inner, callKey{}, c), c
}

// End releases what the call holds. What it recorded stays readable.
func (c *Call) End() {
	c.timer.Stop()
	c.cancel(nil)
}

// Header returns the headers of the answer; nil when none came.
func (c *Call) Header() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header
}

// RequestID is the provider's own name of the call; empty when it gave none.
func (c *Call) RequestID() string { return requestID(c.Header()) }

func requestID(h http.Header) string {
	for _, name := range []string{"Request-Id", "X-Request-Id"} {
		if id := h.Get(name); id != "" {
			return clip(id, 100)
		}
	}
	return ""
}

// begin reports whether this is the call's first request.
func (c *Call) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.begun
	c.begun = true
	return first
}

func (c *Call) answered(r *http.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status, c.header = r.StatusCode, r.Header
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	c.streamed = kind == "" || kind == "text/event-stream"
	c.timer.Reset(c.idle)
}

// arrived notes bytes of the answer's body: a sign of life.
func (c *Call) arrived(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.Reset(c.idle)
	c.received += int64(len(p))
	if (c.status >= 400 || !c.streamed) && len(c.refusal) < maxRefusal {
		c.refusal = append(c.refusal, p[:min(len(p), maxRefusal-len(c.refusal))]...)
	}
}

func (c *Call) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.traced = true
		},
		WroteHeaders: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.wrote = true
		},
	}
}

// ended returns why the call was given up from outside: its context ended, or
// nothing came. Nil: it was not.
func (c *Call) ended() error {
	if err := c.parent.Err(); err != nil {
		if cause := context.Cause(c.parent); !errors.Is(cause, err) {
			return fmt.Errorf("%w: %w", err, cause)
		}
		return err
	}
	if errors.Is(context.Cause(c.inner), errIdle) {
		return fmt.Errorf("%w for %s", errIdle, c.idle)
	}
	return nil
}

// sent reports whether the provider can have seen the request. The caller holds
// the lock.
func (c *Call) sent(err error) bool {
	if c.status != 0 {
		return true
	}
	if !c.begun || unreached(err) {
		return false
	}
	return c.wrote || !c.traced
}

// unreached reports whether err says that no connection came about.
func unreached(err error) bool {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}
