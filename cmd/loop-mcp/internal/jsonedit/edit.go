package jsonedit

import (
	"bytes"
	"encoding/json"
	"strings"

	"example.com/loop-mcp/cmd/loop-mcp/internal/fields"
)

// Field is a key of an entry and its value: text, a list of texts or a truth
// value.
type Field = fields.Field

// Set returns the file with an entry, as a new one or in place of the one with
// its name. The file itself is not changed.
func (d *Document) Set(container, name string, fields []Field) ([]byte, error) {
	f, err := d.find(container, name)
	if err != nil {
		return nil, err
	}
	s := d.style()
	switch {
	case d.root == nil:
		text := s.object("", []piece{{container, s.object(s.unit, []piece{{name, s.entry(s.unit+s.unit, fields, true)}})}})
		return []byte(string(d.data) + d.newLine(s) + text + s.eol), nil
	case f.member != nil:
		old := f.member.value
		spread := bytes.IndexByte(d.data[old.start:old.end], '\n') >= 0
		return d.splice(edit{old.start, old.end, s.entry(d.indentAt(f.member.start), fields, spread)}), nil
	case f.container != nil:
		return d.insert(f.container, name, func(indent string, spread bool) string { return s.entry(indent, fields, spread) }, s), nil
	}
	return d.insert(d.root, container, func(indent string, _ bool) string {
		return s.object(indent, []piece{{name, s.entry(indent+s.unit, fields, true)}})
	}, s), nil
}

// SetField returns the file with one text of an entry changed or added, the rest
// of the entry as it is. ok is false when there is no such entry.
func (d *Document) SetField(container, name, key, text string) (data []byte, ok bool, err error) {
	f, err := d.find(container, name)
	if err != nil || f.member == nil || f.member.value.kind != '{' {
		return nil, false, err
	}
	at, err := d.member(f.member.value, key)
	if err != nil {
		return nil, false, err
	}
	if at < 0 {
		return d.insert(f.member.value, key, func(string, bool) string { return quote(text) }, d.style()), true, nil
	}
	old := f.member.value.members[at].value
	return d.splice(edit{old.start, old.end, quote(text)}), true, nil
}

// edit replaces the bytes from start to end.
type edit struct {
	start, end int
	text       string
}

// splice carries out edits, which are in the order of the file.
func (d *Document) splice(edits ...edit) []byte {
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		out.Write(d.data[at:e.start])
		out.WriteString(e.text)
		at = e.end
	}
	out.Write(d.data[at:])
	return out.Bytes()
}

// insert adds a member at the end of an object. make gets the indentation of the
// line that the member begins on, and whether it may take several.
func (d *Document) insert(object *node, key string, make func(indent string, spread bool) string, s style) []byte {
	member := func(indent string, spread bool) string { return quote(key) + ": " + make(indent, spread) }
	if len(object.members) == 0 {
		return d.fill(object, member, s)
	}
	last := object.members[len(object.members)-1]
	end := d.endOfLine(max(last.value.end, last.comma+1))
	spread := d.beginsLine(last.start) && d.endsLine(end)
	text := " " + member("", false)
	if spread {
		indent := d.indentAt(last.start)
		text = s.eol + indent + member(indent, true)
	} else if object == d.root {
		text = " " + member(d.indentAt(object.start), true)
	}
	if last.comma >= 0 { // the file ends its lists with commas
		at := last.comma + 1
		if spread {
			at = end
		}
		return d.splice(edit{at, at, text + ","})
	}
	at := last.value.end
	if spread {
		at = end
	}
	return d.splice(edit{last.value.end, last.value.end, ","}, edit{at, at, text})
}

