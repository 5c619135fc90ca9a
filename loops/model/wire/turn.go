package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// turn is a provider's own form of an answer and the model that made it.
type turn struct {
	By   string          `json:"by"`
	Turn json.RawMessage `json:"turn"`
}

// Keep makes the value of [model.Message.Native]. Signatures and encrypted
// reasoning are good for the server and model that made them and no other, so
// the model's id stays with them.
func Keep(id string, native json.RawMessage) json.RawMessage {
	raw, err := JSON(turn{By: id, Turn: native})
	if err != nil {
		return nil // native is not JSON
	}
	return raw
}

// Kept returns what [Keep] was given; ok is false when another model made it.
func Kept(id string, native json.RawMessage) (raw json.RawMessage, ok bool) {
	var t turn
	if len(native) == 0 || json.Unmarshal(native, &t) != nil || t.By != id {
		return nil, false
	}
	return t.Turn, true
}

// JSON marshals without writing <, > and & differently.
func JSON(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// Args makes arguments of a tool of what the model wrote: an object stays,
// nothing is an empty object, anything else becomes a JSON string of the text.
// Of a call that was cut off, nothing is not an empty object.
func Args(text string, cut bool) json.RawMessage {
	trimmed := strings.TrimSpace(text)
	switch {
	case !cut && (trimmed == "" || trimmed == "null"):
		return json.RawMessage(`{}`)
	case strings.HasPrefix(trimmed, "{") && json.Valid([]byte(trimmed)):
		return json.RawMessage(trimmed)
	}
	quoted, _ := JSON(strings.ToValidUTF8(text, "\uFFFD"))
	return quoted
}

// Object makes of arguments what providers accept: an object. What was none is
// wrapped, so that the model sees what it wrote.
func Object(args json.RawMessage) json.RawMessage {
	trimmed := bytes.TrimSpace(args)
	if bytes.HasPrefix(trimmed, []byte("{")) && json.Valid(trimmed) {
		return trimmed
	}
	if len(trimmed) == 0 || string(trimmed) == "null" || !json.Valid(trimmed) {
		return json.RawMessage(`{}`)
	}
	return json.RawMessage(`{"INVALID_JSON":` + string(trimmed) + `}`)
}

// Schema makes a JSON Schema of arguments one that every provider accepts:
// OpenAI refuses an object without properties.
func Schema(schema json.RawMessage) json.RawMessage {
	var s struct {
		Type       any              `json:"type"`
		Properties *json.RawMessage `json:"properties"`
	}
	trimmed := bytes.TrimSpace(schema)
	switch {
	case len(trimmed) == 0 || string(trimmed) == "null" || string(trimmed) == "{}":
		return json.RawMessage(`{"type":"object","properties":{}}`)
	case json.Unmarshal(trimmed, &s) == nil && s.Properties == nil && s.Type == "object":
		return json.RawMessage(string(trimmed[:len(trimmed)-1]) + `,"properties":{}}`)
	}
	return schema
}

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// CallID makes the id of another wire's tool call one that a provider accepts:
// letters, digits, _ and -, at most longest. The same id gives the same one.
func CallID(id string, longest int) string {
	if len(id) <= longest && idPattern.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "call_" + hex.EncodeToString(sum[:])[:24]
}

// CacheKey shortens a cache key to the most that a provider accepts.
func CacheKey(key string, longest int) string {
	if len(key) <= longest {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])[:min(longest, 64)]
}

// ID is the name of a model for records, and the server's host when that is not
// the vendor's: "openai/gpt-5", "openai/qwen3@127.0.0.1:11434". So a model that
// a loop has pinned never becomes another server's by a change of address.
func ID(provider, name string, base *url.URL) string {
	if base == nil {
		return provider + "/" + name
	}
	return provider + "/" + name + "@" + strings.ToLower(base.Host)
}
