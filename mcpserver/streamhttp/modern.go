package streamhttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// isModern reports whether the header says a version without sessions.
func isModern(header http.Header) bool {
	return mcp.IsModernProtocol(header.Get(mcp.HeaderProtocolVersion))
}

// bodyIsModern reports whether the message says such a version.
func bodyIsModern(data []byte) bool { return mcp.IsModernProtocol(metaVersion(data)) }

func metaVersion(data []byte) string {
	var message struct {
		Params struct {
			Meta *mcp.Meta `json:"_meta"`
		} `json:"params"`
	}
	if json.Unmarshal(data, &message) != nil {
		return ""
	}
	return message.Params.Meta.ProtocolVersion()
}

// postModern serves a message of 2026-07-28 and later: no session, and the end of the connection is
// the end of the call.
func (h *Handler) postModern(p *reply, r *http.Request, k *call) {
	if bad := h.checkModern(r.Header, k); bad != nil {
		bad.ID = mcp.NewRequestId(json.RawMessage(orNull(k.ID)))
		k.cancel()
		k.done()
		data, _ := rpc.Encode(bad) // of texts and a valid id: always JSON
		_ = p.document(http.StatusBadRequest, data)
		return
	}
	k.out = direct{p}
	if k.isListen() && !h.openStream(p, r, k) {
		return
	}
	if !h.start(p, k) {
		return
	}
	p.hold(r.Context(), h.opts.KeepAlive, nil)
	k.silence() // the client is gone; an answered call does not mind
}

// openStream counts k as a long stream, not as a call, and ends it well with the handler.
func (h *Handler) openStream(p *reply, r *http.Request, k *call) bool {
	if !p.streams {
		k.drop(p, http.StatusNotAcceptable, mcp.INVALID_REQUEST, "subscriptions/listen is answered by a stream; Accept must have text/event-stream")
		return false
	}
	done := h.load.stream(ownerOf(r))
	if done == nil {
		k.cancel()
		k.done()
		h.busy(p, k.ID, errBusy)
		return false
	}
	k.done()
	stop := context.AfterFunc(h.ending, k.cancel)
	k.done = func() {
		stop()
		done()
	}
	return true
}

// checkModern compares the header with the message.
func (h *Handler) checkModern(header http.Header, k *call) *mcp.JSONRPCError {
	if k.Method == "" {
		return problem(mcp.INVALID_REQUEST, "this protocol version has no responses of clients; what the server asks is answered with the next request")
	}
	said, meant := header.Get(mcp.HeaderProtocolVersion), metaVersion(k.body)
	switch {
	case said == "":
		return mismatch(mcp.HeaderProtocolVersion, "missing required header")
	case meant == "":
		return problem(mcp.INVALID_PARAMS, "missing or invalid _meta field "+mcp.MetaKeyProtocolVersion)
	case said != meant:
		return mismatch(mcp.HeaderProtocolVersion, fmt.Sprintf("header value %q does not match body value %q", said, meant))
	case !mcp.IsValidProtocolVersion(meant):
		bad := mcp.UnsupportedProtocolVersionError{Version: meant, Supported: mcp.ValidProtocolVersions}.JSONRPCError()
		return &bad
	case k.ID == nil:
		return nil
	}
	for _, name := range []string{mcp.HeaderProtocolVersion, mcp.HeaderMethod, mcp.HeaderName} {
		if len(header.Values(name)) > 1 {
			return mismatch(name, "sent more than once")
		}
	}
	if err := h.checkHeaders(header, meant, k); err != nil {
		return problem(mcp.HEADER_MISMATCH, err.Error())
	}
	return nil
}

func (h *Handler) checkHeaders(header http.Header, version string, k *call) error {
	var message struct {
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(k.body, &message); err != nil {
		return err
	}
	if err := mcp.ValidateStandardHeaders(header.Get, version, mcp.MCPMethod(k.Method), message.Params); err != nil {
		return err
	}
	switch k.Method {
	case "tasks/get", "tasks/update", "tasks/cancel": // others of 2025-11-25 are no methods any more
		return checkTask(header, message.Params)
	case string(mcp.MethodToolsCall):
		return h.checkParams(header, message.Params)
	}
	return nil
}

// checkTask compares Mcp-Name with the task that the message names.
func checkTask(header http.Header, params json.RawMessage) error {
	var p struct {
		TaskID string `json:"taskId"`
	}
	_ = json.Unmarshal(params, &p) // a message without a task is for its handler to refuse
	name, ok := mcp.DecodeHeaderValue(header.Get(mcp.HeaderName))
	if !ok || name != p.TaskID {
		return mcp.HeaderMismatchError{Header: mcp.HeaderName, Reason: fmt.Sprintf("header value %q does not match body value %q", name, p.TaskID)}
	}
	return nil
}

// checkParams compares the headers that a tool's schema names with its arguments.
func (h *Handler) checkParams(header http.Header, params json.RawMessage) error {
	var p struct {
		Name string `json:"name"`
	}
	var tool *server.ServerTool
	if json.Unmarshal(params, &p) == nil {
		tool = h.server.GetTool(p.Name)
	}
	if tool == nil {
		return nil // for the handler to refuse
	}
	look := func(name string) (string, bool) {
		values := header.Values(name)
		if len(values) == 0 {
			return "", false
		}
		return values[0], true
	}
	return mcp.ValidateParamHeadersLookup(look, &tool.Tool, params)
}

func mismatch(header, reason string) *mcp.JSONRPCError {
	return problem(mcp.HEADER_MISMATCH, mcp.HeaderMismatchError{Header: header, Reason: reason}.Error())
}

func problem(code int, text string) *mcp.JSONRPCError {
	return &mcp.JSONRPCError{JSONRPC: mcp.JSONRPC_VERSION, Error: mcp.NewJSONRPCErrorDetails(code, text, nil)}
}

func orNull(id []byte) []byte {
	if id == nil {
		return []byte("null")
	}
	return id
}

// statusOf is the status that goes with an error of a modern request.
func statusOf(code int) int {
	switch code {
	case mcp.METHOD_NOT_FOUND:
		return http.StatusNotFound
	case mcp.HEADER_MISMATCH, mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, mcp.UNSUPPORTED_PROTOCOL_VERSION,
		mcp.INVALID_REQUEST, mcp.INVALID_PARAMS, mcp.PARSE_ERROR:
		return http.StatusBadRequest
	case rpc.CodeBusy:
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}
