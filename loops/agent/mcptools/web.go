package mcptools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

const (
	maxSaid      = 4 << 10          // bytes of a refusal that are kept
	partingTime  = time.Second      // for telling a server that a session or a call is over
	headersWait  = 10 * time.Second // for a connection and its encryption
	maxRedirects = 5
)

// webClient is an HTTP client of one connection, so that it can be closed
// without touching others.
func webClient() (*http.Client, func()) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSHandshakeTimeout = headersWait
	return &http.Client{Transport: &wire{base: base}, CheckRedirect: stayAtHost}, base.CloseIdleConnections
}

// stayAtHost keeps the configured headers, which may hold keys, from going to
// another host.
func stayAtHost(next *http.Request, before []*http.Request) error {
	if len(before) >= maxRedirects {
		return fmt.Errorf("it redirected more than %d times", maxRedirects)
	}
	if first := before[0].URL; next.URL.Host != first.Host || next.URL.Scheme != first.Scheme {
		return fmt.Errorf("it redirected to %s://%s: write that address into the configuration if it is meant", next.URL.Scheme, next.URL.Host)
	}
	return nil
}

// wire notes what became of each request and bounds what comes back.
type wire struct{ base http.RoundTripper }

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if r.Method == http.MethodDelete { // the end of a session; nobody waits for more
		ctx, cancel = context.WithTimeout(ctx, partingTime)
	}
	trace := &httptrace.ClientTrace{WroteHeaders: func() { noteSent(ctx, true) }}
	resp, err := w.base.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		cancel()
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	body := &webBody{ReadCloser: resp.Body, events: kind == "text/event-stream", left: maxMessage, cancel: cancel}
	resp.Body = body
	if resp.StatusCode >= http.StatusBadRequest {
		said, _ := io.ReadAll(io.LimitReader(body, maxSaid))
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(said), body), body}
		note(ctx, func(a *answer) { a.status, a.said = resp.StatusCode, string(said) })
	}
	return resp, nil
}

// webBody is a response's body of which no message may be larger than left. In a
// stream of events a message ends with an empty line.
type webBody struct {
	io.ReadCloser
	events bool
	left   int64
	line   bool // something stands on the line that is being read
	cancel context.CancelFunc
}

func (b *webBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.events {
		b.follow(p[:n])
	}
	if b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

func (b *webBody) follow(p []byte) {
	for i, c := range p {
		switch {
		case c == '\n' && !b.line:
			b.left = maxMessage - int64(len(p)-i-1)
		case c == '\n':
			b.line = false
		case c != '\r':
			b.line = true
		}
	}
}

func (b *webBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}

// webLink is mcp-go's transport over streamable HTTP, with notes.
type webLink struct {
	*transport.StreamableHTTP
	version atomic.Value // string

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// Close ends the session and waits for what is still said.
func (l *webLink) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	err := l.StreamableHTTP.Close()
	l.work.Wait()
	return err
}

// SetProtocolVersion is called when the version is known.
func (l *webLink) SetProtocolVersion(version string) {
	l.version.Store(version)
	l.StreamableHTTP.SetProtocolVersion(version)
}

// SendRequest sends a request and waits for its answer.
func (l *webLink) SendRequest(ctx context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	noteRequest(ctx)
	resp, err := l.StreamableHTTP.SendRequest(ctx, r)
	noteResponse(ctx, resp)
	if version, _ := l.version.Load().(string); err != nil && ctx.Err() != nil &&
		r.Method == string(mcp.MethodToolsCall) && !mcp.IsModernProtocol(version) {
		l.giveUp(r)
	}
	return resp, err
}

// giveUp tells the server that nobody waits for a call any more. Until
// 2025-11-25 the end of the request does not, and mcp-go says nothing.
func (l *webLink) giveUp(r transport.JSONRPCRequest) {
	n := mcp.JSONRPCNotification{JSONRPC: mcp.JSONRPC_VERSION, Notification: mcp.Notification{
		Method: string(mcp.MethodNotificationCancelled),
		Params: mcp.NotificationParams{AdditionalFields: map[string]any{"requestId": r.ID, "reason": "nobody waits for it any more"}},
	}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), partingTime)
		defer cancel()
		_ = l.SendNotification(ctx, n) // a kindness
	})
}

// eventLink is mcp-go's transport over HTTP with server-sent events, with notes.
type eventLink struct {
	*transport.SSE
	count atomic.Int64
	once  sync.Once
	lost  chan struct{} // closed when the stream of answers has ended
}

func (l *eventLink) lose() { l.once.Do(func() { close(l.lost) }) }

var errStreamEnded = errors.New("its stream of answers ended")

// SendRequest sends a request and waits for its answer. mcp-go takes a request
// of the server for the answer to one of ours when their numbers agree, so ours
// get names instead.
func (l *eventLink) SendRequest(ctx context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	noteRequest(ctx)
	r.ID = mcp.NewRequestId("loop-mcp-" + strconv.FormatInt(l.count.Add(1), 10))
	// mcp-go would wait on for an answer that nothing can bring any more, and
	// measures the time to a deadline with a clock of its own.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	go func() {
		select {
		case <-l.lost:
			cancel()
		case <-inner.Done():
		}
	}()
	resp, err := l.SSE.SendRequest(inner, r)
	if err != nil && inner.Err() != nil {
		if err = ctx.Err(); err == nil {
			err = errStreamEnded
		}
	}
	noteResponse(ctx, resp)
	return resp, err
}
