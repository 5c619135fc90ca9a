package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"example.com/loop-mcp/loops/agent"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// conn is one connection to a server. It is never repaired.
type conn struct {
	client  *client.Client
	begin   func(context.Context) error
	session bool            // it lives in a session that the server may forget
	lost    <-chan struct{} // closed when no further request can succeed
	why     func() string   // what is known of a loss, in the server's words; may wait for its process
	shut    func()          // ends everything that belongs to it and waits

	doubt atomic.Bool // a call was given up: it may hang
	stale atomic.Bool // the server said that its tools changed

	mu    sync.Mutex
	tools []offered

	once  sync.Once
	ended chan struct{} // closed when all of it is gone
}

// newConn is a connection without processes, which is never seen to be lost.
func newConn(c *client.Client) *conn {
	return &conn{client: c, begin: c.Start, why: func() string { return "" }, ended: make(chan struct{})}
}

// end begins to end it; ended tells when that is done.
func (c *conn) end() {
	c.once.Do(func() {
		go func() {
			defer close(c.ended)
			c.shut()
		}()
	})
}

func (c *conn) alive() bool {
	select {
	case <-c.lost:
		return false
	default:
		return true
	}
}

// ask makes one request through the client and returns what the transport
// noted about it.
func (c *conn) ask(ctx context.Context, do func(context.Context) error) (answer, error) {
	ctx, noted := noting(ctx)
	err := do(ctx)
	return noted.look(), err
}

// refresh lists the tools anew.
func (c *conn) refresh(ctx context.Context) error {
	c.stale.Store(false) // before the list: a change that comes later counts
	tools, err := c.list(ctx)
	if err != nil {
		c.stale.Store(true)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tools = tools
	return nil
}

func (c *conn) offers() []offered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tools
}

func (c *conn) has(tool string) bool {
	for _, t := range c.offers() {
		if t.Name == tool {
			return true
		}
	}
	return false
}

// verdict is how an attempt to call a tool ended.
type verdict int

const (
	answeredCall verdict = iota // the server answered
	declinedCall                // it answered that it does not do this
	notCalled                   // it can't have run, and a new connection may mend that
	refusedCall                 // it can't have run, and a new connection mends nothing
	lostCall                    // it may have run; the connection is of no more use
	givenUp                     // it may have run; the connection may be
)

// call calls a tool once. Unless it was answered, the error says what happened.
func (c *conn) call(ctx context.Context, tool string, args json.RawMessage) (agent.Outcome, verdict, error) {
	var request mcp.CallToolRequest
	request.Params.Name, request.Params.Arguments = tool, args
	a, err := c.ask(ctx, func(ctx context.Context) error {
		_, err := c.client.CallTool(ctx, request)
		return err
	})
	if result, ok := a.answered(); ok {
		if wantsInput(result) {
			return agent.Outcome{Error: true, Text: "the tool asks for input while it runs, which an agent can't give it"}, answeredCall, nil
		}
		return outcomeOf(result), answeredCall, nil
	}
	forgotten := c.session && (a.status == http.StatusNotFound || a.status == http.StatusBadRequest)
	switch {
	case ctx.Err() != nil && !a.sent:
		c.doubt.Store(true)
		return agent.Outcome{}, refusedCall, context.Cause(ctx)
	case ctx.Err() != nil:
		c.doubt.Store(true)
		return agent.Outcome{}, givenUp, context.Cause(ctx)
	case forgotten:
		return agent.Outcome{}, notCalled, a.describe(err)
	case a.refusal != nil:
		return agent.Outcome{Error: true, Text: "the server refused the call: " + bounded(a.refusal.Message)}, declinedCall, nil
	case !a.sent:
		return agent.Outcome{}, notCalled, a.describe(err)
	case a.status >= 400 && a.status < 500:
		return agent.Outcome{}, refusedCall, a.describe(err)
	}
	return agent.Outcome{}, lostCall, a.describe(err)
}

func wantsInput(result json.RawMessage) bool {
	var probe struct {
		ResultType string `json:"resultType"`
	}
	return json.Unmarshal(result, &probe) == nil && probe.ResultType == string(mcp.ResultTypeInputRequired)
}

// greet makes the acquaintance of the server and lists its tools.
func (c *conn) greet(ctx context.Context, version string) error {
	if a, err := c.ask(ctx, c.begin); err != nil {
		return a.describe(err)
	}
	c.client.OnNotification(func(n mcp.JSONRPCNotification) {
		if n.Method == mcp.MethodNotificationToolsListChanged {
			c.stale.Store(true)
		}
	})
	var request mcp.InitializeRequest
	request.Params.ClientInfo = mcp.Implementation{Name: "loop-mcp", Version: version}
	initialize := func() error {
		a, err := c.ask(ctx, func(ctx context.Context) error {
			_, err := c.client.Initialize(ctx, request)
			return err
		})
		if err == nil {
			return nil
		}
		err = hinted(a.describe(err), err)
		if a.refusal != nil {
			return &refusedError{err}
		}
		return err
	}
	err := initialize()
	if _, refused := errors.AsType[*refusedError](err); refused && ctx.Err() == nil {
		err = initialize() // a slow server may have missed the question which era it is of
	}
	if err != nil {
		return err
	}
	c.session = c.client.GetSessionId() != ""
	return c.refresh(ctx)
}

// refusedError is a server's no to the handshake.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func hinted(described, err error) error {
	if errors.Is(err, transport.ErrLegacySSEServer) {
		return fmt.Errorf("%w; if it is a server of the older kind, write type: sse", described)
	}
	return described
}

// loss adds to err what is known of the server's end.
func (c *conn) loss(err error) error {
	if more := c.why(); more != "" {
		return fmt.Errorf("%w; %s", err, more)
	}
	return err
}
