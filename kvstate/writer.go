package kvstate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

// Records are written by hand: package json takes a fifth of the time of a commit
// for it. What is zero is left out. They are read with package json, a header by
// hand as well; tests that set every field of every type hold the two together.

// writer appends the members of a JSON object.
type writer struct {
	b   []byte
	err error
}

// writers lends buffers, so that what is written is copied once and nothing is
// left behind.
var writers = sync.Pool{New: func() any { return new(writer) }}

// maxLent is the size of a buffer that is lent again, in bytes.
const maxLent = 64 << 10

// written returns what write writes, in memory of its own. large is about how many
// bytes that has when it has many: then it is not copied.
func written(large int, write func(w *writer)) ([]byte, error) {
	if large > maxLent/2 {
		w := &writer{b: make([]byte, 0, large+large/8+4096)}
		write(w)
		return w.b, w.err
	}
	w := lend()
	defer w.giveBack()
	write(w)
	return bytes.Clone(w.b), w.err
}

func lend() *writer {
	w := writers.Get().(*writer)
	w.b, w.err = w.b[:0], nil
	return w
}

// giveBack ends the use of a buffer.
func (w *writer) giveBack() {
	if cap(w.b) <= maxLent {
		writers.Put(w)
	}
}

func (w *writer) key(name string) {
	if n := len(w.b); n > 0 && w.b[n-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

// member is key for a name that somebody has thought of.
func (w *writer) member(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.quote(name)
	w.b = append(w.b, ':')
}

// bare writes a number as a value.
func (w *writer) bare(n int64) { w.b = strconv.AppendInt(w.b, n, 10) }

func (w *writer) number(name string, n int64) {
	if n != 0 {
		w.key(name)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *writer) unsigned(name string, n uint64) {
	if n != 0 {
		w.key(name)
		w.b = strconv.AppendUint(w.b, n, 10)
	}
}

func (w *writer) flag(name string, on bool) {
	if on {
		w.key(name)
		w.b = append(w.b, "true"...)
	}
}

func (w *writer) float(name string, f float64) {
	if f != 0 {
		w.key(name)
		w.realNumber(f)
	}
}

// score writes a number that may be missing, which is not 0.
func (w *writer) score(name string, f *float64) {
	if f != nil {
		w.key(name)
		w.realNumber(*f)
	}
}

func (w *writer) realNumber(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.err = fmt.Errorf("JSON has no number %v", f)
		return
	}
	form := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		form = 'e'
	}
	w.b = strconv.AppendFloat(w.b, f, form, -1, 64)
}

// money writes whole dollars without the detour of a float.
func (w *writer) money(name string, u loops.USD) {
	switch {
	case u == 0:
	case u > 0 && u < 1_000_000*loops.Dollar && u%loops.Dollar == 0:
		w.number(name, int64(u/loops.Dollar))
	default:
		w.other(name, u)
	}
}

func (w *writer) duration(name string, d loops.Duration) {
	if d != 0 {
		w.text(name, d.String())
	}
}

func (w *writer) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	w.key(name)
	w.b = append(w.b, '"')
	b, err := t.AppendText(w.b)
	if err != nil {
		w.err = err
		return
	}
	w.b = append(b, '"')
}

func (w *writer) text(name, text string) {
	if text != "" {
		w.key(name)
		w.quote(text)
	}
}

func (w *writer) texts(name string, list []string) {
	w.list(name, len(list), func(i int) { w.quote(list[i]) })
}

const hexDigits = "0123456789abcdef"

// quote writes a text as package json does, but for what only HTML needs. What is
// no UTF-8 becomes a replacement character.
func (w *writer) quote(text string) {
	w.b = append(w.b, '"')
	done := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		w.b = append(w.b, text[done:i]...)
		w.escape(r)
		i += size
		done = i
	}
	w.b = append(w.b, text[done:]...)
	w.b = append(w.b, '"')
}

func (w *writer) escape(r rune) {
	switch r {
	case '"', '\\':
		w.b = append(w.b, '\\', byte(r))
	case '\n':
		w.b = append(w.b, '\\', 'n')
	case '\r':
		w.b = append(w.b, '\\', 'r')
	case '\t':
		w.b = append(w.b, '\\', 't')
	default:
		w.b = append(w.b, '\\', 'u', hexDigits[r>>12&0xF], hexDigits[r>>8&0xF], hexDigits[r>>4&0xF], hexDigits[r&0xF])
	}
}

// other writes what is rare or has its own form.
func (w *writer) other(name string, v any) {
	w.key(name)
	data, err := json.Marshal(v)
	w.b = append(w.b, data...)
	if err != nil {
		w.err = err
	}
}

// raw writes what is JSON already and has been checked.
func (w *writer) raw(name string, raw json.RawMessage) {
	if len(raw) > 0 {
		w.key(name)
		w.b = append(w.b, raw...)
	}
}

// list writes n values, unless there are none.
func (w *writer) list(name string, n int, value func(i int)) {
	if n == 0 {
		return
	}
	w.key(name)
	w.b = append(w.b, '[')
	for i := range n {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		value(i)
	}
	w.b = append(w.b, ']')
}

func (w *writer) entries(name string, list []json.RawMessage) {
	w.list(name, len(list), func(i int) { w.b = append(w.b, list[i]...) })
}

func (w *writer) object(name string, members func()) {
	w.key(name)
	w.members(members)
}

// some is object, but leaves out an object without members.
func (w *writer) some(name string, members func()) {
	before := len(w.b)
	w.object(name, members)
	if w.b[len(w.b)-2] == '{' {
		w.b = w.b[:before]
	}
}

// members writes an object that is a value.
func (w *writer) members(members func()) {
	w.b = append(w.b, '{')
	members()
	w.b = append(w.b, '}')
}
