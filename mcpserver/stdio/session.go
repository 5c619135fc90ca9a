package stdio

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

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
	_ server.SessionWithSubscriptionFilter       = (*streamSession)(nil)
)

// identity is what a client says about itself.
type identity struct {
	info    mcp.Implementation
	caps    mcp.ClientCapabilities
	version string
}

// clientSession is what initialize established: the legacy client of the connection. It is
// registered with the server for notifications outside a request.
type clientSession struct {
	rpc.URIs
	id    string
	box   *rpc.Mailbox
	who   atomic.Pointer[identity]
	ready atomic.Bool
}

func newClientSession(out *outbox, log *slog.Logger) *clientSession {
	s := &clientSession{id: "stdio-" + rand.Text(), box: out.mailbox(nil, log)}
	s.who.Store(&identity{})
	return s
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
	client *clientSession
	box    *rpc.Mailbox
	ask    func(context.Context, mcp.ClientCapabilities, mcp.ElicitationRequest) (*mcp.ElicitationResult, error)

	mu  sync.Mutex
	own *identity
}

func (s *requestSession) Initialize()       {}
func (s *requestSession) Initialized() bool { return true }
func (s *requestSession) SessionID() string { return s.client.id }
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

// SetProtocolVersion is called by initialize only, last: now the connection has a legacy client.
func (s *requestSession) SetProtocolVersion(version string) {
	s.edit(func(who *identity) {
		who.version = version
		settled := *who
		s.client.who.Store(&settled)
	})
}

// RequestElicitation asks the person at the client until ctx ends; then the client is told that the
// question is over. A client that did not declare the mode is asked nothing.
func (s *requestSession) RequestElicitation(ctx context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return s.ask(ctx, s.identity().caps, r)
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
	if s.own == nil {
		return *s.client.who.Load()
	}
	return *s.own
}

// streamSession is the session of one subscriptions/listen stream, registered with the server while
// the stream lasts. It is silent until mcp-go has set its filter and acknowledged it.
type streamSession struct {
	*requestSession
	number int
	id     []byte // of the request, which is the subscription's
	acked  atomic.Bool
	filter mcp.SubscriptionFilter // guarded by requestSession.mu
}

func (s *streamSession) Initialized() bool { return s.acked.Load() }
func (s *streamSession) SessionID() string {
	return s.client.id + "/" + strconv.Itoa(s.number)
}

func (s *streamSession) SetSubscriptionFilter(filter mcp.SubscriptionFilter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter = filter
}

// SubscriptionFilter always reports an active subscription: without one, mcp-go sends everything.
func (s *streamSession) SubscriptionFilter() (mcp.SubscriptionFilter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filter, true
}

// prepare tags n with the subscription's id. The acknowledgement opens the stream to the others.
func (s *streamSession) prepare(n *mcp.JSONRPCNotification) {
	meta := maps.Clone(n.Params.Meta) // shared with the other sessions it is sent to
	if meta == nil {
		meta = make(map[string]any, 1)
	}
	meta[mcp.MetaKeySubscriptionID] = json.RawMessage(s.id)
	n.Params.Meta = meta
	if n.Method == mcp.MethodNotificationSubscriptionsAcknowledged {
		s.acked.Store(true)
	}
}
