package tomledit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"example.com/loop-mcp/cmd/loop-mcp/internal/fields"
)

// ShapeError says that an entry is written in a way that is not changed here.
type ShapeError struct {
	Line    int
	Problem string
}

func (e *ShapeError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// Field is a key of an entry and its value: text, a list of texts or a truth
// value.
type Field = fields.Field

// Entry returns what an entry holds, however it is written; ok is false when
// there is none.
func (d *Document) Entry(container, name string) (value map[string]any, ok bool, err error) {
	holder, there := d.all[container]
	if !there {
		return nil, false, nil
	}
	entries, isTable := holder.(map[string]any)
	if !isTable {
		return nil, false, d.shape(container, "", "is no table")
	}
	entry, there := entries[name]
	if !there {
		return nil, false, nil
	}
	if value, isTable = entry.(map[string]any); !isTable {
		return nil, false, d.shape(container, name, "is no table")
	}
	return value, true, nil
}

// Names returns the names of the entries, sorted.
func (d *Document) Names(container string) ([]string, error) {
	holder, there := d.all[container]
	entries, isTable := holder.(map[string]any)
	if there && !isTable {
		return nil, d.shape(container, "", "is no table")
	}
	var names []string
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Line returns the line that an entry begins on, 0 when there is none.
func (d *Document) Line(container, name string) int {
	var table []string
	for _, s := range d.statements {
		path := s.path
		if s.head {
			table = s.path
		} else {
			path = slices.Concat(table, s.path)
		}
		if len(path) > 0 && path[0] == container && (name == "" || len(path) > 1 && path[1] == name) {
			return bytes.Count(d.data[:s.start], []byte("\n")) + 1
		}
		if value, inline := s.value.(map[string]any); inline && name != "" && len(path) == 1 && path[0] == container && value[name] != nil {
			return bytes.Count(d.data[:s.start], []byte("\n")) + 1
		}
	}
	return 0
}

func (d *Document) shape(container, name, problem string) error {
	what := container
	if name != "" {
		what += "." + name
	}
	return &ShapeError{Line: d.Line(container, name), Problem: what + " " + problem}
}

// block is a table with its keys: a range of the file's lines.
type block struct{ first, last int } // statements

// blocks returns the tables of an entry, that with its own name and those below.
// An error says that it is written in another way.
func (d *Document) blocks(container, name string) ([]block, error) {
	_, there, err := d.Entry(container, name)
	if err != nil || !there {
		return nil, err
	}
	var blocks []block
	var table []string
	for i, s := range d.statements {
		path := s.path
		if s.head {
			table = s.path
		} else {
			path = slices.Concat(table, s.path)
		}
		ours := len(path) > 1 && path[0] == container && path[1] == name
		below := len(table) > 1 && table[0] == container && table[1] == name
		switch {
		case ours && s.head:
			blocks = append(blocks, block{i, i})
		case ours && below:
			blocks[len(blocks)-1].last = i
		case ours:
			return nil, d.shape(container, name, "is not written as a table of its own; change it by hand")
		}
	}
	if len(blocks) == 0 {
		return nil, d.shape(container, name, "is not written as a table of its own; change it by hand")
	}
	return blocks, nil
}

// Text returns an entry as it stands in the file; empty: there is none, or none
// that could be changed.
func (d *Document) Text(container, name string) string {
	blocks, err := d.blocks(container, name)
	if err != nil {
		return ""
	}
	var texts []string
	for _, b := range blocks {
		texts = append(texts, string(d.data[d.statements[b.first].start:d.statements[b.last].end]))
	}
	return strings.TrimRight(strings.Join(texts, ""), "\r\n")
}

// Set returns the file with an entry, behind everything else or in place of the
// one with its name. The file itself is not changed.
func (d *Document) Set(container, name string, fields []Field) ([]byte, error) {
	blocks, err := d.blocks(container, name)
	if err != nil {
		return nil, err
	}
	eol := d.eol()
	lines := []string{"[" + quoteKey(container) + "." + quoteKey(name) + "]"}
	for _, f := range fields {
		lines = append(lines, quoteKey(f.Key)+" = "+written(f.Value))
	}
	text := strings.Join(lines, eol)
	if len(blocks) > 0 {
		return d.without(blocks[1:], edit{d.statements[blocks[0].first].start, d.lineEnd(blocks[0].last), text}), nil
	}
	for _, s := range d.statements { // what was written on one line can't be added to
		if !s.head && len(s.path) == 1 && s.path[0] == container {
			return nil, d.shape(container, "", "is written on one line; change it by hand")
		}
	}
	before := string(d.data)
	switch {
	case strings.TrimPrefix(before, bom) == "":
		return []byte(before + text + eol), nil
	case !strings.HasSuffix(before, "\n"):
		return []byte(before + eol + text), nil
	}
	return []byte(before + eol + text + eol), nil
}

// SetField returns the file with one text of an entry changed or added, the rest
// of the entry as it is. ok is false when there is no such entry.
func (d *Document) SetField(container, name, key, text string) (data []byte, ok bool, err error) {
	blocks, err := d.blocks(container, name)
	if err != nil || len(blocks) == 0 {
		return nil, false, err
	}
	for _, b := range blocks {
		if len(d.statements[b.first].path) != 2 {
			continue
		}
		for _, s := range d.statements[b.first+1 : b.last+1] {
			if len(s.path) == 1 && s.path[0] == key {
				return d.splice(edit{s.valueStart, s.valueAt, quote(text)}), true, nil
			}
		}
		at := d.lineEnd(b.first)
		return d.splice(edit{at, at, d.eol() + quoteKey(key) + " = " + quote(text)}), true, nil
	}
	return nil, false, d.shape(container, name, "has no table of its own; change it by hand")
}

// Remove returns the file without an entry; ok is false when there is none. The
// file itself is not changed.
func (d *Document) Remove(container, name string) (data []byte, ok bool, err error) {
	blocks, err := d.blocks(container, name)
	if err != nil || len(blocks) == 0 {
		return nil, false, err
	}
	return d.without(blocks), true, nil
}

// without takes tables away, each with one empty line before it.
func (d *Document) without(blocks []block, edits ...edit) []byte {
	for _, b := range blocks {
		start, end := d.statements[b.first].start, d.statements[b.last].end
		if end == len(d.data) && d.data[end-1] != '\n' { // the file's last line has no end, and shall have none
			start = d.before(start)
		} else if line := d.before(start); line > 0 && d.data[line-1] == '\n' {
			start = line
		}
		if n := len(edits); n > 0 {
			start = max(start, edits[n-1].end)
		}
		edits = append(edits, edit{start, end, ""})
	}
	return d.splice(edits...)
}

// before returns the place before the line end that stands before at.
func (d *Document) before(at int) int {
	if at > 0 && d.data[at-1] == '\n' {
		at--
		if at > 0 && d.data[at-1] == '\r' {
			at--
		}
	}
	return at
}

// lineEnd is where a statement's line ends, before the line end.
func (d *Document) lineEnd(statement int) int { return d.before(d.statements[statement].end) }

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

func (d *Document) eol() string {
	if n := bytes.IndexByte(d.data, '\n'); n > 0 && d.data[n-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

func quoteKey(key string) string {
	if key != "" && !strings.ContainsFunc(key, func(r rune) bool { return r > 127 || !isBare(byte(r)) }) {
		return key
	}
	return quote(key)
}

func written(value any) string { return fields.Written(value, quote) }

// quote writes a text: in single quotes when it has backslashes, as paths of
// Windows do.
func quote(text string) string {
	if strings.Contains(text, `\`) && !strings.ContainsFunc(text, func(r rune) bool { return r == '\'' || unicode.IsControl(r) }) {
		return "'" + text + "'"
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}
