package streamhttp

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

var (
	_ server.SessionWithResourceSubscriptionsErr = (*clientSession)(nil)
	_ server.SessionWithClientInfo               = (*clientSession)(nil)
	_ server.SessionWithClientInfo               = (*requestSession)(nil)
	_ server.SessionWithProtocolVersion          = (*requestSession)(nil)
	_ server.SessionWithResourceSubscriptionsErr = (*requestSession)(nil)
	_ server.SessionWithElicitation              = (*requestSession)(nil)
	_ server.SessionWithSubscriptionFilter       = (*listenSession)(nil)
)

// identity is what a client says about itself.
type identity struct {
	info    mcp.Implementation
	caps    mcp.ClientCapabilities
	version string
}

// clientSession is what an initialize established: a client of the older era. It is registered with
// the server for notifications outside a request.
type clientSession struct {
	rpc.URIs
	id      string
	owner   string
	box     *rpc.Mailbox
	who     atomic.Pointer[identity]
	ready   atomic.Bool
	ctx     context.Context // of its calls; ends with the session
	end     context.CancelFunc
	events  *store
	log     log
	outside *stream // what it gets outside requests
	asks    rpc.Asks

	mu      sync.Mutex
	calls   map[string]*call   // requests in flight, by id
	streams map[uint64]*stream // of requests in flight, by number
	number  uint64             // of the latest
	users   int                // requests and streams under way
	used    time.Time          // when the last of them ended
	expiry  *time.Timer        // ends the session; stopped while it is in use
	ended   bool
}

// setReady lets notifications through, once there was an initialize.
func (s *clientSession) setReady() { s.ready.Store(s.who.Load().version != "") }

func (s *clientSession) Initialize()       {}
func (s *clientSession) Initialized() bool { return s.ready.Load() }
func (s *clientSession) SessionID() string { return s.id }
func (s *clientSession) NotificationChannel() chan<- mcp.JSONRPCNotification {
	return s.box.Channel()
}
func (s *clientSession) GetClientInfo() mcp.Implementation { return s.who.Load().info }
func (s *clientSession) GetClientCapabilities() mcp.ClientCapabilities {
	return s.who.Load().caps
}
func (s *clientSession) ProtocolVersion() string { return s.who.Load().version }

// What a client says about itself arrives through request sessions only.
func (s *clientSession) SetClientInfo(mcp.Implementation)             {}
func (s *clientSession) SetClientCapabilities(mcp.ClientCapabilities) {}

// requestSession is the session of one request. mcp-go sets its identity for an initialize and for
// modern requests; the others show the client's.
type requestSession struct {
	*rpc.URIs
	id     string
	client *clientSession // nil: a modern request, which has none
	box    *rpc.Mailbox
	out    sink

	mu  sync.Mutex
	own *identity
}

func (s *requestSession) Initialize()       {}
func (s *requestSession) Initialized() bool { return true }
func (s *requestSession) SessionID() string { return s.id }
func (s *requestSession) NotificationChannel() chan<- mcp.JSONRPCNotification {
	return s.box.Channel()
}
func (s *requestSession) GetClientInfo() mcp.Implementation { return s.identity().info }
func (s *requestSession) GetClientCapabilities() mcp.ClientCapabilities {
	return s.identity().caps
}
func (s *requestSession) ProtocolVersion() string { return s.identity().version }

func (s *requestSession) SetClientInfo(info mcp.Implementation) {
	s.edit(func(who *identity) { who.info = info })
}

func (s *requestSession) SetClientCapabilities(caps mcp.ClientCapabilities) {
	s.edit(func(who *identity) { who.caps = caps })
}

// SetProtocolVersion is called by initialize only, last: now the session has its client.
func (s *requestSession) SetProtocolVersion(version string) {
	s.edit(func(who *identity) {
		who.version = version
		if s.client != nil {
			settled := *who
			s.client.who.Store(&settled)
		}
	})
}

// RequestElicitation asks the person at the client, on the stream of this request, until ctx ends;
// then the client is told that the question is over. A client that did not declare the mode is asked
// nothing, and neither is one that can't be sent a request.
func (s *requestSession) RequestElicitation(ctx context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	out, ok := s.out.(*stream)
	if !ok {
		return nil, server.ErrElicitationNotSupported
	}
	return s.client.asks.Elicit(ctx, s.identity().caps, r, out.ask)
}

func (s *requestSession) close() { <-s.box.Shut() }

func (s *requestSession) edit(change func(*identity)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil {
		s.own = &identity{}
	}
	change(s.own)
}

func (s *requestSession) identity() identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.own != nil:
		return *s.own
	case s.client != nil:
		return *s.client.who.Load()
	}
	return identity{}
}

// listenSession is the session of one subscriptions/listen stream, registered with the server while
// the stream lasts. It is silent until mcp-go has set its filter and acknowledged it.
type listenSession struct {
	*requestSession
	request []byte // the id of the request, which is the subscription's
	acked   atomic.Bool
	filter  mcp.SubscriptionFilter // guarded by requestSession.mu
}

func (s *listenSession) Initialized() bool { return s.acked.Load() }

func (s *listenSession) SetSubscriptionFilter(filter mcp.SubscriptionFilter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter = filter
}

// SubscriptionFilter always reports an active subscription: without one, mcp-go sends everything.
func (s *listenSession) SubscriptionFilter() (mcp.SubscriptionFilter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filter, true
}

// prepare tags n with the subscription's id. The acknowledgement opens the stream to the others.
func (s *listenSession) prepare(n *mcp.JSONRPCNotification) {
	meta := maps.Clone(n.Params.Meta) // shared with the other sessions it is sent to
	if meta == nil {
		meta = make(map[string]any, 1)
	}
	meta[mcp.MetaKeySubscriptionID] = json.RawMessage(s.request)
	n.Params.Meta = meta
	if n.Method == mcp.MethodNotificationSubscriptionsAcknowledged {
		s.acked.Store(true)
	}
}
