package loops

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads the tokens of JSON. Its errors are broken JSON; texts that are
// sound JSON but not acceptable come back with a problem.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

// broken is the error for JSON that cannot be read on from here.
func (s *scanner) broken(what string) error {
	before := s.data[:min(s.pos, len(s.data))]
	line := 1 + bytes.Count(before, []byte("\n"))
	start := bytes.LastIndexByte(before, '\n') + 1
	column := 1 + utf8.RuneCount(before[start:])
	return &FieldError{
		Problem: fmt.Sprintf("not valid JSON at column %d: %s", column, what),
		Line:    line, Column: column,
	}
}

func (s *scanner) unexpected(wanted string) error {
	if s.pos >= len(s.data) {
		return s.broken("it ends where " + wanted + " should be")
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return s.broken(fmt.Sprintf("%q where %s should be", r, wanted))
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the first byte of the next token, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return s.unexpected(word)
	}
	s.pos += len(word)
	return nil
}

func startsNumber(b byte) bool { return b == '-' || b >= '0' && b <= '9' }

// number returns the next number as it is written.
func (s *scanner) number() (string, error) {
	start := s.pos
	if s.data[s.pos] == '-' {
		s.pos++
	}
	leadingZero := s.pos < len(s.data) && s.data[s.pos] == '0'
	if n := s.digits(); n == 0 || leadingZero && n > 1 {
		return "", s.broken("a number is not complete or begins with 0")
	}
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		if s.digits() == 0 {
			return "", s.unexpected("a digit")
		}
	}
	if s.pos < len(s.data) && (s.data[s.pos] == 'e' || s.data[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if s.digits() == 0 {
			return "", s.unexpected("a digit")
		}
	}
	return string(s.data[start:s.pos]), nil
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - start
}

// text returns the next text, and what makes it unacceptable.
func (s *scanner) text() (text, problem string, err error) {
	start := s.pos + 1
	escaped, err := s.textEnd()
	if err != nil {
		return "", "", err
	}
	raw := s.data[start : s.pos-1]
	if i := bytes.IndexAny(raw, "\n\r\t"); i >= 0 {
		return "", fmt.Sprintf(`must have line breaks and tabs written as \n and \t (byte %d)`, i+1), nil
	}
	text = string(raw)
	if escaped {
		if text, problem = unescape(raw); problem != "" {
			return "", problem, nil
		}
	}
	return text, textProblem(text), nil
}

// textEnd moves behind the closing quote.
func (s *scanner) textEnd() (escaped bool, err error) {
	open := s.pos
	for s.pos++; s.pos < len(s.data); s.pos++ {
		switch s.data[s.pos] {
		case '"':
			s.pos++
			return escaped, nil
		case '\\':
			escaped = true
			s.pos++
			if s.pos == len(s.data) {
				break
			}
			if s.data[s.pos] == 'u' {
				if _, ok := hex4(s.data[s.pos+1:]); !ok {
					return false, s.broken(`\u is not followed by four hexadecimal digits`)
				}
				s.pos += 4
			} else if strings.IndexByte(`"\/bfnrt`, s.data[s.pos]) < 0 {
				return false, s.unexpected(`one of " \ / b f n r t u after \`)
			}
		}
	}
	s.pos = open
	return false, s.broken("the text that begins here has no closing quote")
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(v), err == nil
}

// unescape resolves the escapes of a text whose syntax is known to be right.
func unescape(raw []byte) (text, problem string) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		if raw[i] != 'u' {
			out = append(out, plainEscape(raw[i]))
			continue
		}
		r, _ := hex4(raw[i+1:])
		i += 4
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if i+2 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
				low, ok = hex4(raw[i+3:])
			}
			pair := utf16.DecodeRune(r, low)
			if !ok || pair == utf8.RuneError {
				return "", fmt.Sprintf(`must be valid Unicode, \u%04x is half a character`, r)
			}
			r = pair
			i += 6
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out), ""
}

func plainEscape(b byte) byte {
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return b
}

// members reads an object and calls each with every key, standing before its
// value.
func (s *scanner) members(each func(key, problem string) error) error {
	return s.sequence('}', `"," or "}"`, func(int) error {
		if s.peek() != '"' {
			return s.unexpected("a key in quotes")
		}
		key, problem, err := s.text()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return s.unexpected(`":"`)
		}
		s.pos++
		return each(key, problem)
	})
}

// items reads a list and calls each before every value.
func (s *scanner) items(each func(i int) error) error {
	return s.sequence(']', `"," or "]"`, each)
}

func (s *scanner) sequence(end byte, wanted string, each func(i int) error) error {
	if s.depth++; s.depth > maxNesting {
		return s.broken(fmt.Sprintf("it is nested deeper than %d levels", maxNesting))
	}
	s.pos++
	if s.peek() == end {
		s.pos++
		s.depth--
		return nil
	}
	for i := 0; ; i++ {
		s.space()
		if err := each(i); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case end:
			s.pos++
			s.depth--
			return nil
		default:
			return s.unexpected(wanted)
		}
	}
}

// skip moves behind the next value. With check, it returns the first thing in
// it that is not acceptable.
func (s *scanner) skip(check bool) (problem string, err error) {
	note := func(p string) {
		if check && problem == "" {
			problem = p
		}
	}
	nested := func() error {
		inner, err := s.skip(check)
		note(inner)
		return err
	}
	switch next := s.peek(); {
	case next == '{':
		seen := map[string]bool{}
		err = s.members(func(key, p string) error {
			if check {
				if seen[key] {
					note(fmt.Sprintf("has the key %q twice", shown(key)))
				}
				seen[key] = true
			}
			note(p)
			return nested()
		})
	case next == '[':
		err = s.items(func(int) error { return nested() })
	case next == '"':
		var p string
		_, p, err = s.text()
		note(p)
	case startsNumber(next):
		var n string
		n, err = s.number()
		if _, perr := strconv.ParseFloat(n, 64); err == nil && perr != nil {
			note("is too large, got " + shown(n))
		}
	case next == 't':
		err = s.literal("true")
	case next == 'f':
		err = s.literal("false")
	case next == 'n':
		err = s.literal("null")
	default:
		err = s.unexpected("a value")
	}
	return problem, err
}
