package loopfile

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"example.com/loop-mcp/loops"
)

// The bounds of one file's tree.
const (
	maxNodes = 10_000
	maxDepth = 64
)

// node is one value of a file and where it is written.
type node struct {
	line, column int
	kind         kind
	scalar       string   // scalar: its JSON form
	members      []member // mapping
	items        []node   // sequence
}

type kind int

const (
	scalar kind = iota
	mapping
	sequence
)

// member is one key of a mapping.
type member struct {
	key          string
	line, column int
	value        node
}

func textNode(text string, line, column int) node {
	return node{line: line, column: column, scalar: quote(text)}
}

// quote returns text as a JSON string. The text is UTF-8: see clean.
func quote(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}

// member returns the value of a key of a mapping.
func (n node) member(key string) (member, bool) {
	for _, m := range n.members {
		if m.key == key {
			return m, true
		}
	}
	return member{}, false
}

// appendJSON appends the tree as JSON.
func (n node) appendJSON(b []byte) []byte {
	switch n.kind {
	case mapping:
		b = append(b, '{')
		for i, m := range n.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, quote(m.key)...), ':')
			b = m.value.appendJSON(b)
		}
		return append(b, '}')
	case sequence:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendJSON(b)
		}
		return append(b, ']')
	default:
		return append(b, n.scalar...)
	}
}

// locate fills in the positions of errors that have none.
func locate(tree node, found []*loops.FieldError) error {
	all := make([]error, 0, len(found))
	for _, e := range found {
		placed := *e
		if placed.Line == 0 {
			placed.Line, placed.Column = tree.find(placed.Field)
		}
		all = append(all, &placed)
	}
	return errors.Join(all...)
}

// find returns where a field such as "until.all[0].run" is written. For a field
// that the file does not have it is the nearest one around it.
func (n node) find(field string) (line, column int) {
	line, column = n.line, n.column
	for field != "" {
		if rest, ok := strings.CutPrefix(field, "["); ok {
			digits, after, _ := strings.Cut(rest, "]")
			i, err := strconv.Atoi(digits)
			if err != nil || i < 0 || i >= len(n.items) {
				return line, column
			}
			n, field = n.items[i], after
			line, column = n.line, n.column
			continue
		}
		m, rest, ok := n.step(strings.TrimPrefix(field, "."))
		if !ok {
			return line, column
		}
		line, column, n, field = m.line, m.column, m.value, rest
	}
	return line, column
}

// step finds the member that field begins with. Keys may hold dots themselves:
// the longest one wins.
func (n node) step(field string) (found member, rest string, ok bool) {
	for _, m := range n.members {
		after, has := strings.CutPrefix(field, m.key)
		if !has || after != "" && after[0] != '.' && after[0] != '[' {
			continue
		}
		if !ok || len(m.key) > len(found.key) {
			found, rest, ok = m, after, true
		}
	}
	return found, rest, ok
}
