package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go"
)

const (
	maxInline = 1 << 20   // bytes of a message, whatever the server takes
	envelope  = 4 << 10   // of it that are not its text
	maxPiece  = 128 << 10 // bytes of text in a piece; as JSON they can be six times as many
)

// encode returns JSON that is as short as it can be.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("a message of the wire: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// roomIn is how many bytes of JSON a message has where the server takes max.
func roomIn(max int64) int { return int(min(max, maxInline)) - envelope }

// pieceIn is how many bytes of text surely fit into a message.
func pieceIn(max int64) int { return min(maxPiece, roomIn(max)/6) }

// fit leaves the largest texts out of a call until it fits into a message.
func fit(c Call, max int64) Call {
	for {
		data, err := encode(c)
		if err != nil || len(data) <= roomIn(max) {
			return c
		}
		name, text := "", ""
		for _, f := range c.texts() {
			if len(*f.text) > len(text) {
				name, text = f.name, string(*f.text)
			}
		}
		for _, f := range []string{"memory", "with"} {
			if raw := c.raw(f); len(*raw) > len(text) {
				name, text = f, string(*raw)
			}
		}
		if name == "" {
			return c // the server takes next to nothing
		}
		large := map[string]int{name: len(text)}
		maps.Copy(large, c.Large)
		c.Large = large
		c.set(name, "")
	}
}

type textField struct {
	name string
	text *Text
}

func (c *Call) texts() []textField {
	return []textField{{"output", &c.Output}, {"prompt", &c.Prompt}, {"feedback", &c.Feedback}, {"goal", &c.Goal}, {"context", &c.Context}, {"steer", &c.Steer}, {"answer", &c.Answer}}
}

func (c *Call) raw(name string) *Any {
	if name == "with" {
		return &c.With
	}
	return &c.Memory
}

// set replaces a text of the call. It reports whether there is one of that name.
func (c *Call) set(name, text string) bool {
	for _, f := range c.texts() {
		if f.name == name {
			*f.text = Text(text)
			return true
		}
	}
	if name != "memory" && name != "with" {
		return false
	}
	*c.raw(name) = Any(text)
	if text == "" {
		*c.raw(name) = nil
	}
	return true
}

// whole returns a text of the call.
func (c Call) whole(name string) string {
	for _, f := range c.texts() {
		if f.name == name {
			return string(*f.text)
		}
	}
	return string(*c.raw(name))
}

// fetch answers with a piece of what was left out of the call.
func (s *start) fetch(m *nats.Msg, msg Message) {
	s.mu.Lock()
	size := 0
	if s.call != nil {
		size = s.call.Large[msg.Field]
	}
	s.mu.Unlock()
	if size == 0 {
		s.b.c.answer(m, Answer{Error: fmt.Sprintf("field: the call left no %q out", clip(msg.Field, 40))})
		return
	}
	text := CallOf(s.b.name, s.turn, time.Time{}).whole(msg.Field)
	if msg.Offset > len(text) || msg.Offset < len(text) && !utf8.RuneStart(text[msg.Offset]) {
		s.b.c.answer(m, Answer{Error: fmt.Sprintf("offset: must be where an earlier piece ended, at most %d, got %d", len(text), msg.Offset)})
		return
	}
	s.ok(m, Answer{Text: Text(piece(text[msg.Offset:], pieceIn(s.b.c.nc.MaxPayload())))})
}

// piece returns the beginning of a text, whole characters of about limit bytes.
func piece(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && limit-end < utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	if end == 0 || !utf8.RuneStart(text[end]) {
		end = limit // it is not UTF-8
	}
	return text[:end]
}

// assembly is a field that comes in parts.
type assembly struct{ text []byte }

// part takes in a piece of the output or the memory. One that came before
// changes nothing; an offset of 0 begins anew.
func (s *start) part(m Message) error {
	a := s.parts[m.Field]
	if a == nil || m.Offset == 0 && string(a.text) != string(m.Text) {
		a = &assembly{}
		s.parts[m.Field] = a
	}
	limit := loops.MaxOutputSize
	if m.Field == "memory" {
		limit = loops.MaxMemorySize
	}
	end := m.Offset + len(m.Text)
	switch {
	case end > limit:
		return wrong(m.Field, "is larger than the %d bytes that are allowed", limit)
	case m.Offset > len(a.text):
		return wrong("offset", "there are %d bytes of %s before this part, not %d", len(a.text), m.Field, m.Offset)
	case end <= len(a.text) && string(a.text[m.Offset:end]) == string(m.Text):
		return nil // sent again
	case m.Offset < len(a.text):
		return wrong("offset", "%d bytes of %s are there already; begin anew at 0, or go on there", len(a.text), m.Field)
	}
	a.text = append(a.text, m.Text...)
	return nil
}

// assemble puts what came in parts into a message.
func (s *start) assemble(m *Message) error {
	for field, size := range m.Parts {
		var text []byte
		if a := s.parts[field]; a != nil {
			text = a.text
		}
		if len(text) != size {
			return wrong("parts."+field, "says %d bytes, and %d came", size, len(text))
		}
		if field == "output" && m.Output != "" || field == "memory" && m.Memory != nil {
			return wrong(field, "came in parts and with the %s", m.Type)
		}
		if field == "output" {
			m.Output = Text(text)
			continue
		}
		if m.Memory = Any(text); !loops.ValidJSON(text) {
			return wrong("memory", "is not JSON")
		}
	}
	return nil
}
