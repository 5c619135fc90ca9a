package loopfile

import (
	"encoding/json"
	"errors"
	"slices"
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

// find returns where a field such as "until.all[0].run" or `env["A B"]` is
// written. For a field that the file does not have it is the nearest one around
// it.
func (n node) find(field string) (line, column int) {
	line, column = n.line, n.column
	for field != "" {
		key, rest := firstStep(field)
		next, ok := n.step(key)
		if !ok {
			return line, column
		}
		line, column, n, field = next.line, next.column, next.value, rest
	}
	return line, column
}

// firstStep cuts a field's path behind its first key or index.
func firstStep(field string) (step, rest string) {
	if strings.HasPrefix(field, "[") {
		if quoted, err := strconv.QuotedPrefix(field[1:]); err == nil {
			key, _ := strconv.Unquote(quoted)
			return key, strings.TrimPrefix(field[1+len(quoted):], "]")
		}
		digits, rest, _ := strings.Cut(field, "]")
		return digits + "]", rest
	}
	field = strings.TrimPrefix(field, ".")
	if end := strings.IndexAny(field, ".["); end > 0 {
		return field[:end], field[end:]
	}
	return field, ""
}

// step takes one step down: a key, or an index such as "[3]".
func (n node) step(key string) (member, bool) {
	if n.kind != sequence {
		if m, ok := n.member(key); ok {
			return m, true
		}
		// A long key is named by its beginning.
		short, cut := strings.CutSuffix(key, "…")
		i := slices.IndexFunc(n.members, func(m member) bool { return cut && strings.HasPrefix(m.key, short) })
		if i < 0 {
			return member{}, false
		}
		return n.members[i], true
	}
	i, err := strconv.Atoi(strings.Trim(key, "[]"))
	if err != nil || i < 0 || i >= len(n.items) {
		return member{}, false
	}
	item := n.items[i]
	return member{line: item.line, column: item.column, value: item}, true
}

// eachText replaces every text value in the tree, keys left alone.
func (n *node) eachText(replace func(string) (string, error)) error {
	for i := range n.items {
		if err := n.items[i].eachText(replace); err != nil {
			return err
		}
	}
	for i := range n.members {
		if err := n.members[i].value.eachText(replace); err != nil {
			return err
		}
	}
	if n.kind != scalar || !strings.HasPrefix(n.scalar, `"`) {
		return nil
	}
	var text string
	if err := json.Unmarshal([]byte(n.scalar), &text); err != nil {
		return err
	}
	text, err := replace(text)
	if err != nil {
		return problem(n.line, n.column, "%v", err)
	}
	n.scalar = quote(text)
	return nil
}
