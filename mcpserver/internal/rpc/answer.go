package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"
)

// CodeBusy is the JSON-RPC error code of a request refused because too many are in flight. The same
// request may succeed later.
const CodeBusy = -32000

// ErrorLine returns an error reply with its newline. A nil id is null.
func ErrorLine(id []byte, code int, text string) []byte {
	reply := mcp.JSONRPCError{
		JSONRPC: mcp.JSONRPC_VERSION,
		ID:      mcp.NewRequestId(nil),
		Error:   mcp.NewJSONRPCErrorDetails(code, text, nil),
	}
	if id != nil {
		reply.ID = mcp.NewRequestId(json.RawMessage(id))
	}
	data, err := Encode(reply)
	if err != nil {
		panic(fmt.Sprintf("a valid id and a text are always JSON: %v", err))
	}
	return data
}

// WithID puts the id as the client wrote it into mcp-go's answer, which has it as a float64 or not
// at all. No answer at all is an internal error.
func WithID(resp mcp.JSONRPCMessage, id []byte) mcp.JSONRPCMessage {
	raw := mcp.NewRequestId(json.RawMessage(id))
	switch r := resp.(type) {
	case mcp.JSONRPCResponse:
		r.ID = raw
		return r
	case mcp.JSONRPCError:
		r.ID = raw
		return r
	default:
		return mcp.JSONRPCError{
			JSONRPC: mcp.JSONRPC_VERSION,
			ID:      raw,
			Error:   mcp.NewJSONRPCErrorDetails(mcp.INTERNAL_ERROR, "internal error; the server's log has more", nil),
		}
	}
}

// Encode returns v as one line of JSON with its newline.
func Encode(v any) (data []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("encode: %v", r)
		}
	}()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
