package command

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

var errFull = errors.New("the output limit is reached")

// capture keeps everything up to limit and then refuses.
type capture struct {
	limit int
	buf   bytes.Buffer
	over  bool
}

func (c *capture) Write(p []byte) (int, error) {
	if c.buf.Len()+len(p) > c.limit {
		c.over = true
		return 0, errFull
	}
	return c.buf.Write(p)
}

func (c *capture) text() (string, error) {
	if c.over {
		head := Clean(string(c.buf.Next(keep)))
		c.buf = bytes.Buffer{}
		return head, ErrOutputSize
	}
	text := Clean(c.buf.String())
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

const (
	liveLine = 500 // bytes of a line that live text shows
	liveWait = 64  // lines that wait for a slow reader
)

// liveLines hands lines to emit from one goroutine. A line that finds the queue
// full is dropped, so that a slow reader never slows the process.
type liveLines struct {
	queue chan string
	done  chan struct{}
	parts []*lineSplitter
	mu    sync.Mutex
}

func newLiveLines(emit func(loops.Live)) *liveLines {
	l := &liveLines{}
	if emit == nil {
		return l
	}
	l.queue, l.done = make(chan string, liveWait), make(chan struct{})
	go func() {
		defer close(l.done)
		for line := range l.queue {
			emit(loops.Live{Text: line})
		}
	}()
	return l
}

// stream returns a writer for one of the process's streams.
func (l *liveLines) stream() *lineSplitter {
	s := &lineSplitter{owner: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = append(l.parts, s)
	return s
}

// close hands out unfinished lines and waits for the last call of emit. The
// streams must not be written to any more.
func (l *liveLines) close() {
	if l.queue == nil {
		return
	}
	for _, s := range l.parts {
		s.flush()
	}
	close(l.queue)
	<-l.done
}

// lineSplitter collects the head of each line.
type lineSplitter struct {
	owner *liveLines
	line  []byte
}

func (s *lineSplitter) Write(p []byte) (int, error) {
	n := len(p)
	if s.owner.queue == nil {
		return n, nil
	}
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		// Room for escape sequences, which are removed, and for a cut rune.
		s.line = append(s.line, piece[:min(len(piece), 2*liveLine-min(len(s.line), 2*liveLine))]...)
		if end < 0 {
			break
		}
		s.flush()
		p = p[end+1:]
	}
	return n, nil
}

func (s *lineSplitter) flush() {
	text := strings.TrimSpace(Plain(string(s.line)))
	s.line = s.line[:0]
	if text == "" {
		return
	}
	if len(text) > liveLine {
		text = text[:utf8Border(text, liveLine)] + "…"
	}
	select {
	case s.owner.queue <- text:
	default:
	}
}
