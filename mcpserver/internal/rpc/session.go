package rpc

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

var (
	_ server.SessionWithResourceSubscriptionsErr = (*Client)(nil)
	_ server.SessionWithClientInfo               = (*Client)(nil)
	_ server.SessionWithClientInfo               = (*Session)(nil)
	_ server.SessionWithProtocolVersion          = (*Session)(nil)
	_ server.SessionWithResourceSubscriptionsErr = (*Session)(nil)
	_ server.SessionWithElicitation              = (*Session)(nil)
	_ server.SessionWithSubscriptionFilter       = (*Subscription)(nil)
)

// identity is what a client says about itself.
type identity struct {
	info    mcp.Implementation
	caps    mcp.ClientCapabilities
	version string
}

// Client is what an initialize established: a client of the older era. It is
// registered with the server for notifications outside a request.
type Client struct {
	URIs
	ID  string
	Box *Mailbox

	who   atomic.Pointer[identity] // nil: nothing yet
	ready atomic.Bool
}

func (c *Client) identity() identity {
	if who := c.who.Load(); who != nil {
		return *who
	}
	return identity{}
}

// SetReady lets notifications through, once there was an initialize.
func (c *Client) SetReady() { c.ready.Store(c.identity().version != "") }

// Initialize implements [server.ClientSession]; [Client.SetReady] decides.
func (c *Client) Initialize() {}

// Initialized implements [server.ClientSession].
func (c *Client) Initialized() bool { return c.ready.Load() }

// SessionID implements [server.ClientSession].
func (c *Client) SessionID() string { return c.ID }

// NotificationChannel implements [server.ClientSession].
func (c *Client) NotificationChannel() chan<- mcp.JSONRPCNotification { return c.Box.Channel() }

// GetClientInfo implements [server.SessionWithClientInfo].
func (c *Client) GetClientInfo() mcp.Implementation { return c.identity().info }

// GetClientCapabilities implements [server.SessionWithClientInfo].
func (c *Client) GetClientCapabilities() mcp.ClientCapabilities { return c.identity().caps }

// ProtocolVersion is what the client and the server agreed upon.
func (c *Client) ProtocolVersion() string { return c.identity().version }

// SetClientInfo does nothing: what a client says about itself arrives through
// sessions of requests.
func (c *Client) SetClientInfo(mcp.Implementation) {}

// SetClientCapabilities does nothing, for the same reason.
func (c *Client) SetClientCapabilities(mcp.ClientCapabilities) {}

// Session is the session of one request. mcp-go sets its identity for an
// initialize and for modern requests; the others show the client's.
type Session struct {
	*URIs
	ID     string
	Client *Client // nil: a modern request over a transport where it has none
	Box    *Mailbox
	// Ask asks the person at the client, on the stream of this request. nil: the
	// client can't be sent a request.
	Ask func(context.Context, mcp.ClientCapabilities, mcp.ElicitationRequest) (*mcp.ElicitationResult, error)

	mu  sync.Mutex
	own *identity
}

// Initialize implements [server.ClientSession].
func (s *Session) Initialize() {}

// Initialized implements [server.ClientSession].
func (s *Session) Initialized() bool { return true }

// SessionID implements [server.ClientSession].
func (s *Session) SessionID() string { return s.ID }

// NotificationChannel implements [server.ClientSession].
func (s *Session) NotificationChannel() chan<- mcp.JSONRPCNotification { return s.Box.Channel() }

// GetClientInfo implements [server.SessionWithClientInfo].
func (s *Session) GetClientInfo() mcp.Implementation { return s.identity().info }

// GetClientCapabilities implements [server.SessionWithClientInfo].
func (s *Session) GetClientCapabilities() mcp.ClientCapabilities { return s.identity().caps }

// ProtocolVersion implements [server.SessionWithProtocolVersion].
func (s *Session) ProtocolVersion() string { return s.identity().version }

// SetClientInfo implements [server.SessionWithClientInfo].
func (s *Session) SetClientInfo(info mcp.Implementation) {
	s.edit(func(who *identity) { who.info = info })
}

// SetClientCapabilities implements [server.SessionWithClientInfo].
func (s *Session) SetClientCapabilities(caps mcp.ClientCapabilities) {
	s.edit(func(who *identity) { who.caps = caps })
}

// SetProtocolVersion is called by initialize only, last: now there is a client of
// the older era.
func (s *Session) SetProtocolVersion(version string) {
	s.edit(func(who *identity) {
		who.version = version
		if s.Client != nil {
			settled := *who
			s.Client.who.Store(&settled)
		}
	})
}

// RequestElicitation asks the person at the client until ctx ends; then the client
// is told that the question is over. A client that did not declare the mode is
// asked nothing, and neither is one that can't be sent a request.
func (s *Session) RequestElicitation(ctx context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	if s.Ask == nil {
		return nil, server.ErrElicitationNotSupported
	}
	return s.Ask(ctx, s.identity().caps, r)
}

// Close returns when all notifications are on their way.
func (s *Session) Close() { <-s.Box.Shut() }

func (s *Session) edit(change func(*identity)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil {
		s.own = &identity{}
	}
	change(s.own)
}

func (s *Session) identity() identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.own != nil:
		return *s.own
	case s.Client != nil:
		return s.Client.identity()
	}
	return identity{}
}

// Subscription is the session of one subscriptions/listen stream, registered with
// the server while the stream lasts. It is silent until mcp-go has set its filter
// and acknowledged it.
type Subscription struct {
	*Session
	Request []byte // the id of the request, which is the subscription's

	acked  atomic.Bool
	filter mcp.SubscriptionFilter // guarded by Session.mu
}

// Initialized implements [server.ClientSession].
func (s *Subscription) Initialized() bool { return s.acked.Load() }

// SetSubscriptionFilter implements [server.SessionWithSubscriptionFilter].
func (s *Subscription) SetSubscriptionFilter(filter mcp.SubscriptionFilter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter = filter
}

// SubscriptionFilter always reports an active subscription: without one, mcp-go
// sends everything.
func (s *Subscription) SubscriptionFilter() (mcp.SubscriptionFilter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filter, true
}

// Prepare tags n with the subscription's id. The acknowledgement opens the stream
// to the others.
func (s *Subscription) Prepare(n *mcp.JSONRPCNotification) {
	meta := maps.Clone(n.Params.Meta) // shared with the other sessions it is sent to
	if meta == nil {
		meta = make(map[string]any, 1)
	}
	meta[mcp.MetaKeySubscriptionID] = json.RawMessage(s.Request)
	n.Params.Meta = meta
	if n.Method == mcp.MethodNotificationSubscriptionsAcknowledged {
		s.acked.Store(true)
	}
}
