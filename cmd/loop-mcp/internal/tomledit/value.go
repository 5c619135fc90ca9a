package tomledit

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (p *parser) value() (any, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	switch p.peek() {
	case '"', '\'':
		return p.text()
	case '[':
		return p.list()
	case '{':
		return p.inline()
	}
	return p.word()
}

var (
	word = regexp.MustCompile(`^(true|false|[+-]?(inf|nan)|[+-]?[0-9][0-9_]*(\.[0-9][0-9_]*)?([eE][+-]?[0-9_]+)?|0x[0-9A-Fa-f_]+|0o[0-7_]+|0b[01_]+)$`)
	date = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2})?([Tt ]?[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?$`)
)

// word reads a number, a date, true or false.
func (p *parser) word() (any, error) {
	start := p.at
	for c := p.peek(); isBare(c) || c == '+' || c == '.' || c == ':' || c == ' ' && p.dateGoesOn(start); c = p.peek() {
		p.at++
	}
	text := string(p.data[start:p.at])
	if text == "" || !word.MatchString(text) && !date.MatchString(text) {
		p.at = start
		return nil, fmt.Errorf("a value is expected, not %q", clip(p.restOfLine()))
	}
	if text == "true" || text == "false" {
		return text == "true", nil
	}
	return Word(text), nil
}

var day = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)

// dateGoesOn reports whether a day was read and its time follows behind a space.
func (p *parser) dateGoesOn(start int) bool {
	return p.at+1 < len(p.data) && p.data[p.at+1] >= '0' && p.data[p.at+1] <= '9' && day.Match(p.data[start:p.at])
}

// between skips what may stand between the items of a list.
func (p *parser) between() {
	for {
		p.blanks()
		switch {
		case p.peek() == '#' || p.peek() == '\n' || p.has("\r\n"):
			p.skipLine()
		default:
			return
		}
	}
}

func (p *parser) list() (any, error) {
	p.at++
	items := []any{}
	for {
		p.between()
		if p.peek() == ']' {
			p.at++
			return items, nil
		}
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		p.between()
		if p.peek() == ',' {
			p.at++
		} else if p.peek() != ']' {
			return nil, errors.New("a comma or ] is expected in a list")
		}
	}
}

func (p *parser) inline() (any, error) {
	p.at++
	table := map[string]any{}
	for first := true; ; first = false {
		p.blanks()
		if first && p.peek() == '}' {
			p.at++
			return table, nil
		}
		path, err := p.path()
		if err != nil {
			return nil, err
		}
		if p.peek() != '=' {
			return nil, errors.New("= is expected in an inline table")
		}
		p.at++
		p.blanks()
		value, err := p.value()
		if err == nil {
			err = put(table, path, value)
		}
		if err != nil {
			return nil, err
		}
		p.blanks()
		switch p.peek() {
		case ',':
			p.at++
		case '}':
			p.at++
			return table, nil
		default:
			return nil, errors.New("a comma or } is expected in an inline table")
		}
	}
}

// text reads a text of any of the four kinds.
func (p *parser) text() (string, error) {
	quote := p.peek()
	long := bytes.Repeat([]byte{quote}, 3)
	if bytes.HasPrefix(p.data[p.at:], long) {
		return p.long(quote, long)
	}
	start := p.at + 1
	for at := start; at < len(p.data); at++ {
		switch c := p.data[at]; {
		case c == quote:
			p.at = at + 1
			return unescape(string(p.data[start:at]), quote)
		case c == '\\' && quote == '"':
			at++
		case c < ' ' && c != '\t':
			return "", errors.New("a text without its end")
		}
	}
	return "", errors.New("a text without its end")
}

// long reads a text of several lines. Two quotes before the closing three
// belong to it.
func (p *parser) long(quote byte, end []byte) (string, error) {
	start := p.at + 3
	for at := start; at < len(p.data); at++ {
		if p.data[at] == '\\' && quote == '"' {
			at++
			continue
		}
		if !bytes.HasPrefix(p.data[at:], end) {
			continue
		}
		for range 2 {
			if at+3 < len(p.data) && p.data[at+3] == quote {
				at++
			}
		}
		p.at = at + 3
		text := strings.TrimPrefix(strings.TrimPrefix(string(p.data[start:at]), "\r"), "\n")
		return unescape(text, quote)
	}
	return "", errors.New("a text without its end")
}

var (
	simple     = map[byte]string{'b': "\b", 't': "\t", 'n': "\n", 'f': "\f", 'r': "\r", 'e': "\x1b", '"': `"`, '\\': `\`}
	digits     = map[byte]int{'x': 2, 'u': 4, 'U': 8}
	joinedLine = regexp.MustCompile(`^[ \t]*\r?\n\s*`)
)

// unescape resolves what follows backslashes; a text in single quotes has none.
func unescape(text string, quote byte) (string, error) {
	if quote == '\'' || !strings.Contains(text, `\`) {
		return text, nil
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, `\`)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if line := joinedLine.FindString(after); line != "" {
			text = after[len(line):]
			continue
		}
		if after == "" {
			return "", errors.New(`a text that ends with \`)
		}
		if s, ok := simple[after[0]]; ok {
			b.WriteString(s)
			text = after[1:]
			continue
		}
		n := digits[after[0]]
		if n == 0 || len(after) < 1+n {
			return "", fmt.Errorf(`a text with \%s, which means nothing`, clip(after))
		}
		code, err := strconv.ParseUint(after[1:1+n], 16, 32)
		if err != nil || !utf8.ValidRune(rune(code)) {
			return "", fmt.Errorf(`a text with \%s, which is no character`, after[:1+n])
		}
		b.WriteRune(rune(code))
		text = after[1+n:]
	}
}
