package streamhttp

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
)

const headerSession = "Mcp-Session-Id"

// post takes one message.
func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	p := newReply(w, r, h.opts.WriteTimeout)
	if !p.jsons && !p.streams {
		refuse(w, http.StatusNotAcceptable, "Accept must have application/json and text/event-stream")
		return
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "Content-Type must be application/json")
		return
	}
	owner := ownerOf(r)
	done := h.load.call(owner)
	if done == nil {
		h.busy(p, nil, errBusy)
		return
	}
	body := &counted{Reader: http.MaxBytesReader(w, r.Body, int64(h.opts.MaxBody)), load: &h.load}
	release := func() { body.release(); done() }
	data, err := readAll(p.control, body)
	if err != nil {
		release()
		h.unread(p, err)
		return
	}
	m, bad := rpc.Parse(data)
	if bad != nil {
		release()
		_ = p.document(http.StatusBadRequest, rpc.ErrorLine(bad.ID, bad.Code, bad.Text))
		return
	}
	h.greet()
	k := newCall(r.Context(), m, data)
	k.done, k.header = release, r.Header
	if k.modern = isModern(r.Header) || bodyIsModern(data); k.modern {
		h.postModern(p, r, k)
	} else {
		h.postLegacy(p, r, k)
	}
}

// readAll reads the body within bodyTimeout.
func readAll(control *http.ResponseController, body io.Reader) ([]byte, error) {
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // a reader without deadlines has none
	data, err := io.ReadAll(body)
	if err == nil { // else nobody waits any longer for the rest of it
		_ = control.SetReadDeadline(time.Time{})
	}
	return data, err
}

// unread tells why the body was not read.
func (h *Handler) unread(p *reply, err error) {
	switch tooLong := (*http.MaxBytesError)(nil); {
	case errors.As(err, &tooLong):
		_ = p.document(http.StatusRequestEntityTooLarge, rpc.ErrorLine(nil, mcp.INVALID_REQUEST, "the message is longer than the server takes; send a shorter one"))
	case errors.Is(err, errBytes):
		h.busy(p, nil, err)
	default:
		_ = p.document(http.StatusBadRequest, rpc.ErrorLine(nil, mcp.PARSE_ERROR, "the message did not arrive whole"))
	}
}

// busy refuses what may succeed in a moment.
func (h *Handler) busy(p *reply, id []byte, why error) {
	p.w.Header().Set("Retry-After", "1")
	_ = p.document(http.StatusServiceUnavailable, rpc.ErrorLine(id, rpc.CodeBusy, why.Error()))
}

// start serves k on its own goroutine, unless the handler has ended.
func (h *Handler) start(p *reply, k *call) bool {
	if !h.begin() {
		k.cancel()
		k.done()
		h.busy(p, k.ID, errEnding)
		return false
	}
	if k.ID == nil {
		p.settle()
	}
	cancelled, silenced := context.AfterFunc(h.ctx, k.cancel), context.AfterFunc(h.quiet, k.silence)
	release := k.done
	k.done = func() {
		cancelled()
		silenced()
		release()
		h.finish()
	}
	go h.run(k)
	return true
}

// drop refuses k before it has begun.
func (k *call) drop(p *reply, status, code int, text string) {
	k.cancel()
	k.done()
	_ = p.document(status, rpc.ErrorLine(k.ID, code, text))
}

// accepts tells which forms of an answer the client takes. Without Accept: both.
func accepts(header http.Header) (document, stream bool) {
	values := header.Values("Accept")
	if len(values) == 0 {
		return true, true
	}
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		media, _, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "*/*":
			return true, true
		case "application/json", "application/*":
			document = true
		case "text/event-stream", "text/*":
			stream = true
		}
	}
	return document, stream
}
