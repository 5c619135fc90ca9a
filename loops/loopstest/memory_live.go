package loopstest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"example.com/loop-mcp/loops"
)

var _ loops.LiveLog = (*Memory)(nil)

// said is a line of live text.
type said struct {
	n    uint64 // counts the lines of all loops
	line loops.LiveLine
}

// What a Memory keeps of a loop's live text.
const (
	keptTime  = time.Minute
	keptLines = 10_000
)

// Publish implements [loops.LiveLog]. Pieces are not joined.
func (m *Memory) Publish(id loops.ID, l loops.LiveLine) {
	if l.Text == "" && l.Tool == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.runners[m.name] {
		return
	}
	if l.At.IsZero() {
		l.At = time.Now()
	}
	m.said++
	lines := append(m.live[id], said{m.said, l})
	m.live[id] = lines[max(0, len(lines)-keptLines):]
	m.wake()
}

// Follow implements [loops.LiveLog].
func (m *Memory) Follow(ctx context.Context, id loops.ID) iter.Seq2[loops.LiveLine, error] {
	return func(yield func(loops.LiveLine, error) bool) {
		for after := uint64(0); ; {
			m.mu.Lock()
			if err := m.usable(ctx); err != nil {
				m.mu.Unlock()
				if ctx.Err() == nil {
					yield(loops.LiveLine{}, fmt.Errorf("follow %s: %w", id, err))
				}
				return
			}
			next, found := m.nextSaid(id, after)
			if !found {
				m.wait(ctx, time.Time{})
				continue
			}
			m.mu.Unlock()
			after = next.n
			if !yield(next.line, nil) {
				return
			}
		}
	}
}

// nextSaid returns the oldest line after the given one. The caller holds mu.
func (m *shared) nextSaid(id loops.ID, after uint64) (said, bool) {
	for _, one := range m.live[id] {
		if one.n > after && time.Since(one.line.At) <= keptTime {
			return one, true
		}
	}
	return said{}, false
}
