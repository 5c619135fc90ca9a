package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

var (
	_ server.SessionWithSubscriptionFilter       = (*stream)(nil)
	_ server.SessionWithResourceSubscriptionsErr = (*stream)(nil)
	_ server.SessionWithClientInfo               = (*stream)(nil)
	_ server.SessionWithProtocolVersion          = (*stream)(nil)
	_ server.SessionWithStreamableHTTPConfig     = (*stream)(nil)
)

// stream is the transport's session of one subscriptions/listen request as mcp-go sees it: what
// mcp-go sends comes by here, so that the acknowledgement can name the tasks. All else is the
// transport's; what its session can't do, this one can't either.
type stream struct {
	server.ClientSession
	id           json.RawMessage // of the request, which is the subscription's
	ids          []string        // of the tasks
	sent         chan mcp.JSONRPCNotification
	acknowledged chan struct{}
	once         sync.Once
}

func newStream(session server.ClientSession, id json.RawMessage, ids []string) *stream {
	return &stream{
		ClientSession: session, id: id, ids: ids,
		sent: make(chan mcp.JSONRPCNotification, 16), acknowledged: make(chan struct{}),
	}
}

// NotificationChannel is what mcp-go sends to.
func (s *stream) NotificationChannel() chan<- mcp.JSONRPCNotification { return s.sent }

// forward passes on what mcp-go sends until ctx ends.
func (s *stream) forward(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-s.sent:
			ack := n.Method == string(mcp.MethodNotificationSubscriptionsAcknowledged)
			if ack {
				n.Params.AdditionalFields = s.named(n.Params.AdditionalFields)
			}
			if s.deliver(ctx, n) == nil && ack {
				s.once.Do(func() { close(s.acknowledged) })
			}
		}
	}
}

// named adds the tasks to an acknowledgement.
func (s *stream) named(fields map[string]any) map[string]any {
	fields = maps.Clone(fields)
	if fields == nil {
		fields = make(map[string]any, 1)
	}
	granted, err := object(fields["notifications"])
	if err != nil || granted == nil {
		granted = make(map[string]any, 1)
	}
	granted["taskIds"] = s.ids
	fields["notifications"] = granted
	return fields
}

// object is v as a generic JSON object.
func object(v any) (map[string]any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	err = json.Unmarshal(data, &m)
	return m, err
}

// send tells the client how a task stands.
func (s *stream) send(ctx context.Context, t Task) error {
	return s.deliver(ctx, mcp.JSONRPCNotification{
		JSONRPC: mcp.JSONRPC_VERSION,
		Notification: mcp.Notification{Method: methodNotification, Params: mcp.NotificationParams{
			Meta: map[string]any{mcp.MetaKeySubscriptionID: s.id}, AdditionalFields: t.detail(),
		}},
	})
}

var errGone = errors.New("the stream has ended")

// deliver waits for room: a notification that is dropped might be the last.
func (s *stream) deliver(ctx context.Context, n mcp.JSONRPCNotification) error {
	out := s.ClientSession.NotificationChannel()
	if out == nil {
		return errGone
	}
	select {
	case out <- n:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SetSubscriptionFilter passes on what mcp-go allows.
func (s *stream) SetSubscriptionFilter(f mcp.SubscriptionFilter) {
	if inner, ok := s.ClientSession.(server.SessionWithSubscriptionFilter); ok {
		inner.SetSubscriptionFilter(f)
	}
}

// SubscriptionFilter returns what the transport's session has.
func (s *stream) SubscriptionFilter() (mcp.SubscriptionFilter, bool) {
	if inner, ok := s.ClientSession.(server.SessionWithSubscriptionFilter); ok {
		return inner.SubscriptionFilter()
	}
	return mcp.SubscriptionFilter{}, false
}

func (s *stream) resources() server.SessionWithResourceSubscriptions {
	inner, _ := s.ClientSession.(server.SessionWithResourceSubscriptions)
	return inner
}

// SubscribeToResource subscribes the transport's session.
func (s *stream) SubscribeToResource(uri string) { _ = s.SubscribeToResourceErr(uri) }

// SubscribeToResourceErr subscribes the transport's session.
func (s *stream) SubscribeToResourceErr(uri string) error {
	if inner, ok := s.ClientSession.(server.SessionWithResourceSubscriptionsErr); ok {
		return inner.SubscribeToResourceErr(uri)
	}
	if inner := s.resources(); inner != nil {
		inner.SubscribeToResource(uri)
	}
	return nil
}

// UnsubscribeFromResource unsubscribes the transport's session.
func (s *stream) UnsubscribeFromResource(uri string) {
	if inner := s.resources(); inner != nil {
		inner.UnsubscribeFromResource(uri)
	}
}

// SubscribedResources returns what the transport's session has.
func (s *stream) SubscribedResources() []string {
	if inner := s.resources(); inner != nil {
		return inner.SubscribedResources()
	}
	return nil
}

// IsSubscribedToResource asks the transport's session.
func (s *stream) IsSubscribedToResource(uri string) bool {
	inner := s.resources()
	return inner != nil && inner.IsSubscribedToResource(uri)
}

func (s *stream) client() server.SessionWithClientInfo {
	inner, _ := s.ClientSession.(server.SessionWithClientInfo)
	return inner
}

// GetClientInfo returns what the transport's session knows.
func (s *stream) GetClientInfo() mcp.Implementation {
	if inner := s.client(); inner != nil {
		return inner.GetClientInfo()
	}
	return mcp.Implementation{}
}

// SetClientInfo tells the transport's session.
func (s *stream) SetClientInfo(info mcp.Implementation) {
	if inner := s.client(); inner != nil {
		inner.SetClientInfo(info)
	}
}

// GetClientCapabilities returns what the transport's session knows.
func (s *stream) GetClientCapabilities() mcp.ClientCapabilities {
	if inner := s.client(); inner != nil {
		return inner.GetClientCapabilities()
	}
	return mcp.ClientCapabilities{}
}

// SetClientCapabilities tells the transport's session.
func (s *stream) SetClientCapabilities(caps mcp.ClientCapabilities) {
	if inner := s.client(); inner != nil {
		inner.SetClientCapabilities(caps)
	}
}

// ProtocolVersion returns what the transport's session knows.
func (s *stream) ProtocolVersion() string {
	if inner, ok := s.ClientSession.(server.SessionWithProtocolVersion); ok {
		return inner.ProtocolVersion()
	}
	return ""
}

// UpgradeToSSEWhenReceiveNotification passes on what mcp-go asks of HTTP sessions.
func (s *stream) UpgradeToSSEWhenReceiveNotification() {
	if inner, ok := s.ClientSession.(server.SessionWithStreamableHTTPConfig); ok {
		inner.UpgradeToSSEWhenReceiveNotification()
	}
}
