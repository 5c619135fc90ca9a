package tasks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// The methods that the layer answers.
const (
	methodGet    = "tasks/get"
	methodUpdate = "tasks/update"
	methodCancel = "tasks/cancel"
)

// Options are the choices that [New] leaves open. Nil and the zero value are useful.
type Options struct {
	Info     *mcp.Implementation // of the server, for the results that the layer makes; nil: left out
	MaxTasks int                 // that one stream watches; 0: 100
	Interval time.Duration       // between two notifications of one task to one stream; 0: 250ms
	Logger   *slog.Logger        // for internal errors; nil: discards
}

// Next is what a request would come to without the layer.
type Next = func(context.Context, json.RawMessage) mcp.JSONRPCMessage

// Layer answers what the extension adds to a server. It is safe for concurrent use and keeps nothing
// between requests.
type Layer struct {
	backend Backend
	opts    Options
}

// New returns a layer for the tasks of b. opts may be nil.
func New(b Backend, opts *Options) *Layer {
	l := &Layer{backend: b}
	if opts != nil {
		l.opts = *opts
	}
	if l.opts.MaxTasks <= 0 {
		l.opts.MaxTasks = 100
	}
	if l.opts.Interval <= 0 {
		l.opts.Interval = 250 * time.Millisecond
	}
	if l.opts.Logger == nil {
		l.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return l
}

// Around answers one request, itself or by next. It has the form of the transports' hook of that
// name. The context must carry the request's session; see [server.MCPServer.WithContext].
func (l *Layer) Around(ctx context.Context, method string, msg json.RawMessage, next Next) mcp.JSONRPCMessage {
	switch mcp.MCPMethod(method) {
	case mcp.MethodServerDiscover:
		return discovered(next(ctx, msg))
	case mcp.MethodToolsCall, mcp.MethodSubscriptionsListen, methodGet, methodUpdate, methodCancel:
	default:
		return next(ctx, msg)
	}
	r, ok := read(msg)
	if !ok {
		return next(ctx, msg)
	}
	switch mcp.MCPMethod(method) {
	case mcp.MethodToolsCall:
		return l.call(ctx, r, msg, next)
	case mcp.MethodSubscriptionsListen:
		return l.listen(ctx, r, msg, next)
	}
	if !r.declared {
		return r.undeclared()
	}
	result, err := l.answer(ctx, method, r)
	if err != nil {
		return l.refuse(ctx, method, r, err)
	}
	return r.result(l.named(result, mcp.ResultTypeComplete))
}

// answer carries out one of the extension's own methods.
func (l *Layer) answer(ctx context.Context, method string, r request) (map[string]any, error) {
	id, err := r.taskID()
	if err != nil {
		return nil, err
	}
	switch method {
	case methodGet:
		t, err := l.backend.Get(ctx, id)
		return t.shownTo(r.caps).detail(), err
	case methodUpdate:
		responses, err := r.responses()
		if err == nil {
			err = l.backend.Update(ctx, id, responses)
		}
		return map[string]any{}, err
	default:
		return map[string]any{}, l.backend.Cancel(ctx, id)
	}
}

// call lets a tool answer with a task.
func (l *Layer) call(ctx context.Context, r request, msg json.RawMessage, next Next) mcp.JSONRPCMessage {
	o := &offer{open: r.declared}
	resp := next(context.WithValue(ctx, offerKey{}, o), withoutHint(msg))
	task, required := o.outcome()
	switch {
	case required:
		return r.undeclared()
	case task != nil:
		return r.result(l.named(task.seed(), "task"))
	}
	return resp
}

// withoutHint drops params.task, by which clients of the older form ask for a task: here it means
// nothing, and mcp-go would refuse it.
func withoutHint(msg json.RawMessage) json.RawMessage {
	var message, params map[string]json.RawMessage
	if json.Unmarshal(msg, &message) != nil || json.Unmarshal(message["params"], &params) != nil {
		return msg
	}
	if _, has := params["task"]; !has {
		return msg
	}
	delete(params, "task")
	var err error
	if message["params"], err = json.Marshal(params); err != nil {
		return msg
	}
	replaced, err := json.Marshal(message)
	if err != nil {
		return msg
	}
	return replaced
}

// discovered adds the extension to what a server can do.
func discovered(resp mcp.JSONRPCMessage) mcp.JSONRPCMessage {
	r, ok := resp.(mcp.JSONRPCResponse)
	if !ok {
		return resp
	}
	switch found := r.Result.(type) {
	case mcp.DiscoverResult:
		r.Result = withExtension(found)
	case *mcp.DiscoverResult:
		r.Result = withExtension(*found)
	}
	return r
}

func withExtension(d mcp.DiscoverResult) mcp.DiscoverResult {
	extensions := maps.Clone(d.Capabilities.Extensions) // shared by all answers
	if extensions == nil {
		extensions = make(map[string]any, 1)
	}
	extensions[Extension] = map[string]any{}
	d.Capabilities.Extensions, d.Capabilities.Tasks = extensions, nil
	return d
}

// named completes a result that the layer made.
func (l *Layer) named(m map[string]any, kind mcp.ResultType) map[string]any {
	m["resultType"] = kind
	if l.opts.Info != nil {
		m["_meta"] = map[string]any{mcp.MetaKeyServerInfo: l.opts.Info}
	}
	return m
}

func (r request) result(m map[string]any) mcp.JSONRPCMessage {
	return mcp.JSONRPCResponse{JSONRPC: mcp.JSONRPC_VERSION, ID: mcp.NewRequestId(r.id), Result: m}
}

func (r request) error(code int, message string, data any) mcp.JSONRPCMessage {
	return mcp.JSONRPCError{JSONRPC: mcp.JSONRPC_VERSION, ID: mcp.NewRequestId(r.id), Error: mcp.NewJSONRPCErrorDetails(code, message, data)}
}

// undeclared tells the client what it has to declare.
func (r request) undeclared() mcp.JSONRPCMessage {
	return r.error(mcp.MISSING_REQUIRED_CLIENT_CAPABILITY,
		"this needs a client that declares the extension "+Extension+" in the request's capabilities",
		map[string]any{"requiredCapabilities": map[string]any{"extensions": map[string]any{Extension: map[string]any{}}}})
}

// refuse words an error of a backend.
func (l *Layer) refuse(ctx context.Context, method string, r request, err error) mcp.JSONRPCMessage {
	var param *ParamError
	var told *Error
	switch {
	case errors.Is(err, ErrNotFound):
		return r.error(mcp.INVALID_PARAMS, "task not found: taskId is unknown here, or the task was deleted after its ttlMs", nil)
	case errors.As(err, &param):
		return r.error(mcp.INVALID_PARAMS, strings.ReplaceAll(err.Error(), "\n", "; "), nil)
	case errors.As(err, &told):
		return r.error(told.Code, told.Message, told.Data)
	case ctx.Err() != nil:
		return r.error(mcp.INTERNAL_ERROR, "the request was ended; the task is not affected", nil)
	}
	id := strings.ToLower(rand.Text()[:6])
	l.opts.Logger.ErrorContext(ctx, "task request", "error_id", id, "method", method, "error", err)
	return r.error(mcp.INTERNAL_ERROR, "internal error "+id+": the server could not carry out "+method+"; its log says more, the task is not affected", nil)
}
