package mcpserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// faultError is the JSON-RPC error that answers a request. Tools have none: what
// goes wrong there is a result, because a model reads it. Resources, prompts
// and completion are asked for by programs.
type faultError struct {
	code    int
	message string
	data    map[string]any
}

func (f *faultError) Error() string { return f.message }

// faultKey is where a context has the place for the fault of its request.
type faultKey struct{}

// Around lets resources, prompts and completion answer with the JSON-RPC errors
// that the protocol asks for: mcp-go makes an internal error (-32603) of
// whatever a handler returns. It fits the Around of the transports; without it
// the codes are mcp-go's and the texts the same.
func Around(ctx context.Context, method string, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage {
	switch mcp.MCPMethod(method) {
	case mcp.MethodResourcesList, mcp.MethodResourcesRead, mcp.MethodResourcesSubscribe,
		mcp.MethodPromptsList, mcp.MethodPromptsGet, mcp.MethodCompletionComplete:
	case mcp.MethodSubscriptionsListen:
		return aroundListen(ctx, msg, next)
	default:
		return next(ctx, msg)
	}
	place := new(*faultError)
	answer := next(context.WithValue(ctx, faultKey{}, place), msg)
	if *place == nil && method == string(mcp.MethodPromptsGet) {
		*place = otherThanText(msg)
	}
	return faulty(answer, *place)
}

// otherThanText is the fault of a prompts/get with an argument that is no text,
// which mcp-go does not name.
func otherThanText(msg json.RawMessage) *faultError {
	var m struct {
		Params struct{ Arguments map[string]json.RawMessage }
	}
	if json.Unmarshal(msg, &m) != nil {
		return nil //nolint:nilerr // mcp-go names that
	}
	var p problems
	for _, name := range slices.Sorted(maps.Keys(m.Params.Arguments)) {
		var text string
		if raw := m.Params.Arguments[name]; json.Unmarshal(raw, &text) != nil {
			p.add(clip(name, 60), "must be a text, got %s; write numbers and booleans in quotes", clip(string(raw), 60))
		}
	}
	if len(p) == 0 {
		return nil
	}
	d, _ := explain(p.err())
	return &faultError{code: mcp.INVALID_PARAMS, message: d.Message, data: map[string]any{"code": d.Code, "fields": d.Fields}}
}

// faulty returns an answer with f in its place, if there is one.
func faulty(answer mcp.JSONRPCMessage, f *faultError) mcp.JSONRPCMessage {
	id, refused := answered(answer)
	if f == nil && refused != nil && refused.Code == mcp.INVALID_REQUEST {
		// The transport has checked the request itself: what mcp-go could not read
		// are its params.
		f = &faultError{code: mcp.INVALID_PARAMS, message: clip(refused.Message, maxProblem)}
	}
	if f == nil {
		return answer
	}
	details := mcp.JSONRPCErrorDetails{Code: f.code, Message: f.message}
	if f.data != nil {
		details.Data = f.data
	}
	return mcp.JSONRPCError{JSONRPC: mcp.JSONRPC_VERSION, ID: id, Error: details}
}

// streamSession is the session of a subscriptions/listen stream.
type streamSession interface {
	server.SessionWithSubscriptionFilter
	server.SessionWithResourceSubscriptionsErr
	server.SessionWithClientInfo
}

// refusing is the session of a stream that is refused when there is a fault:
// mcp-go asks it before it acknowledges anything.
type refusing struct {
	streamSession
	place **faultError
}

// SubscribeToResourceErr implements [server.SessionWithResourceSubscriptionsErr].
func (s *refusing) SubscribeToResourceErr(uri string) error {
	if f := *s.place; f != nil {
		return f
	}
	return s.streamSession.SubscribeToResourceErr(uri)
}

// aroundListen refuses a stream that is for resources alone when none of them
// can be followed. What else a stream is for goes on without them; the
// acknowledgement tells which are.
func aroundListen(ctx context.Context, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage {
	var m struct {
		Params struct{ Notifications map[string]json.RawMessage }
	}
	session, ok := server.ClientSessionFromContext(ctx).(streamSession)
	if json.Unmarshal(msg, &m) != nil || len(m.Params.Notifications) != 1 || !ok {
		return next(ctx, msg)
	}
	place := new(*faultError)
	ctx = context.WithValue((&server.MCPServer{}).WithContext(ctx, &refusing{session, place}), faultKey{}, place)
	answer := next(ctx, msg)
	return faulty(answer, *place)
}

// answered returns the id of an answer, and its error when it is one.
func answered(answer mcp.JSONRPCMessage) (mcp.RequestId, *mcp.JSONRPCErrorDetails) {
	switch a := answer.(type) {
	case mcp.JSONRPCResponse:
		return a.ID, nil
	case mcp.JSONRPCError:
		return a.ID, &a.Error
	}
	return mcp.RequestId{}, nil
}

// put makes f the answer to the request of ctx.
func (f *faultError) put(ctx context.Context) {
	if place, ok := ctx.Value(faultKey{}).(**faultError); ok {
		*place = f
	}
}

// fail makes err the answer to the request of ctx and returns it in the words
// for the client. what was to be done is for the log; about becomes part of the
// error's data.
func (t *tools) fail(ctx context.Context, what string, err error, about map[string]any) error {
	if errors.Is(err, loops.ErrClosed) {
		err = t.reopen(ctx, err)
	}
	d, ok := explain(err)
	if !ok {
		d = ErrorDetail{Code: "internal", ID: strings.ToLower(rand.Text()[:6])}
		d.Message = fmt.Sprintf("internal error %s: the server could not %s; its log says more", d.ID, what)
		t.opts.Logger.ErrorContext(ctx, "request", "error_id", d.ID, "asked", what, "error", err)
	}
	f := &faultError{code: faultCode(ctx, d.Code, about), message: d.Message, data: map[string]any{"code": d.Code}}
	maps.Copy(f.data, about)
	if len(d.Fields) > 0 {
		f.data["fields"] = d.Fields
	}
	f.put(ctx)
	return f
}

// faultCode is the JSON-RPC code for an error: what is not there is -32602
// since 2026-07-28 and was -32002 for a resource before.
func faultCode(ctx context.Context, code string, about map[string]any) int {
	switch code {
	case "not_found":
		if _, resource := about["uri"]; resource && !modern(ctx) {
			return mcp.RESOURCE_NOT_FOUND
		}
		return mcp.INVALID_PARAMS
	case "damaged", "unavailable", "cancelled", "internal":
		return mcp.INTERNAL_ERROR
	}
	return mcp.INVALID_PARAMS
}

// modern reports whether the request of ctx is of the era of 2026-07-28.
func modern(ctx context.Context) bool {
	info := server.RequestProtocolInfoFromContext(ctx)
	return info != nil && info.Modern
}
