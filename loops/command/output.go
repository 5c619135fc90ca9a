package command

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

var errFull = errors.New("the output limit is reached")

// capture keeps everything up to limit and then refuses. It keeps pieces: one
// buffer that grows would need the text three times over.
type capture struct {
	limit  int
	pieces [][]byte
	size   int
	over   bool
}

func (c *capture) Write(p []byte) (int, error) {
	if c.size+len(p) > c.limit {
		c.over = true
		return 0, errFull
	}
	c.size += len(p)
	for rest := p; len(rest) > 0; {
		last := len(c.pieces) - 1
		if last < 0 || len(c.pieces[last]) == cap(c.pieces[last]) {
			c.pieces = append(c.pieces, make([]byte, 0, min(max(c.size, 4<<10), 1<<20)))
			last++
		}
		piece := c.pieces[last]
		n := min(len(rest), cap(piece)-len(piece))
		c.pieces[last], rest = append(piece, rest[:n]...), rest[n:]
	}
	return len(p), nil
}

// text returns the text, or its head when it was too long.
func (c *capture) text() (string, error) {
	limit := c.size
	if c.over {
		limit = min(limit, keep)
	}
	var b strings.Builder
	b.Grow(limit)
	for _, piece := range c.pieces {
		b.Write(piece[:min(len(piece), limit-b.Len())])
	}
	c.pieces = nil
	text := Clean(b.String())
	if c.over {
		return text, ErrOutputSize
	}
	if len(text) > c.limit { // replacement characters are longer than what they replace
		return text[:utf8Border(text, keep)], ErrOutputSize
	}
	return text, nil
}

// keep is how much of the head and of the tail of a shown stream is kept.
const keep = 32 << 10

// headTail keeps the head and the tail of a stream of any length.
type headTail struct {
	head, tail []byte
	total      int64
}

func (h *headTail) Write(p []byte) (int, error) {
	n := len(p)
	h.total += int64(n)
	if room := keep - len(h.head); room > 0 {
		take := min(room, len(p))
		h.head = append(h.head, p[:take]...)
		p = p[take:]
	}
	if len(p) >= keep {
		h.tail = append(h.tail[:0], p[len(p)-keep:]...)
		return n, nil
	}
	h.tail = append(h.tail, p...)
	if len(h.tail) > 2*keep {
		h.tail = append(h.tail[:0], h.tail[len(h.tail)-keep:]...)
	}
	return n, nil
}

// String returns the text, with a line in the middle that says how much is not
// there.
func (h *headTail) String() string {
	tail := h.tail[max(0, len(h.tail)-keep):]
	left := h.total - int64(len(h.head)) - int64(len(tail))
	if left == 0 {
		return Clean(string(h.head) + string(tail))
	}
	return Clean(string(h.head)) + fmt.Sprintf("\n… %d bytes left out …\n", left) + Clean(string(tail))
}

// Clean makes any bytes a text that is safe as JSON: what is not UTF-8, and
// NUL, becomes U+FFFD, one for each run of such bytes.
func Clean(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if strings.IndexByte(text, 0) < 0 {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 64)
	for len(text) > 0 {
		at := strings.IndexByte(text, 0)
		if at < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:at] + "\uFFFD")
		text = strings.TrimLeft(text[at:], "\x00")
	}
	return b.String()
}

func utf8Border(text string, at int) int {
	if at >= len(text) {
		return len(text)
	}
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return at
}
