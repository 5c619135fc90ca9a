package loops

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// feed keeps the last minute of what the loops of this process say. It is a
// [LiveLog] within one process.
type feed struct {
	mu    sync.Mutex
	loops map[ID]*said
}

// said is what one loop said lately.
type said struct {
	lines   []LiveLine
	first   int // number of lines[0] among all that were ever said
	size    int // bytes of text in lines
	changed chan struct{}
}

// The bounds of what is kept of one loop.
const (
	liveFor   = time.Minute
	liveLines = 4000
	liveBytes = 256 << 10
)

// Publish implements [LiveLog].
func (f *feed) Publish(id ID, l LiveLine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of(id)
	s.lines = append(s.lines, l)
	s.size += len(l.Text)
	drop := 0
	for drop < len(s.lines)-1 && (len(s.lines)-drop > liveLines || s.size > liveBytes || l.At.Sub(s.lines[drop].At) > liveFor) {
		s.size -= len(s.lines[drop].Text)
		drop++
	}
	s.lines, s.first = slices.Delete(s.lines, 0, drop), s.first+drop
	close(s.changed)
	s.changed = make(chan struct{})
}

// of returns what a loop said; f.mu is held.
func (f *feed) of(id ID) *said {
	if f.loops == nil {
		f.loops = map[ID]*said{}
	}
	if f.loops[id] == nil {
		f.loops[id] = &said{changed: make(chan struct{})}
	}
	return f.loops[id]
}

// after returns what was said from number n on, the number of the line after
// it, and what is closed when there is more.
func (f *feed) after(id ID, n int) ([]LiveLine, int, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of(id)
	return slices.Clone(s.lines[min(max(n-s.first, 0), len(s.lines)):]), s.first + len(s.lines), s.changed
}

// Follow implements [LiveLog].
func (f *feed) Follow(ctx context.Context, id ID) iter.Seq2[LiveLine, error] {
	return func(yield func(LiveLine, error) bool) {
		for n := 0; ; {
			lines, next, more := f.after(id, n)
			for _, l := range lines {
				if time.Since(l.At) <= liveFor && !yield(l, nil) {
					return
				}
			}
			n = next
			if len(lines) > 0 {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}

// forget drops what loops said that this process no longer works on, when it is
// old.
func (f *feed) forget(now time.Time, works func(ID) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, s := range f.loops {
		if len(s.lines) > 0 && now.Sub(s.lines[len(s.lines)-1].At) > liveFor && !works(id) {
			s.first, s.size, s.lines = s.first+len(s.lines), 0, nil
		}
		if len(s.lines) == 0 && !works(id) {
			close(s.changed) // a reader finds the next one
			delete(f.loops, id)
		}
	}
}

// Follow yields the live text of a loop: the last minute first, then as it
// comes, until ctx ends. What other processes say needs Options.LiveLog; without
// it their loops are silent. A slow reader misses some.
func (e *Engine) Follow(ctx context.Context, id ID) iter.Seq2[LiveLine, error] {
	if e.opts.LiveLog == nil || e.worksOn(id) {
		return e.feed.Follow(ctx, id)
	}
	return e.opts.LiveLog.Follow(ctx, id)
}

// Recent returns what a loop said in the last minute, oldest first. What
// another process says may be missing when it is slow to arrive.
func (e *Engine) Recent(ctx context.Context, id ID) ([]LiveLine, error) {
	if lines, _, _ := e.feed.after(id, 0); e.opts.LiveLog == nil || e.worksOn(id) || len(lines) > 0 {
		return slices.DeleteFunc(lines, func(l LiveLine) bool { return time.Since(l.At) > liveFor }), nil
	}
	ctx, cancel := context.WithTimeout(ctx, recentPatience)
	defer cancel()
	var lines []LiveLine
	for l, err := range e.opts.LiveLog.Follow(ctx, id) {
		if err != nil {
			return lines, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// recentPatience is how long Recent listens for what other processes said.
const recentPatience = 100 * time.Millisecond

// Said joins live text: pieces of a stream run on, each tool and each start
// begins a line of its own.
func Said(lines []LiveLine) string {
	var b strings.Builder
	start, open := 0, false // open: the last line has no end
	for _, l := range lines {
		if open && (l.Tool != "" || l.Start != start) {
			b.WriteByte('\n')
		}
		if l.Tool != "" {
			b.WriteString("› " + l.Tool + "\n")
		}
		b.WriteString(l.Text)
		start, open = l.Start, l.Text != "" && !strings.HasSuffix(l.Text, "\n")
	}
	return b.String()
}
