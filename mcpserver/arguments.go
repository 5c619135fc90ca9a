package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
)

type argumentsKey struct{}

// KeepArguments takes the arguments out of a tools/call message, byte for byte,
// and keeps them in the returned context; the returned message has empty
// arguments instead. Other messages, and those that cannot be read, come back
// as they are. It fits stdio's Options.Before.
func KeepArguments(ctx context.Context, method string, msg json.RawMessage) (context.Context, json.RawMessage) {
	if method != string(mcp.MethodToolsCall) {
		return ctx, msg
	}
	var message, params map[string]json.RawMessage
	if json.Unmarshal(msg, &message) != nil || json.Unmarshal(message["params"], &params) != nil {
		return ctx, msg
	}
	raw, ok := params["arguments"]
	if !ok {
		return ctx, msg
	}
	params["arguments"] = json.RawMessage("{}")
	var err error
	if message["params"], err = json.Marshal(params); err != nil {
		return ctx, msg
	}
	replaced, err := json.Marshal(message)
	if err != nil {
		return ctx, msg
	}
	return context.WithValue(ctx, argumentsKey{}, raw), replaced
}

// rawArguments returns the arguments of a call as the client wrote them, or as
// near to that as the transport allows.
func rawArguments(ctx context.Context, r mcp.CallToolRequest) ([]byte, error) {
	raw, kept := ctx.Value(argumentsKey{}).(json.RawMessage)
	if !kept {
		raw = r.Params.RawArguments
	}
	if len(raw) == 0 && r.Params.Arguments != nil {
		var err error
		if raw, err = json.Marshal(r.Params.Arguments); err != nil {
			return nil, &loops.FieldError{Field: "arguments", Problem: "must be a JSON object: " + err.Error()}
		}
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return []byte("{}"), nil
	}
	if raw[0] != '{' {
		return nil, &loops.FieldError{Field: "arguments", Problem: "must be a JSON object such as " + `{"loop_id": "fix-build-7k3q"}`}
	}
	return raw, nil
}

// checker is what a tool's arguments can say about themselves once they are
// decoded: joined [loops.FieldError]s.
type checker interface{ check() error }

// decode reads a tool's arguments into the struct that into points to. All
// problems are reported together: when some fields cannot be read or are
// wrong, the others are still checked.
func decode(raw []byte, into checker) error {
	err := loops.Decode(raw, into)
	switch {
	case err == nil:
		err = into.check()
	case salvage(raw, into):
		err = joinProblems(err, into.check())
	default:
		return err
	}
	if more, ok := into.(interface{ rest() error }); ok && err != nil {
		err = joinProblems(err, more.rest())
	}
	return err
}

// salvage reads those fields that can be read. It is false when the arguments
// are not even JSON.
func salvage(raw []byte, into checker) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return false
	}
	for key, value := range fields {
		if one, err := json.Marshal(map[string]json.RawMessage{key: value}); err == nil {
			_ = loops.Decode(one, into) // its problem is known already
		}
	}
	return true
}

// joinProblems adds to first the problems of more that concern other top-level
// fields: about a field that could not be read nothing else can be known.
func joinProblems(first, more error) error {
	known := map[string]bool{}
	for _, e := range loops.FieldErrors(first) {
		known[topField(e.Field)] = true
	}
	all := []error{first}
	for _, e := range loops.FieldErrors(more) {
		if !known[topField(e.Field)] {
			all = append(all, e)
		}
	}
	return errors.Join(all...)
}

func topField(path string) string {
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return path
}
