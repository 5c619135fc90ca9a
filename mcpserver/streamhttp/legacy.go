package streamhttp

import (
	"net/http"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
)

// codeSession is the JSON-RPC error code that other servers give to a session that is not there.
const codeSession = -32001

// postLegacy serves a message of 2025-11-25 and earlier: in a session, and the end of the connection
// changes nothing.
func (h *Handler) postLegacy(p *reply, r *http.Request, k *call) {
	if version := r.Header.Get(mcp.HeaderProtocolVersion); version != "" && !mcp.IsValidProtocolVersion(version) && k.Method != rpc.MethodInitialize {
		k.drop(p, http.StatusBadRequest, mcp.INVALID_REQUEST, "unsupported protocol version in "+mcp.HeaderProtocolVersion)
		return
	}
	if k.Method == rpc.MethodInitialize && k.ID != nil {
		h.initialize(p, r, k)
		return
	}
	client := h.session(p, r, k)
	if client == nil {
		return
	}
	release := k.done
	k.done = func() {
		release()
		client.leave(h.opts.SessionIdle)
	}
	switch {
	case k.Method == "":
		client.asks.Resolve(k.Key, k.body)
		k.cancel()
		k.done()
		p.status(http.StatusAccepted)
	case k.Method == rpc.MethodCancelled && k.ID == nil:
		client.cancel(k.Cancels)
		k.cancel()
		k.done()
		p.status(http.StatusAccepted)
	default:
		h.callIn(client, p, r, k)
	}
}

// session finds the session that the message belongs to, or refuses the message.
func (h *Handler) session(p *reply, r *http.Request, k *call) *clientSession {
	id := r.Header.Get(headerSession)
	if id == "" {
		k.drop(p, http.StatusBadRequest, rpc.CodeBusy, "the header "+headerSession+" is missing; send initialize first, and its answer's session with every message")
		return nil
	}
	client := h.sessions.find(id, ownerOf(r))
	if client == nil {
		k.drop(p, http.StatusNotFound, codeSession, errNoSession.Error())
	}
	return client
}

// initialize serves the request that makes a session.
func (h *Handler) initialize(p *reply, r *http.Request, k *call) {
	client := h.sessions.make(ownerOf(r))
	k.client = client
	k.out = &opening{reply: p, id: k.ID, sessions: h.sessions, client: client}
	p.settle() // the header waits for the session
	if h.start(p, k) {
		p.hold(r.Context(), h.opts.KeepAlive, nil)
	}
}

// opening is the sink of an initialize: its answer makes the session known.
type opening struct {
	*reply
	id       []byte
	sessions *sessions
	client   *clientSession
}

func (o *opening) notify([]byte) {} // nothing is said before the answer

func (o *opening) answer(status int, data []byte) {
	if o.client.ProtocolVersion() == "" { // refused
		o.client.end()
		_ = o.document(status, data)
		return
	}
	if err := o.sessions.add(o.client); err != nil {
		o.sessions.remove(o.client)
		o.client.end()
		_ = o.document(http.StatusServiceUnavailable, rpc.ErrorLine(o.id, rpc.CodeBusy, err.Error()))
		return
	}
	o.w.Header().Set(headerSession, o.client.ID)
	if o.document(status, data) != nil {
		o.sessions.remove(o.client) // the client does not know it
	}
}

// callIn serves a message within its session.
func (h *Handler) callIn(client *clientSession, p *reply, r *http.Request, k *call) {
	k.client = client
	k.detach(client.ctx) // it outlives its connection and ends with the session
	out, err := client.open(k)
	if err != nil {
		k.drop(p, http.StatusBadRequest, mcp.INVALID_REQUEST, err.Error())
		return
	}
	k.out = out
	out.attach(p)
	release := k.done
	k.done = func() {
		client.forget(k, out)
		release()
	}
	if !h.start(p, k) {
		return
	}
	p.hold(r.Context(), h.opts.KeepAlive, nil)
	out.detach(p)
}

// get opens the stream for what a session has to say outside requests, or goes on with one that broke.
func (h *Handler) get(w http.ResponseWriter, r *http.Request) {
	p := newReply(w, r, h.opts.WriteTimeout)
	if !p.streams {
		refuse(w, http.StatusNotAcceptable, "Accept must have text/event-stream")
		return
	}
	owner := ownerOf(r)
	client := h.present(w, r)
	if client == nil {
		return
	}
	defer client.leave(h.opts.SessionIdle)
	if h.ending.Err() != nil {
		h.busy(p, nil, errEnding)
		return
	}
	done := h.load.stream(owner)
	if done == nil {
		h.busy(p, nil, errBusy)
		return
	}
	defer done()
	s, err := client.listen(p, r.Header.Get(mcp.HeaderLastEventID))
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	p.hold(r.Context(), h.opts.KeepAlive, h.ending.Done())
	s.detach(p)
}

// listen makes p the connection of the stream that last belongs to.
func (s *clientSession) listen(p *reply, last string) (*stream, error) {
	if last == "" {
		s.outside.attach(p)
		return s.outside, p.stream()
	}
	number, seq, err := parseEventID(last)
	if err != nil {
		return nil, err
	}
	found := s.stream(number)
	return found, found.resume(p, seq)
}

// delete ends a session.
func (h *Handler) delete(w http.ResponseWriter, r *http.Request) {
	client := h.present(w, r)
	if client == nil {
		return
	}
	client.leave(h.opts.SessionIdle)
	h.sessions.remove(client)
	w.WriteHeader(http.StatusNoContent)
}

// present finds the session of a request without a message, or refuses the request.
func (h *Handler) present(w http.ResponseWriter, r *http.Request) *clientSession {
	id := r.Header.Get(headerSession)
	if id == "" {
		refuse(w, http.StatusBadRequest, "the header "+headerSession+" is missing")
		return nil
	}
	client := h.sessions.find(id, ownerOf(r))
	if client == nil {
		refuse(w, http.StatusNotFound, errNoSession.Error())
	}
	return client
}

// refuse answers with one sentence.
func refuse(w http.ResponseWriter, status int, text string) {
	http.Error(w, text, status)
}
