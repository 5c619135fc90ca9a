package tasks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/mcpserver/tasks"
	"example.com/loop-mcp/mcpserver/tasks/taskstest"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// What clients declare on a request.
const (
	plain     = `{}`
	takes     = `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`
	takesAsks = `{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`
)

// host is a server with the fixture tools behind a layer.
type host struct {
	t       *testing.T
	server  *server.MCPServer
	backend *taskstest.Backend
	layer   *tasks.Layer
}

func newHost(t *testing.T, opts *tasks.Options) *host {
	t.Helper()
	h := &host{t: t, backend: &taskstest.Backend{}}
	h.server = server.NewMCPServer("host", "1", server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true),
		server.WithExtensions(map[string]any{"com.example/other": map[string]any{}}))
	h.backend.Mount(h.server)
	t.Cleanup(h.backend.Close)
	h.layer = tasks.New(h.backend, opts)
	return h
}

// reply is an answer on the wire.
type reply struct {
	Result map[string]any `json:"result"`
	Error  *struct {
		Code    int            `json:"code"`
		Message string         `json:"message"`
		Data    map[string]any `json:"data"`
	} `json:"error"`
}

// session is a transport's session that keeps what is sent to it.
type session struct {
	channel chan mcp.JSONRPCNotification
	mu      sync.Mutex
	filter  mcp.SubscriptionFilter
}

func newSession(room int) *session {
	return &session{channel: make(chan mcp.JSONRPCNotification, room)}
}

func (s *session) Initialize()                                         {}
func (s *session) Initialized() bool                                   { return true }
func (s *session) SessionID() string                                   { return "test" }
func (s *session) NotificationChannel() chan<- mcp.JSONRPCNotification { return s.channel }
func (s *session) SetSubscriptionFilter(f mcp.SubscriptionFilter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter = f
}

func (s *session) SubscriptionFilter() (mcp.SubscriptionFilter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filter, true
}

// modern writes a request of 2026-07-28 with the capabilities.
func modern(method, caps, params string) string {
	if params != "" {
		params = "," + params
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":%s}%s}}`,
		method, caps, params)
}

// raw hands a message to the layer as a transport does.
func (h *host) raw(ctx context.Context, s server.ClientSession, msg string) reply {
	h.t.Helper()
	var env struct{ Method string }
	_ = json.Unmarshal([]byte(msg), &env)
	answer := h.layer.Around(h.server.WithContext(ctx, s), env.Method, json.RawMessage(msg), h.server.HandleMessage)
	data, err := json.Marshal(answer)
	if err != nil {
		h.t.Fatalf("answer to %.200s: %v", msg, err)
	}
	var r reply
	if err := json.Unmarshal(data, &r); err != nil || (r.Error == nil) == (r.Result == nil) {
		h.t.Fatalf("answer to %.200s: %s (%v), want a result or an error", msg, data, err)
	}
	return r
}

func (h *host) send(method, caps, params string) reply {
	h.t.Helper()
	return h.raw(h.t.Context(), newSession(100), modern(method, caps, params))
}

// begin calls a tool that makes a task and returns its id.
func (h *host) begin(tool, args string) string {
	h.t.Helper()
	r := h.send("tools/call", takesAsks, fmt.Sprintf(`"name":%q,"arguments":%s`, tool, args))
	id, _ := r.Result["taskId"].(string)
	if r.Result["resultType"] != "task" || id == "" {
		h.t.Fatalf("%s: %+v, want a task", tool, r)
	}
	return id
}

// get asks for a task.
func (h *host) get(id string) map[string]any {
	h.t.Helper()
	r := h.send("tasks/get", takesAsks, fmt.Sprintf(`"taskId":%q`, id))
	if r.Error != nil || r.Result["taskId"] != id || r.Result["resultType"] != "complete" {
		h.t.Fatalf("tasks/get %s: %+v", id, r)
	}
	return r.Result
}

// ack sends a request that is answered with nothing but "complete".
func (h *host) ack(method, params string) {
	h.t.Helper()
	r := h.send(method, takesAsks, params)
	if r.Error != nil || r.Result["resultType"] != "complete" || len(r.Result) != 1 {
		h.t.Errorf("%s %s: %+v, want an empty acknowledgement", method, params, r)
	}
}

// refused fails unless the answer is an error with that code that says the texts.
func (r reply) refused(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.Error == nil || r.Error.Code != code {
		t.Errorf("got %+v, want error %d", r, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(r.Error.Message, text) {
			t.Errorf("error %q does not say %q", r.Error.Message, text)
		}
	}
}

// listener is an open subscriptions/listen stream.
type listener struct {
	*session
	t     *testing.T
	stop  context.CancelFunc
	ended chan reply
}

// listen opens a stream, with room for that many unread notifications.
func (h *host) listen(room int, caps, notifications string) *listener {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	l := &listener{session: newSession(room), t: h.t, stop: stop, ended: make(chan reply, 1)}
	go func() {
		l.ended <- h.raw(ctx, l.session, modern("subscriptions/listen", caps, `"notifications":`+notifications))
	}()
	h.t.Cleanup(func() {
		stop()
		<-l.ended
	})
	return l
}

// next returns the next notification's method and parameters; nothing within a minute is a failure.
func (l *listener) next() (method string, params map[string]any) {
	l.t.Helper()
	select {
	case n := <-l.channel:
		data, err := json.Marshal(n)
		var wire struct {
			Method string
			Params map[string]any
		}
		if err == nil {
			err = json.Unmarshal(data, &wire)
		}
		if err != nil {
			l.t.Fatal(err)
		}
		meta, _ := wire.Params["_meta"].(map[string]any)
		if meta["io.modelcontextprotocol/subscriptionId"] != 7.0 {
			l.t.Errorf("%s has no subscriptionId: %v", wire.Method, wire.Params)
		}
		return wire.Method, wire.Params
	case <-time.After(time.Minute):
		l.t.Fatal("no notification came")
		return "", nil
	}
}

// acknowledged reads the acknowledgement and returns what it grants.
func (l *listener) acknowledged() map[string]any {
	l.t.Helper()
	method, params := l.next()
	if method != "notifications/subscriptions/acknowledged" {
		l.t.Fatalf("the stream begins with %s %v", method, params)
	}
	granted, _ := params["notifications"].(map[string]any)
	return granted
}

// task reads one push.
func (l *listener) task() map[string]any {
	l.t.Helper()
	method, params := l.next()
	if method != "notifications/tasks" {
		l.t.Fatalf("got %s %v, want notifications/tasks", method, params)
	}
	return params
}

// quiet fails when something has been sent that was not read.
func (l *listener) quiet() {
	l.t.Helper()
	synctest.Wait()
	select {
	case n := <-l.channel:
		l.t.Errorf("unexpected notification %s %v", n.Method, n.Params.AdditionalFields)
	default:
	}
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, opts *tasks.Options, tell func(h *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(newHost(t, opts)) })
}
