package kvstate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

var _ loops.LiveLog = (*Store)(nil)

const (
	streamLive    = "LOOPLOG"
	liveKept      = time.Minute           // how long live text can be read again
	liveInterval  = 50 * time.Millisecond // between two messages of a loop
	liveMessage   = 8 << 10               // bytes of a message
	liveText      = liveMessage - 512     // bytes of text that wait for the next message
	liveLines     = 64                    // lines that do
	livePerLoop   = 2000                  // messages that are kept
	liveAll       = 16 << 20              // bytes that are kept, of all loops
	liveForgotten = time.Minute           // after which a silent loop takes no memory
	livePatience  = 10 * time.Second      // between attempts to make the stream
)

func liveSubject(id loops.ID) string { return "loop.log." + string(id) }

func (s *Store) liveConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamLive, Description: "loops: the last minute of live text", Subjects: []string{liveSubject(">")},
		Storage: jetstream.MemoryStorage, MaxAge: liveKept, MaxMsgsPerSubject: livePerLoop, MaxBytes: liveAll,
		Discard: jetstream.DiscardOld, NoAck: true, AllowDirect: true,
	}
}

// speakers are the loops of this process that say something.
type speakers struct {
	mu   sync.Mutex
	all  map[loops.ID]*speaker
	wake chan struct{} // has room for one

	refused time.Time // when the server made no stream; only speak uses it
}

// speaker is what one loop said and nobody has been sent yet.
type speaker struct {
	lines []loops.LiveLine
	bytes int       // of their texts
	rest  string    // the beginning of a character whose end is still to come
	start int       // which rest belongs to
	lost  int       // bytes that had no room
	sent  time.Time // the last message
}

// Publish implements [loops.LiveLog].
func (s *Store) Publish(id loops.ID, l loops.LiveLine) {
	if l.Text == "" && l.Tool == "" || !valid(id) {
		return
	}
	if l.At.IsZero() {
		l.At = time.Now()
	}
	s.live.mu.Lock()
	one := s.live.all[id]
	if one == nil {
		one = &speaker{}
		s.live.all[id] = one
	}
	one.add(l)
	s.live.mu.Unlock()
	select {
	case s.live.wake <- struct{}{}:
	default:
	}
}

// add takes in a piece. Text that goes on where the last line ends is joined to
// it; characters are never cut in two.
func (p *speaker) add(l loops.LiveLine) {
	if l.Start == p.start && l.Tool == "" {
		l.Text = p.rest + l.Text
	}
	p.start, p.rest = l.Start, ""
	if l.Tool == "" {
		whole := wholeRunes(l.Text, len(l.Text))
		l.Text, p.rest = l.Text[:whole], l.Text[whole:]
	}
	room := wholeRunes(l.Text, max(0, liveText-p.bytes))
	joins := len(p.lines) > 0 && l.Tool == "" && p.lines[len(p.lines)-1].Tool == "" && p.lines[len(p.lines)-1].Start == l.Start
	if p.lost > 0 || !joins && len(p.lines) == liveLines {
		room, l.Tool = 0, ""
	}
	p.lost += len(l.Text) - room
	l.Text = l.Text[:room]
	p.bytes += room
	switch {
	case joins:
		p.lines[len(p.lines)-1].Text += l.Text
	case l.Text != "" || l.Tool != "":
		p.lines = append(p.lines, l)
	}
}

// wholeRunes returns how many of the first limit bytes of text are whole
// characters.
func wholeRunes(text string, limit int) int {
	end := min(limit, len(text))
	for i := 1; i < utf8.UTFMax && i <= end; i++ {
		if utf8.RuneStart(text[end-i]) {
			if !utf8.FullRuneInString(text[end-i : end]) {
				return end - i
			}
			break
		}
	}
	return end
}

// burst is what is sent of a loop at once.
type burst struct {
	id    loops.ID
	lines []loops.LiveLine
	lost  int // bytes that are missing after them
	start int
}

// take returns what is to be sent now, and when there will be more.
func (p *speakers) take(now time.Time) (bursts []burst, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, one := range p.all {
		due := one.sent.Add(liveInterval)
		switch {
		case len(one.lines) == 0 && one.lost == 0:
			if now.Sub(one.sent) > liveForgotten {
				delete(p.all, id)
			}
		case now.Before(due):
			if next.IsZero() || due.Before(next) {
				next = due
			}
		default:
			bursts = append(bursts, burst{id, one.lines, one.lost, one.start})
			one.lines, one.bytes, one.lost, one.sent = nil, 0, 0, now
		}
	}
	return bursts, next
}

// miss counts what could not be sent.
func (p *speakers) miss(id loops.ID, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.all[id]; one != nil {
		one.lost += bytes
	}
}

// speak sends live text until the store is closed.
func (s *Store) speak() {
	for {
		bursts, next := s.live.take(time.Now())
		if len(bursts) > 0 {
			s.keepLive()
		}
		for _, b := range bursts {
			s.say(b)
		}
		if len(bursts) == 0 {
			sleep(s.ctx, s.live.wake, next)
		}
		if s.ctx.Err() != nil {
			return
		}
	}
}

// keepLive makes the stream that keeps what is sent. Without it the text still
// reaches those who listen.
func (s *Store) keepLive() {
	if time.Since(s.live.refused) < livePatience {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, tryTimeout)
	defer cancel()
	if err := s.liveLog.ensure(ctx); err != nil && s.ctx.Err() == nil {
		s.live.refused = time.Now()
		s.log.Debug("live text is not kept", slog.Any("err", err))
	}
}

// say sends messages that nobody acknowledges.
func (s *Store) say(b burst) {
	for _, l := range b.lines {
		data, err := encodeLive(l)
		if err == nil {
			err = s.nc.Publish(liveSubject(b.id), data)
		}
		if err != nil {
			b.lost += len(l.Text) + len(l.Tool)
		}
	}
	if b.lost == 0 {
		return
	}
	note, err := encodeLive(loops.LiveLine{At: time.Now(), Start: b.start, Live: loops.Live{Text: leftOut(b.lost)}})
	if err == nil {
		err = s.nc.Publish(liveSubject(b.id), note)
	}
	if err != nil {
		s.live.miss(b.id, b.lost)
	}
}

func leftOut(bytes int) string { return fmt.Sprintf("\n[%d bytes left out]\n", bytes) }

// encodeLive returns a line as JSON that fits into a message. Escapes can make
// it longer than its text.
func encodeLive(l loops.LiveLine) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read it, too
	text := l.Text
	for keep := len(text); ; keep = keep * 3 / 4 {
		if keep < len(text) {
			keep = wholeRunes(text, keep)
			l.Text = text[:keep] + leftOut(len(text)-keep)
		}
		b.Reset()
		if err := enc.Encode(l); err != nil {
			return nil, err
		}
		if b.Len() <= liveMessage || keep == 0 {
			return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
		}
	}
}
