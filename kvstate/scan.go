package kvstate

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

// Headers are read by hand, too, as far as they are what [header.json] writes: a
// store of 100,000 loops is opened four times as fast, and what each keeps is one
// piece of memory. At the first surprise package json takes over, so nothing
// depends on it what a header means; a fuzz test compares the two.

// scanner reads JSON without white space, and gives up easily. It is used again:
// the header and the bytes that it needs on the way leave nothing behind.
type scanner struct {
	text  string
	at    int
	gone  bool // it has given up
	texts [16]found
	n     int // of texts
	size  int // of all texts together

	read                           headerText
	kind, id, status, phase, above string // of read
	bytes                          []byte // of the text
}

// found is a text that goes to a variable in the end.
type found struct {
	to         *string
	start, end int
}

// scanners lends scanners.
var scanners = sync.Pool{New: func() any { return new(scanner) }}

func lendScanner(text string) *scanner {
	r := scanners.Get().(*scanner)
	r.text, r.bytes = text, append(r.bytes[:0], text...)
	return r
}

func (r *scanner) giveBack() {
	*r = scanner{bytes: r.bytes} // a header is small
	scanners.Put(r)
}

// unmarshal reads the header, by hand or as package json does.
func (r *scanner) unmarshal() (header, error) {
	if !r.header() {
		r.read = headerText{}
		if err := json.Unmarshal([]byte(r.text), &r.read); err != nil {
			return header{}, err
		}
	}
	if r.read.Version > 1 {
		r.read.Head.Limits = r.read.Limits.limits()
	}
	return r.read.header, nil
}

func (r *scanner) giveUp() { r.gone = true }

// skip reads c.
func (r *scanner) skip(c byte) {
	if r.at >= len(r.text) || r.text[r.at] != c {
		r.gone = true
		return
	}
	r.at++
}

func (r *scanner) next() byte {
	if r.at >= len(r.text) {
		return 0
	}
	return r.text[r.at]
}

// object calls member for each member, which has to read its value.
func (r *scanner) object(member func(key string)) {
	r.skip('{')
	if r.next() == '}' {
		r.at++
		return
	}
	for !r.gone {
		start, end := r.quoted()
		r.skip(':')
		if r.gone {
			return
		}
		member(r.text[start:end])
		if r.next() != ',' {
			r.skip('}')
			return
		}
		r.at++
	}
}

// quoted reads a text that stands for itself.
func (r *scanner) quoted() (start, end int) {
	r.skip('"')
	start = r.at
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			return start, r.at - 1
		case c < ' ' || c == '\\':
			r.gone = true
			return 0, 0
		}
	}
	r.gone = true
	return 0, 0
}

func (r *scanner) string(to *string) {
	start, end := r.quoted()
	if r.gone || r.n == len(r.texts) || !utf8.ValidString(r.text[start:end]) {
		r.gone = true
		return
	}
	r.texts[r.n] = found{to, start, end}
	r.n++
	r.size += end - start
}

// number returns the text of a number.
func (r *scanner) number() string {
	start := r.at
	for r.at < len(r.text) && (r.text[r.at] >= '0' && r.text[r.at] <= '9' || r.text[r.at] == '-' || r.text[r.at] == '.') {
		r.at++
	}
	digits := strings.TrimPrefix(r.text[start:r.at], "-")
	if c := r.next(); c == 'e' || c == 'E' || len(digits) == 0 || digits[0] == '0' && len(digits) > 1 && digits[1] != '.' {
		r.gone = true // JSON has no leading zeros
	}
	if strings.HasPrefix(digits, ".") || strings.HasSuffix(digits, ".") {
		r.gone = true
	}
	return r.text[start:r.at]
}

func (r *scanner) int64() int64 {
	n, err := strconv.ParseInt(r.number(), 10, 64)
	r.gone = r.gone || err != nil
	return n
}

// between reads what is before the element i of a list.
func (r *scanner) between(i int) {
	if i == 0 {
		r.skip('[')
	} else {
		r.skip(',')
	}
}

func (r *scanner) int() int { return int(r.int64()) }

func (r *scanner) uint64() uint64 {
	n, err := strconv.ParseUint(r.number(), 10, 64)
	r.gone = r.gone || err != nil
	return n
}

func (r *scanner) float() float64 {
	text := r.number()
	f, err := strconv.ParseFloat(text, 64)
	r.gone = r.gone || err != nil
	return f
}

// ids reads a list that is not empty.
func (r *scanner) ids() (ids []loops.ID) {
	for r.skip('['); !r.gone; r.skip(',') {
		start, end := r.quoted()
		r.gone = r.gone || !utf8.ValidString(r.text[start:end])
		ids = append(ids, loops.ID(strings.Clone(r.text[start:end])))
		if r.next() == ']' {
			r.at++
			return ids
		}
	}
	return nil
}

func (r *scanner) time() (t time.Time) {
	start, end := r.quoted()
	if !r.gone && t.UnmarshalText([]byte(r.text[start:end])) != nil {
		r.gone = true
	}
	return t
}

func (r *scanner) duration() loops.Duration {
	start, end := r.quoted()
	d, err := time.ParseDuration(r.text[start:end])
	r.gone = r.gone || err != nil || d < 0
	return loops.Duration(d)
}

func (r *scanner) count() loops.Count {
	n := r.int64()
	r.gone = r.gone || n < 0
	return loops.Count(n)
}

func (r *scanner) money() (u loops.USD) {
	if text := r.number(); !r.gone && u.UnmarshalJSON([]byte(text)) != nil {
		r.gone = true
	}
	return u
}

// take gives all texts to their variables, as parts of one piece of memory.
func (r *scanner) take() {
	var b strings.Builder
	b.Grow(r.size)
	for _, f := range r.texts[:r.n] {
		b.WriteString(r.text[f.start:f.end])
	}
	rest := b.String()
	for _, f := range r.texts[:r.n] {
		*f.to, rest = rest[:f.end-f.start], rest[f.end-f.start:]
	}
}