// fill adds a member to an object without any.
func (d *Document) fill(object *node, member func(indent string, spread bool) string, s style) []byte {
	inner := d.data[object.start+1 : object.end-1]
	outside := d.indentAt(object.start)
	indent := outside + s.unit
	if at := d.endOfLine(object.start + 1); d.endsLine(at) { // the line of the closing bracket is there
		return d.splice(edit{at, at, s.eol + indent + member(indent, true)})
	}
	at := object.end - 1
	if object == d.root && len(bytes.TrimSpace(inner)) > 0 { // a comment
		return d.splice(edit{at, at, member(outside, true)})
	}
	if object == d.root {
		return d.splice(edit{at, at, s.eol + indent + member(indent, true) + s.eol + outside})
	}
	return d.splice(edit{at, at, member("", false)})
}

// endOfLine returns the place behind the comments that stand on the line of at,
// before anything else: what is said of a value stays with it.
func (d *Document) endOfLine(at int) int {
	for end := at; ; {
		for end < len(d.data) && (d.data[end] == ' ' || d.data[end] == '\t') {
			end++
		}
		rest := d.data[end:]
		switch {
		case bytes.HasPrefix(rest, []byte("//")):
			n := bytes.IndexByte(rest, '\n')
			if n > 0 && rest[n-1] == '\r' {
				n--
			}
			return end + n // an object's end follows, so there is a line end
		case bytes.HasPrefix(rest, []byte("/*")):
			n := bytes.Index(rest, []byte("*/")) + 2
			if bytes.IndexByte(rest[:n], '\n') >= 0 {
				return at
			}
			end += n
			at = end
		default:
			return at
		}
	}
}

// beginsLine reports whether only space is before at on its line.
func (d *Document) beginsLine(at int) bool {
	line := bytes.LastIndexByte(d.data[:at], '\n') + 1
	return line > 0 && len(bytes.TrimLeft(d.data[line:at], " \t")) == 0
}

// indentAt returns the space that the line of at begins with.
func (d *Document) indentAt(at int) string {
	line := bytes.LastIndexByte(d.data[:at], '\n') + 1
	text := string(d.data[line:at])
	return text[:len(text)-len(strings.TrimLeft(text, " \t"))]
}

// newLine is what has to stand before text that is put behind the file's end.
func (d *Document) newLine(s style) string {
	rest := bytes.TrimPrefix(d.data, []byte(bom))
	if len(rest) == 0 || rest[len(rest)-1] == '\n' {
		return ""
	}
	return s.eol
}

// style is how the file is written.
type style struct{ eol, unit string }

func (d *Document) style() style {
	s := style{eol: "\n", unit: "  "}
	if n := bytes.IndexByte(d.data, '\n'); n > 0 && d.data[n-1] == '\r' {
		s.eol = "\r\n"
	}
	if d.root != nil && len(d.root.members) > 0 {
		if first := d.root.members[0].start; d.beginsLine(first) {
			if unit := strings.TrimPrefix(d.indentAt(first), d.indentAt(d.root.start)); unit != "" {
				s.unit = unit
			}
		}
	}
	return s
}

// piece is a member that is written.
type piece struct{ key, text string }

// object writes an object over several lines; the line that it begins on has
// that indentation.
func (s style) object(indent string, pieces []piece) string {
	lines := make([]string, len(pieces))
	for i, p := range pieces {
		lines[i] = indent + s.unit + quote(p.key) + ": " + p.text
	}
	return "{" + s.eol + strings.Join(lines, ","+s.eol) + s.eol + indent + "}"
}

// entry writes an entry, on one line unless it may be spread.
func (s style) entry(indent string, fields []Field, spread bool) string {
	pieces := make([]piece, len(fields))
	for i, f := range fields {
		pieces[i] = piece{f.Key, written(f.Value)}
	}
	if spread {
		return s.object(indent, pieces)
	}
	texts := make([]string, len(pieces))
	for i, p := range pieces {
		texts[i] = quote(p.key) + ": " + p.text
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

func written(value any) string { return fields.Written(value, quote) }

// quote writes a text, with <, > and & as they are.
func quote(text string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a text can be encoded
	return strings.TrimSuffix(b.String(), "\n")
}
