package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"example.com/loop-mcp/loops/agent"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// answer is what the transports note about one request. mcp-go's client hands
// out less: no bytes, and no word on whether a request went out.
type answer struct {
	mu      sync.Mutex
	sent    bool // the server may have seen it
	result  json.RawMessage
	refusal *mcp.JSONRPCErrorDetails
	status  int    // of HTTP, when it is 400 or more
	said    string // the body beside that status
}

type answerKey struct{}

// noting puts an answer into ctx.
func noting(ctx context.Context) (context.Context, *answer) {
	a := &answer{}
	return context.WithValue(ctx, answerKey{}, a), a
}

// note runs change on the answer of ctx, if there is one.
func note(ctx context.Context, change func(*answer)) {
	a, ok := ctx.Value(answerKey{}).(*answer)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// noteRequest begins a request; those before it in the same ctx are forgotten,
// but not that one of them went out.
func noteRequest(ctx context.Context) {
	note(ctx, func(a *answer) { a.result, a.refusal, a.status, a.said = nil, nil, 0, "" })
}

func noteSent(ctx context.Context, sent bool) { note(ctx, func(a *answer) { a.sent = a.sent || sent }) }

func noteResponse(ctx context.Context, r *transport.JSONRPCResponse) {
	if r == nil {
		return
	}
	note(ctx, func(a *answer) { a.result, a.refusal = r.Result, r.Error })
}

// look returns a copy that no transport changes any more.
func (a *answer) look() answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return answer{sent: a.sent, result: a.result, refusal: a.refusal, status: a.status, said: a.said}
}

// answered returns the result, if the server gave one.
func (a *answer) answered() (json.RawMessage, bool) {
	return a.result, a.refusal == nil && len(a.result) > 0
}

// describe says why there is no result, in the server's words where it has any.
func (a *answer) describe(err error) error {
	switch {
	case a.refusal != nil:
		return fmt.Errorf("it refused: %s", excerpt(a.refusal.Message))
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return fmt.Errorf("it answered %s: check its headers in the configuration", a.statusText())
	case a.status != 0:
		return fmt.Errorf("it answered %s", a.statusText())
	}
	// The address may hold a key.
	if web, ok := errors.AsType[*url.Error](err); ok {
		return web.Err
	}
	if wrapped, ok := errors.AsType[*transport.Error](err); ok {
		return wrapped.Err
	}
	if err == nil {
		return errors.New("it answered with nothing")
	}
	return err
}

func (a *answer) statusText() string {
	text := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	if said := excerpt(a.said); said != "" {
		text += " (" + said + ")"
	}
	return text
}

// notSent marks the error of a call that can't have run.
func notSent(err error) error { return fmt.Errorf("%w: %w", agent.ErrNotSent, err) }

// unknown marks the error of a call that may have run.
func unknown(err error) error { return fmt.Errorf("%w; whether the tool ran is not known", err) }
