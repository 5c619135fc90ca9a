package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

// The methods that a transport itself has to know.
const (
	MethodInitialize  = string(mcp.MethodInitialize)
	MethodListen      = string(mcp.MethodSubscriptionsListen)
	MethodInitialized = "notifications/initialized"
	MethodCancelled   = string(mcp.MethodNotificationCancelled)
)

// Message is what a transport needs to know about one message.
type Message struct {
	ID      []byte // as it is to be written in the answer; nil for a notification or response
	Key     string // the id by value; of a response: of the request that it answers
	Method  string // empty for a response
	Cancels string // the key a notifications/cancelled names
}

// Refusal is why a message is not dispatched.
type Refusal struct {
	ID   []byte // nil: null
	Code int
	Text string
}

// member is the raw value of a JSON object's member: a part of the message itself, not a copy, which
// is safe because nobody changes a message. Nil: no such member.
type member []byte

// UnmarshalJSON accepts any value.
func (m *member) UnmarshalJSON(data []byte) error {
	*m = data
	return nil
}

// Parse reads the envelope of one message; the members' meaning is mcp-go's business.
func Parse(data []byte) (Message, *Refusal) {
	var env struct {
		JSONRPC member `json:"jsonrpc"`
		ID      member `json:"id"`
		Method  member `json:"method"`
		Params  member `json:"params"`
		Result  member `json:"result"`
		Error   member `json:"error"`
	}
	if err := json.Unmarshal(data, &env); err != nil {
		return Message{}, refuseJSON(err)
	}
	answers := env.Result != nil || env.Error != nil
	if env.Method == nil && answers {
		_, key, _ := ParseID(env.ID)
		return Message{Key: key}, nil
	}
	var m Message
	if env.ID != nil {
		var ok bool
		if m.ID, m.Key, ok = ParseID(env.ID); !ok {
			return Message{}, &Refusal{Code: mcp.INVALID_REQUEST, Text: "id must be a string or a number"}
		}
	}
	if text := m.parseMethod(env.JSONRPC, env.Method); text != "" {
		return Message{}, &Refusal{m.ID, mcp.INVALID_REQUEST, text}
	}
	if answers {
		return Message{}, &Refusal{m.ID, mcp.INVALID_REQUEST, "a request has no result and no error"}
	}
	if m.Method == MethodCancelled {
		m.Cancels = cancelledKey(env.Params)
	}
	return m, nil
}

// refuseJSON tells text that is no JSON from JSON that is no object.
func refuseJSON(err error) *Refusal {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return &Refusal{Code: mcp.PARSE_ERROR, Text: "the message is not JSON: " + err.Error()}
	}
	return &Refusal{Code: mcp.INVALID_REQUEST, Text: "a message is one JSON object; batches are not supported"}
}

// parseMethod sets m.Method and returns what is wrong with it, if anything.
func (m *Message) parseMethod(version, method member) string {
	var v string
	if json.Unmarshal(orNull(version), &v) != nil || v != mcp.JSONRPC_VERSION {
		return `jsonrpc must be "2.0"`
	}
	if json.Unmarshal(orNull(method), &m.Method) != nil || m.Method == "" {
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
	_, key, _ := ParseID(p.RequestID)
	return key
}

// ParseID returns a copy of a raw id for the answer, and its value as a key. Only strings and numbers
// that a float64 can hold are ids; mcp-go reads them as such.
func ParseID(raw []byte) (id []byte, key string, ok bool) {
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
