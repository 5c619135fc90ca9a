package jsonedit

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ShapeError says that a file is JSON and not of the shape that an entry needs.
type ShapeError struct {
	Line    int
	Problem string
}

func (e *ShapeError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// Entry returns what an entry holds; ok is false when there is none.
func (d *Document) Entry(container, name string) (value map[string]any, ok bool, err error) {
	e, err := d.find(container, name)
	if err != nil || e.member == nil {
		return nil, false, err
	}
	value, isObject := d.decode(e.member.value).(map[string]any)
	if !isObject {
		return nil, false, d.shape(e.member.start, "%s is no object", name)
	}
	return value, true, nil
}

// Names returns the entries' names in the order of the file.
func (d *Document) Names(container string) ([]string, error) {
	e, err := d.find(container, "")
	if err != nil || e.container == nil {
		return nil, err
	}
	var names []string
	for _, m := range e.container.members {
		names = append(names, m.key)
	}
	return names, nil
}

// found is the place of an entry; what is nil is not there.
type found struct {
	holder    int   // the container's place among the root's members
	container *node // an object
	index     int   // the entry's place among the container's members
	member    *member
}

func (d *Document) find(container, name string) (f found, err error) {
	if d.root == nil {
		return f, nil
	}
	if d.root.kind != '{' {
		return f, d.shape(d.root.start, "the file holds no object")
	}
	if f.holder, err = d.member(d.root, container); err != nil || f.holder < 0 {
		return f, err
	}
	c := d.root.members[f.holder]
	if c.value.kind != '{' {
		return f, d.shape(c.start, "%s is no object", container)
	}
	f.container = c.value
	if f.index, err = d.member(f.container, name); err != nil || f.index < 0 {
		return f, err
	}
	f.member = &f.container.members[f.index]
	return f, nil
}

// member returns the place of a key, -1 when it is not there. One that stands
// there twice is nobody's to change: readers differ in which one counts.
func (d *Document) member(object *node, key string) (int, error) {
	index := -1
	for i, m := range object.members {
		if m.key != key {
			continue
		}
		if index >= 0 {
			return 0, d.shape(m.start, "%q stands here for the second time (first on line %d)", key, d.line(object.members[index].start))
		}
		index = i
	}
	return index, nil
}

func (d *Document) shape(at int, format string, args ...any) error {
	return &ShapeError{Line: d.line(at), Problem: fmt.Sprintf(format, args...)}
}

func (d *Document) line(at int) int { return bytes.Count(d.data[:at], []byte("\n")) + 1 }

// Line returns the line that an entry begins on, 0 when there is none.
func (d *Document) Line(container, name string) int {
	if f, err := d.find(container, name); err == nil && f.member != nil {
		return d.line(f.member.start)
	}
	return 0
}

// Text returns an entry as it stands in the file; empty: there is none.
func (d *Document) Text(container, name string) string {
	f, err := d.find(container, name)
	if err != nil || f.member == nil {
		return ""
	}
	return string(d.data[f.member.start:f.member.value.end])
}

// decode returns a value without what only the file's dialect knows.
func (d *Document) decode(n *node) any {
	switch n.kind {
	case '{':
		object := map[string]any{}
		for _, m := range n.members {
			object[m.key] = d.decode(m.value)
		}
		return object
	case '[':
		array := []any{}
		for _, item := range n.items {
			array = append(array, d.decode(item))
		}
		return array
	}
	var v any
	_ = json.Unmarshal(d.data[n.start:n.end], &v) // it was valid when it was read
	return v
}

// All returns the whole value, nil when there is none.
func (d *Document) All() any {
	if d.root == nil {
		return nil
	}
	return d.decode(d.root)
}
