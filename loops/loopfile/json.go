package loopfile

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// parseJSON reads a JSON document into a tree.
func parseJSON(text string) (node, error) {
	r := jsonReader{text: text, dec: json.NewDecoder(strings.NewReader(text))}
	r.dec.UseNumber()
	tree, err := r.value(0)
	if err != nil {
		return node{}, err
	}
	if r.next(); r.offset() < len(text) {
		line, column := position(text, r.offset())
		return node{}, problem(line, column, "text follows the end of the JSON value; a loop file holds one object")
	}
	return tree, checkTop(tree)
}

type jsonReader struct {
	text  string
	dec   *json.Decoder
	at    int
	nodes int
}

// next moves to the start of the next token.
func (r *jsonReader) next() {
	r.at = int(r.dec.InputOffset())
	for r.at < len(r.text) && strings.IndexByte(" \t\n,:", r.text[r.at]) >= 0 {
		r.at++
	}
}

func (r *jsonReader) offset() int { return r.at }

func (r *jsonReader) token() (json.Token, int, int, error) {
	r.next()
	line, column := position(r.text, r.at)
	t, err := r.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return t, line, column, nil
	case errors.As(err, &syntax):
		line, column = position(r.text, max(int(syntax.Offset)-1, 0))
		return nil, line, column, problem(line, column, "the JSON is broken: %s", syntax)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, line, column, problem(line, column, "the JSON ends too early: a bracket or a quote is not closed")
	}
	return nil, line, column, problem(line, column, "the JSON is broken: %v", err)
}

func (r *jsonReader) value(depth int) (node, error) {
	t, line, column, err := r.token()
	if err != nil {
		return node{}, err
	}
	if err := bounds(&r.nodes, depth, line, column); err != nil {
		return node{}, err
	}
	n := node{line: line, column: column}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			n.kind = sequence
			n.items, err = r.items(depth)
			return n, err
		}
		n.kind = mapping
		n.members, err = r.members(depth)
		return n, err
	case string:
		n.scalar = quote(t)
	case json.Number:
		n.scalar = t.String()
	case bool:
		n.scalar = map[bool]string{true: "true", false: "false"}[t]
	case nil:
		n.scalar = "null"
	}
	return n, nil
}

func (r *jsonReader) items(depth int) ([]node, error) {
	var items []node
	for r.dec.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	_, _, _, err := r.token()
	return items, err
}

func (r *jsonReader) members(depth int) ([]member, error) {
	var members keyed
	for r.dec.More() {
		t, line, column, err := r.token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string)
		if err := members.claim(key, line, column); err != nil {
			return nil, err
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		members.add(member{key: key, line: line, column: column, value: value})
	}
	_, _, _, err := r.token()
	return members.list, err
}

// keyed collects the members of a mapping and refuses a key that comes twice.
type keyed struct {
	list []member
	line map[string]int
}

func (k *keyed) claim(key string, line, column int) error {
	if key == "" || !utf8.ValidString(key) {
		return problem(line, column, "a key is empty")
	}
	if first, ok := k.line[key]; ok {
		return problem(line, column, "%s: this key is there twice; the first one is on line %d", key, first)
	}
	if k.line == nil {
		k.line = make(map[string]int)
	}
	k.line[key] = line
	return nil
}

func (k *keyed) add(m member) { k.list = append(k.list, m) }

// bounds counts one more value and refuses trees that are too large or deep.
func bounds(nodes *int, depth, line, column int) error {
	if *nodes++; *nodes > maxNodes {
		return problem(line, column, "the file holds more than %d values, aliases included", maxNodes)
	}
	if depth > maxDepth {
		return problem(line, column, "the file is nested deeper than %d levels", maxDepth)
	}
	return nil
}

// checkTop refuses documents that are not a mapping.
func checkTop(tree node) error {
	if tree.kind != mapping {
		return problem(tree.line, tree.column, "the file must be a mapping of keys to values (key: value), got %s", describe(tree))
	}
	return nil
}

func describe(n node) string {
	switch {
	case n.kind == sequence:
		return "a list"
	case n.scalar == "null":
		return "nothing"
	}
	return "plain text"
}
