package stdio

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

// message is what the transport needs to know about one line.
type message struct {
	id      []byte // as it is to be written in the answer; nil for a notification or response
	key     string // the id by value
	method  string // empty for a response
	cancels string // the key a notifications/cancelled names
}

// refusal is why a line is not dispatched.
type refusal struct {
	id   []byte // nil: null
	code int
	text string
}

// member is the raw value of a JSON object's member: a part of the line itself, not a copy, which is
// safe because nobody changes a line. Nil: no such member.
type member []byte

// UnmarshalJSON accepts any value.
func (m *member) UnmarshalJSON(data []byte) error {
	*m = data
	return nil
}

// parse reads the envelope of one line; the members' meaning is mcp-go's business.
func parse(line []byte) (message, *refusal) {
	var env struct {
		JSONRPC member `json:"jsonrpc"`
		ID      member `json:"id"`
		Method  member `json:"method"`
		Params  member `json:"params"`
		Result  member `json:"result"`
		Error   member `json:"error"`
	}
	if err := json.Unmarshal(line, &env); err != nil {
		return message{}, refuseJSON(err)
	}
	answers := env.Result != nil || env.Error != nil
	if env.Method == nil && answers {
		return message{}, nil
	}
	var m message
	if env.ID != nil {
		var ok bool
		if m.id, m.key, ok = parseID(env.ID); !ok {
			return message{}, &refusal{code: mcp.INVALID_REQUEST, text: "id must be a string or a number"}
		}
	}
	if text := m.parseMethod(env.JSONRPC, env.Method); text != "" {
		return message{}, &refusal{m.id, mcp.INVALID_REQUEST, text}
	}
	if answers {
		return message{}, &refusal{m.id, mcp.INVALID_REQUEST, "a request has no result and no error"}
	}
	if m.method == methodCancelled {
		m.cancels = cancelledKey(env.Params)
	}
	return m, nil
}

// refuseJSON tells text that is no JSON from JSON that is no object.
func refuseJSON(err error) *refusal {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return &refusal{code: mcp.PARSE_ERROR, text: "the line is not JSON: " + err.Error()}
	}
	return &refusal{code: mcp.INVALID_REQUEST, text: "a message is one JSON object a line; batches are not supported"}
}

// parseMethod sets m.method and returns what is wrong with it, if anything.
func (m *message) parseMethod(version, method member) string {
	var v string
	if json.Unmarshal(orNull(version), &v) != nil || v != mcp.JSONRPC_VERSION {
		return `jsonrpc must be "2.0"`
	}
	if json.Unmarshal(orNull(method), &m.method) != nil || m.method == "" {
		return "method must be a string that is not empty"
	}
	return ""
}

func orNull(m member) []byte {
	if m == nil {
		return []byte("null")
	}
	return m
}

// cancelledKey returns the key of the request a cancellation names, or "", which no request has.
func cancelledKey(params member) string {
	var p struct {
		RequestID member `json:"requestId"`
	}
	if json.Unmarshal(orNull(params), &p) != nil {
		return ""
	}
	_, key, _ := parseID(p.RequestID)
	return key
}

// parseID returns a copy of a raw id for the answer, and its value as a key. Only strings and numbers
// that a float64 can hold are ids; mcp-go reads them as such.
func parseID(raw []byte) (id []byte, key string, ok bool) {
	if len(raw) == 0 {
		return nil, "", false
	}
	if raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return nil, "", false
		}
		return bytes.ToValidUTF8(bytes.Clone(raw), []byte("\uFFFD")), "s" + s, true
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !strings.Contains("-0123456789", string(raw[:1])) {
		return nil, "", false
	}
	return bytes.Clone(raw), "n" + numberKey(string(raw), f), true
}

// numberKey writes equal numbers alike, without making different large integers equal.
func numberKey(raw string, f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	if !strings.ContainsAny(raw, ".eE") {
		return raw
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// recoverID finds the id in the beginning of an over-long line, or returns nil.
func recoverID(head []byte) []byte {
	head = bytes.TrimPrefix(head, byteOrderMark)
	dec := json.NewDecoder(bytes.NewReader(head))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for {
		name, err := dec.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		// A value that ends where the beginning ends may be cut off.
		if dec.Decode(&value) != nil || dec.InputOffset() >= int64(len(head)) {
			return nil
		}
		if s, ok := name.(string); ok && strings.EqualFold(s, "id") {
			id, _, _ := parseID(value)
			return id
		}
	}
}
