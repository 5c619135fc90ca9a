package streamhttp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/server"
)

// Handler is the MCP endpoint, and whatever else [Handler.Handle] puts behind the same door. It is
// safe for concurrent use.
type Handler struct {
	server   *server.MCPServer
	opts     Options
	door     door
	mux      *http.ServeMux
	sessions *sessions
	load     load
	greet    func()

	ending context.Context // of long streams
	end    context.CancelFunc
	ctx    context.Context
	cancel context.CancelFunc // of all calls

	quiet   context.Context
	silence context.CancelFunc // of all calls: nothing more is written for them

	mu     sync.Mutex
	calls  int
	ended  bool
	silent chan struct{} // closed when ended and no call is left
}

// New returns a handler that serves s. opts may be nil. Several handlers may share one server.
func New(s *server.MCPServer, opts *Options) *Handler {
	o := opts.withDefaults()
	h := &Handler{
		server:   s,
		opts:     o,
		door:     newDoor(o),
		mux:      http.NewServeMux(),
		sessions: newSessions(s, o),
		load:     newLoad(o),
		silent:   make(chan struct{}),
	}
	h.ending, h.end = context.WithCancel(context.Background())
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.quiet, h.silence = context.WithCancel(context.Background())
	h.greet = sync.OnceFunc(func() {
		if o.FirstMessage != nil {
			o.FirstMessage()
		}
	})
	h.mux.HandleFunc(o.Path, h.endpoint)
	h.mux.HandleFunc("/", h.elsewhere)
	return h
}

// Handle serves pattern, as [http.ServeMux] reads it, behind the same checks of Host, Origin and
// token. The request's context is what Options.Context made of it. It must be called before the
// handler serves.
func (h *Handler) Handle(pattern string, handler http.Handler) { h.mux.Handle(pattern, handler) }

// ServeHTTP lets a request in and passes it on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 { // also a body that nobody reads: net/http waits for the rest of it before the next request
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // a reader without deadlines has none
	}
	owner, ok := h.door.admit(w, r)
	if !ok {
		h.opts.Logger.Debug("request not let in", "from", r.RemoteAddr, "host", r.Host, "origin", r.Header.Get("Origin"), "path", r.URL.Path)
		return
	}
	ctx := context.WithValue(r.Context(), ownerKey{}, owner)
	if h.opts.Context != nil {
		ctx = h.opts.Context(ctx, owner)
	}
	h.mux.ServeHTTP(w, r.WithContext(ctx))
}

type ownerKey struct{}

// ownerOf is the name of the token that the request came with.
func ownerOf(r *http.Request) string {
	owner, _ := r.Context().Value(ownerKey{}).(string)
	return owner
}

func (h *Handler) elsewhere(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusNotFound, "nothing is here; the MCP endpoint is "+h.opts.Path)
}

// endpoint serves the MCP endpoint.
func (h *Handler) endpoint(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		h.post(w, r)
	case r.Method == http.MethodGet && !isModern(r.Header):
		h.get(w, r)
	case r.Method == http.MethodDelete && !isModern(r.Header):
		h.delete(w, r)
	default:
		allow := "POST, GET, DELETE"
		if isModern(r.Header) {
			allow = "POST"
		}
		w.Header().Set("Allow", allow)
		refuse(w, http.StatusMethodNotAllowed, r.Method+" is not served here; this protocol version has "+allow)
	}
}

// begin counts a call in; false: the handler has ended.
func (h *Handler) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	h.calls++
	return true
}

func (h *Handler) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls--
	if h.ended && h.calls == 0 {
		close(h.silent)
	}
}
