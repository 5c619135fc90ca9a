package mcpserver

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// offerSubscriptions tells sessions of both eras what they subscribe to.
func (t *tools) offerSubscriptions(s *server.MCPServer, hooks *server.Hooks) {
	t.hub.send = s.SendNotificationToSpecificClient
	hooks.AddOnRegisterSession(func(_ context.Context, s server.ClientSession) { t.hub.join(s.SessionID()) })
	hooks.AddOnUnregisterSession(func(_ context.Context, s server.ClientSession) { t.hub.leave(s.SessionID()) })
	hooks.AddBeforeSubscribe(t.subscribe)
	hooks.AddAfterUnsubscribe(t.unsubscribe)
	hooks.AddBeforeSubscriptionsListen(t.listen)
	hooks.AddBeforeListResources(func(ctx context.Context, _ any, _ *mcp.ListResourcesRequest) {
		t.followList(ctx, topicList, listChanged)
	})
	hooks.AddBeforeListPrompts(func(ctx context.Context, _ any, _ *mcp.ListPromptsRequest) {
		t.followList(ctx, topicPrompts, promptsChanged)
	})
}

func sessionID(ctx context.Context) string {
	if s := server.ClientSessionFromContext(ctx); s != nil {
		return s.SessionID()
	}
	return ""
}

// ownerOf is whose loops a call shows; empty: all.
func ownerOf(ctx context.Context) string {
	owner, _ := ctx.Value(ownerKey{}).(string)
	return owner
}

// subscribe serves resources/subscribe. A hook can't refuse, but mcp-go refuses
// an empty URI, and [Around] says why.
func (t *tools) subscribe(ctx context.Context, _ any, r *mcp.SubscribeRequest) {
	if err := t.follow(ctx, r.Params.URI); err != nil {
		_ = t.failURI(ctx, r.Params.URI, err)
		r.Params.URI = ""
	}
}

func (t *tools) unsubscribe(ctx context.Context, _ any, r *mcp.UnsubscribeRequest, _ *mcp.EmptyResult) {
	if res, ok := parseURI(r.Params.URI); ok {
		t.hub.remove(sessionID(ctx), res.topic(), r.Params.URI)
	}
}

// listen serves subscriptions/listen: what is left of the filter is what the
// client is told to have subscribed to.
func (t *tools) listen(ctx context.Context, _ any, r *mcp.SubscriptionsListenRequest) {
	wanted := &r.Params.Notifications
	kept, err := t.followAll(ctx, wanted.ResourceSubscriptions)
	if _, alone := server.ClientSessionFromContext(ctx).(*refusing); alone && err != nil && len(kept) == 0 {
		uri := wanted.ResourceSubscriptions[0]
		_ = t.failURI(ctx, uri, err)
		kept = []string{uri} // for mcp-go to ask the session
	}
	wanted.ResourceSubscriptions = kept
	session, owner := sessionID(ctx), ownerOf(ctx)
	if wanted.ResourcesListChanged {
		wanted.ResourcesListChanged = t.hub.add(session, owner, topicList, listChanged) == nil
	}
	if wanted.PromptsListChanged {
		wanted.PromptsListChanged = t.hub.add(session, owner, topicPrompts, promptsChanged) == nil
	}
}

// followAll returns those of the resources that the session of ctx follows now,
// and what is wrong with the first of the others.
func (t *tools) followAll(ctx context.Context, uris []string) (kept []string, first error) {
	for _, uri := range uris {
		if slices.Contains(kept, uri) {
			continue
		}
		if err := t.follow(ctx, uri); err != nil {
			t.opts.Logger.DebugContext(ctx, "a resource can't be followed", "uri", clip(uri, maxLine), "cause", err)
			first = cmp.Or(first, err)
			continue
		}
		kept = append(kept, uri)
	}
	return kept, first
}

// followList tells a client of the older era, which can't ask for it, when a
// list that it is about to read has become another one.
func (t *tools) followList(ctx context.Context, name string, want interest) {
	if !modern(ctx) {
		_ = t.hub.add(sessionID(ctx), ownerOf(ctx), name, want) // a client without notifications reads again
	}
}

// topic is the name of the topic that a resource belongs to.
func (r resource) topic() string {
	if r.kind == kindRecent {
		return topicRecent
	}
	return string(r.id)
}

// follow subscribes the session of ctx to a resource that is there.
func (t *tools) follow(ctx context.Context, uri string) error {
	r, ok := parseURI(uri)
	if !ok {
		return &unknownResourceError{uri}
	}
	want := interest{method: mcp.MethodNotificationResourceUpdated, uri: uri}
	e, err := t.peek(ctx)
	switch {
	case errors.Is(err, errNoLoops) && r.kind == kindRecent:
		err = nil
	case errors.Is(err, errNoLoops):
		err = &notFoundError{id: r.id}
	case err == nil && r.kind != kindRecent:
		var s loops.State
		s, err = t.get(ctx, e, string(r.id))
		want.after, want.only, want.seen = s.Rev, r.iteration, s.Iteration
		if err == nil && r.iteration > max(s.Iteration, int(s.Limits.MaxIterations)) {
			err = &unknownResourceError{uri}
		}
	}
	if err != nil {
		return err
	}
	if err := t.hub.add(sessionID(ctx), ownerOf(ctx), r.topic(), want); err != nil {
		return err
	}
	t.hub.ready(ctx)
	return nil
}
