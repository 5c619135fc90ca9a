package tomledit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError says where a file is no TOML.
type SyntaxError struct {
	Line    int // counted from 1
	Problem string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// Document is a file that was read.
type Document struct {
	data       []byte
	statements []statement
	all        map[string]any
	comments   bool
}

// HasComments reports whether there is a comment.
func (d *Document) HasComments() bool { return d.comments }

// statement is a line with content: the head of a table or a key with its value.
type statement struct {
	head  bool
	array bool // of a head: [[…]]
	path  []string
	start int // of its line
	end   int // behind the line on which it ends

	value               any // of a key: string, bool, []any, map[string]any or Word
	valueStart, valueAt int // the value's place: first byte and the one behind it
}

// Word is a value that is neither text, list nor table: a number, a date, true.
type Word string

const bom = "\xef\xbb\xbf"

// maxDepth is how deep lists and inline tables may be nested.
const maxDepth = 200

// Parse reads a file. The error is a [*SyntaxError].
func Parse(data []byte) (*Document, error) {
	p := &parser{data: data}
	if bytes.HasPrefix(data, []byte(bom)) {
		p.at = len(bom)
	}
	d := &Document{data: data}
	err := p.document(d)
	if err == nil {
		err = p.assemble(d)
	}
	if err != nil {
		return nil, &SyntaxError{Line: bytes.Count(data[:min(p.at, len(data))], []byte("\n")) + 1, Problem: err.Error()}
	}
	d.comments = p.comments
	return d, nil
}

type parser struct {
	data     []byte
	at       int
	depth    int
	comments bool
}

// peek is the byte that comes next, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) has(text string) bool { return bytes.HasPrefix(p.data[p.at:], []byte(text)) }

// blanks skips spaces and tabs.
func (p *parser) blanks() {
	for p.peek() == ' ' || p.peek() == '\t' {
		p.at++
	}
}

func (p *parser) document(d *Document) error {
	if !utf8.Valid(p.data) {
		return errors.New("the file is not UTF-8")
	}
	for i, c := range p.data {
		if c == '\r' && !bytes.HasPrefix(p.data[i+1:], []byte("\n")) {
			p.at = i
			return errors.New("a carriage return that ends no line")
		}
	}
	for p.at < len(p.data) {
		start := p.at
		p.blanks()
		if !p.lineIsOver() {
			s, err := p.statement()
			if err != nil {
				return err
			}
			s.start = start
			p.blanks()
			if !p.lineIsOver() {
				return fmt.Errorf("unexpected %q behind a value or table", clip(p.restOfLine()))
			}
			d.statements = append(d.statements, s)
		}
		p.skipLine()
		if n := len(d.statements); n > 0 && d.statements[n-1].end == 0 {
			d.statements[n-1].end = p.at
		}
	}
	return nil
}

// lineIsOver reports whether nothing but a comment is left of a line.
func (p *parser) lineIsOver() bool {
	return p.at == len(p.data) || p.peek() == '#' || p.peek() == '\n' || p.has("\r\n")
}

func (p *parser) restOfLine() string {
	line, _, _ := strings.Cut(string(p.data[p.at:]), "\n")
	return strings.TrimSpace(line)
}

func (p *parser) skipLine() {
	p.comments = p.comments || p.peek() == '#'
	if n := bytes.IndexByte(p.data[p.at:], '\n'); n >= 0 {
		p.at += n + 1
		return
	}
	p.at = len(p.data)
}

func (p *parser) statement() (s statement, err error) {
	if p.peek() == '[' {
		return p.head()
	}
	if s.path, err = p.path(); err != nil {
		return s, err
	}
	if p.peek() != '=' {
		return s, fmt.Errorf("= is expected behind the key %s", strings.Join(s.path, "."))
	}
	p.at++
	p.blanks()
	s.valueStart = p.at
	s.value, err = p.value()
	s.valueAt = p.at
	return s, err
}

func (p *parser) head() (s statement, err error) {
	closing := "]"
	if s.head, s.array = true, p.has("[["); s.array {
		p.at, closing = p.at+1, "]]"
	}
	p.at++
	p.blanks()
	if s.path, err = p.path(); err != nil {
		return s, err
	}
	if !p.has(closing) {
		return s, fmt.Errorf("%s is expected behind the name of a table", closing)
	}
	p.at += len(closing)
	return s, nil
}

// path reads a key with its dots.
func (p *parser) path() (path []string, err error) {
	for {
		key, err := p.key()
		if err != nil {
			return nil, err
		}
		path = append(path, key)
		p.blanks()
		if p.peek() != '.' {
			return path, nil
		}
		p.at++
		p.blanks()
	}
}

func (p *parser) key() (string, error) {
	switch p.peek() {
	case '"', '\'':
		if p.has(`"""`) || p.has("'''") {
			return "", errors.New("a key is no text of several lines")
		}
		return p.text()
	}
	start := p.at
	for isBare(p.peek()) {
		p.at++
	}
	if start == p.at {
		return "", fmt.Errorf("a key is expected, not %q", clip(p.restOfLine()))
	}
	return string(p.data[start:p.at]), nil
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

// assemble makes the whole of the statements, and sees that nothing is given twice.
func (p *parser) assemble(d *Document) error {
	d.all = map[string]any{}
	table := d.all
	heads := map[string]bool{}
	for _, s := range d.statements {
		p.at = s.start
		var err error
		switch name := strings.Join(s.path, "\x00"); {
		case s.array:
			table, err = below(d.all, s.path, true)
		case s.head && heads[name]:
			err = fmt.Errorf("the table %s is there for the second time", strings.Join(s.path, "."))
		case s.head:
			heads[name] = true
			table, err = below(d.all, s.path, false)
		default:
			err = put(table, s.path, s.value)
		}
		if err != nil {
			return err
		}
		if s.array { // its tables may come again
			for name := range heads {
				if strings.HasPrefix(name, strings.Join(s.path, "\x00")+"\x00") {
					delete(heads, name)
				}
			}
		}
	}
	return nil
}

// below returns the table with a path, making what is missing; the last one is
// the newest of a list of tables when element is set.
func below(table map[string]any, path []string, element bool) (map[string]any, error) {
	for i, key := range path {
		last := i == len(path)-1
		switch v := table[key].(type) {
		case nil:
			next := map[string]any{}
			table[key] = next
			if last && element {
				table[key] = []any{next}
			}
			table = next
		case map[string]any:
			if last && element {
				return nil, fmt.Errorf("%s is a table and no list of tables", strings.Join(path, "."))
			}
			table = v
		case []any:
			newest, isTable := map[string]any{}, true
			if last && element {
				table[key] = append(v, newest)
			} else if len(v) > 0 {
				newest, isTable = v[len(v)-1].(map[string]any)
			}
			if !isTable {
				return nil, fmt.Errorf("%s is a list and no table", key)
			}
			table = newest
		default:
			return nil, fmt.Errorf("%s is a value and no table", key)
		}
	}
	return table, nil
}

func put(table map[string]any, path []string, value any) error {
	table, err := below(table, path[:len(path)-1], false)
	if err != nil {
		return err
	}
	key := path[len(path)-1]
	if _, twice := table[key]; twice {
		return fmt.Errorf("the key %s is there for the second time", strings.Join(path, "."))
	}
	table[key] = value
	return nil
}
