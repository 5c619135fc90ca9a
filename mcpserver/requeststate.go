package mcpserver

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// stateLife is how long a person may take: a question in the evening is
// answered in the morning. That a state is used once is the loop's matter: an
// attention id is answered once.
const stateLife = 24 * time.Hour

// maxState bounds a requestState before anything is done with it.
const maxState = 2048

// stateKey names the key of the store that signs request states.
const stateKey = "request-state"

var (
	errForged  = errors.New("requestState is not what this server gave for this very call")
	errExpired = errors.New("requestState is older than 24h")
)

// asked is what a requestState says: which question of which loop a client is
// to bring the answer to.
type asked struct {
	Loop  loops.ID `json:"l"`
	About string   `json:"a"` // the attention id
	Until int64    `json:"u"` // Unix seconds
}

// caller is what a requestState holds for besides: the same call of the same
// owner. It is signed and not sent.
type caller struct {
	tool, owner string
	args        []byte // as JSON
}

// stateOf returns the text that a client brings back.
func stateOf(key []byte, who caller, a asked) string {
	body, _ := json.Marshal(a) // plain data: cannot fail
	code := base64.RawURLEncoding
	return code.EncodeToString(body) + "." + code.EncodeToString(sign(key, who, body))
}

// openState returns what stateOf was given, or why the text is not to be
// believed. The text comes from outside: nothing of it is looked at before its
// signature.
func openState(key []byte, who caller, state string, now time.Time) (asked, error) {
	if len(state) > maxState {
		return asked{}, errForged
	}
	left, right, _ := strings.Cut(state, ".")
	body, err := decodeState(left)
	mac, err2 := decodeState(right)
	if err != nil || err2 != nil || len(key) == 0 || !hmac.Equal(mac, sign(key, who, body)) {
		return asked{}, errForged
	}
	var a asked
	if json.Unmarshal(body, &a) != nil {
		return asked{}, errForged
	}
	if now.Unix() > a.Until {
		return asked{}, errExpired
	}
	return a, nil
}

// decodeState refuses what encoding does not write: base64 readers skip line
// breaks.
func decodeState(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errForged
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// sign signs the body together with the call, each part with its length.
func sign(key []byte, who caller, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte("loop-mcp request state 1"), []byte(who.tool), []byte(who.owner), canonical(who.args), body} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		h.Write(part)
	}
	return h.Sum(nil)
}

// canonical writes arguments alike that differ in the order of keys and in
// white space only: a client may write its retry anew.
func canonical(args []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return args
	}
	data, err := json.Marshal(v)
	if err != nil {
		return args
	}
	return data
}

// fingerprint is a short name for a state.
func fingerprint(state string) string {
	sum := sha256.Sum256([]byte(state))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
