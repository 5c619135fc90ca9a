package command

import (
	"bytes"
	"strings"
	"sync"

	"example.com/loop-mcp/loops"
)

const (
	liveLine  = 500       // bytes of a line that live text shows
	livePiece = 4 << 10   // bytes of one piece of an agent's text
	liveEvent = 256 << 10 // bytes of an agent's event that can be read
	liveWait  = 256       // pieces that wait for a slow reader
)

// liveLines hands pieces to emit from one goroutine. One that finds the queue
// full is dropped, so that a slow reader never slows the process.
type liveLines struct {
	queue chan loops.Live
	done  chan struct{}
	parts []*lineSplitter
	mu    sync.Mutex
}

func newLiveLines(emit func(loops.Live)) *liveLines {
	l := &liveLines{}
	if emit == nil {
		return l
	}
	l.queue, l.done = make(chan loops.Live, liveWait), make(chan struct{})
	go func() {
		defer close(l.done)
		for piece := range l.queue {
			emit(piece)
		}
	}()
	return l
}

// stream returns a writer for one of the process's streams.
func (l *liveLines) stream() *lineSplitter {
	s := &lineSplitter{owner: l}
	s.agent.emit = l.say
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = append(l.parts, s)
	return s
}

func (l *liveLines) say(piece loops.Live) {
	select {
	case l.queue <- piece:
	default:
	}
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

// lineSplitter collects lines: an event of an agent whole, of others the head.
type lineSplitter struct {
	owner *liveLines
	line  []byte
	cut   bool // there was more
	agent agentLog
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
		s.add(piece)
		if end < 0 {
			break
		}
		s.flush()
		p = p[end+1:]
	}
	return n, nil
}

func (s *lineSplitter) add(piece []byte) {
	limit := 2 * liveLine // room for escape sequences, which are removed, and for a cut rune
	if len(s.line) > 0 && s.line[0] == '{' || len(s.line) == 0 && len(piece) > 0 && piece[0] == '{' {
		limit = liveEvent
	}
	room := max(0, limit-len(s.line))
	s.cut = s.cut || len(piece) > room
	s.line = append(s.line, piece[:min(len(piece), room)]...)
}

func (s *lineSplitter) flush() {
	line, cut := s.line, s.cut
	s.line, s.cut = s.line[:0], false // line is read before the next one comes
	if cap(line) > 64<<10 {
		s.line = nil
	}
	if len(line) > 0 && line[0] == '{' && s.agent.read(line, cut) {
		return
	}
	if n := cap(s.owner.queue); n > 0 && len(s.owner.queue) == n { // it would be dropped
		return
	}
	text := strings.TrimSpace(Plain(string(line[:min(len(line), 2*liveLine)])))
	if text == "" {
		return
	}
	if len(text) > liveLine {
		text = text[:utf8Border(text, liveLine)] + "…"
	}
	s.agent.whole(text)
}
