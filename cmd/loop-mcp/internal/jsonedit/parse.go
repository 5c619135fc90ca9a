package jsonedit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Dialect says what a client's reader takes for JSON.
type Dialect int

// The dialects.
const (
	Comments Dialect = iota // with // and /* */ comments and commas before a closing bracket
	Plain                   // the standard alone
)

// SyntaxError says where a file is no JSON.
type SyntaxError struct {
	Line, Column int // counted from 1; columns in characters
	Problem      string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Problem)
}

// Document is a file that was read, with the place of everything in it.
type Document struct {
	data     []byte
	root     *node // nil: there is no value
	comments bool
}

// node is a value; start and end are its first byte and the one behind it.
type node struct {
	kind       byte // { [ " or 0 for numbers and words
	start, end int
	members    []member // of an object
	items      []*node  // of an array
}

// member is one of an object's.
type member struct {
	key   string
	start int // of the key
	value *node
	comma int // behind the value; -1: none
}

// maxDepth is how deep values may be nested: deeper ones are an attack on the
// stack, not a configuration.
const maxDepth = 500

const bom = "\xef\xbb\xbf"

// Parse reads a file. One without any value is a document, too: it has no entry.
// The error is a [*SyntaxError].
func Parse(data []byte, d Dialect) (*Document, error) {
	p := &parser{data: data, dialect: d}
	if bytes.HasPrefix(data, []byte(bom)) {
		p.at = len(bom)
	} else if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, &SyntaxError{1, 1, "the file is UTF-16; save it as UTF-8"}
	}
	root, err := p.document()
	if err != nil {
		return nil, p.at1(err)
	}
	return &Document{data: data, root: root, comments: p.comments}, nil
}

// HasComments reports whether there is a comment.
func (d *Document) HasComments() bool { return d.comments }

type parser struct {
	data     []byte
	dialect  Dialect
	at       int
	depth    int
	comments bool
}

// at1 gives an error its place.
func (p *parser) at1(err error) error {
	before := p.data[:min(p.at, len(p.data))]
	line := bytes.LastIndexByte(before, '\n') + 1
	return &SyntaxError{Line: bytes.Count(before, []byte("\n")) + 1, Column: utf8.RuneCount(before[line:]) + 1, Problem: err.Error()}
}

func (p *parser) document() (*node, error) {
	if err := p.space(); err != nil || p.at == len(p.data) {
		return nil, err
	}
	root, err := p.value()
	if err == nil {
		err = p.space()
	}
	if err == nil && p.at < len(p.data) {
		err = errors.New("there is more behind the end of the value")
	}
	return root, err
}

// space skips what means nothing.
func (p *parser) space() error {
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case isSpace(c):
			p.at++
		case c == '/':
			if err := p.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func (p *parser) comment() error {
	rest := p.data[p.at:]
	line, block := bytes.HasPrefix(rest, []byte("//")), bytes.HasPrefix(rest, []byte("/*"))
	if !line && !block {
		return errors.New("unexpected '/'")
	}
	if p.dialect == Plain {
		return errors.New("a comment, which this client does not read")
	}
	p.comments = true
	if line {
		if n := bytes.IndexByte(rest, '\n'); n >= 0 {
			p.at += n
			return nil
		}
		p.at = len(p.data)
		return nil
	}
	n := bytes.Index(rest[2:], []byte("*/"))
	if n < 0 {
		return errors.New("a comment without its end */")
	}
	p.at += n + 4
	return nil
}

func (p *parser) value() (*node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	if p.at == len(p.data) {
		return nil, errors.New("the file ends where a value is expected")
	}
	switch p.data[p.at] {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		start := p.at
		_, err := p.text()
		return &node{kind: '"', start: start, end: p.at}, err
	}
	return p.word()
}

// text reads a string.
func (p *parser) text() (string, error) {
	start := p.at
	for at := start + 1; at < len(p.data); at++ {
		switch c := p.data[at]; {
		case c == '\\':
			at++
		case c == '"':
			var s string
			if err := json.Unmarshal(p.data[start:at+1], &s); err != nil {
				return "", errors.New("a string that is not well-formed")
			}
			p.at = at + 1
			return s, nil
		case c < ' ':
			return "", errors.New("a string without its end")
		}
	}
	return "", errors.New("a string without its end")
}

// word reads a number, true, false or null.
func (p *parser) word() (*node, error) {
	start, end := p.at, p.at
	for end < len(p.data) && (p.data[end] == '-' || p.data[end] == '+' || p.data[end] == '.' || isLetter(p.data[end])) {
		end++
	}
	if !json.Valid(p.data[start:end]) {
		if start == end {
			r, _ := utf8.DecodeRune(p.data[start:])
			return nil, fmt.Errorf("unexpected %q", r)
		}
		return nil, fmt.Errorf("%q is no value", clip(string(p.data[start:end])))
	}
	p.at = end
	return &node{start: start, end: end}, nil
}

func isLetter(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func (p *parser) object() (*node, error) {
	n := &node{kind: '{', start: p.at}
	p.at++
	for {
		if err := p.space(); err != nil {
			return nil, err
		}
		if p.closes('}', len(n.members) > 0 && n.members[len(n.members)-1].comma >= 0) {
			n.end = p.at
			return n, nil
		}
		if len(n.members) > 0 && n.members[len(n.members)-1].comma < 0 {
			return nil, errors.New("a comma or } is expected")
		}
		m, err := p.member()
		if err != nil {
			return nil, err
		}
		n.members = append(n.members, m)
	}
}

// closes takes the bracket that ends an object or array. A comma before it is
// for the dialect with comments alone.
func (p *parser) closes(bracket byte, afterComma bool) bool {
	if p.at == len(p.data) || p.data[p.at] != bracket || afterComma && p.dialect == Plain {
		return false
	}
	p.at++
	return true
}

func (p *parser) member() (m member, err error) {
	if p.at == len(p.data) || p.data[p.at] != '"' {
		return m, errors.New(`a key in "quotes" is expected`)
	}
	m.start, m.comma = p.at, -1
	if m.key, err = p.text(); err != nil {
		return m, err
	}
	if err := p.space(); err != nil {
		return m, err
	}
	if p.at == len(p.data) || p.data[p.at] != ':' {
		return m, errors.New("a colon is expected")
	}
	p.at++
	if err := p.space(); err != nil {
		return m, err
	}
	if m.value, err = p.value(); err != nil {
		return m, err
	}
	m.comma, err = p.comma()
	return m, err
}

// comma takes a comma and returns its place, -1 when there is none.
func (p *parser) comma() (int, error) {
	if err := p.space(); err != nil {
		return -1, err
	}
	if p.at == len(p.data) || p.data[p.at] != ',' {
		return -1, nil
	}
	p.at++
	return p.at - 1, nil
}

func (p *parser) array() (*node, error) {
	n := &node{kind: '[', start: p.at}
	p.at++
	comma := -1
	for {
		if err := p.space(); err != nil {
			return nil, err
		}
		if p.closes(']', comma >= 0) {
			n.end = p.at
			return n, nil
		}
		if len(n.items) > 0 && comma < 0 {
			return nil, errors.New("a comma or ] is expected")
		}
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, item)
		if comma, err = p.comma(); err != nil {
			return nil, err
		}
	}
}
