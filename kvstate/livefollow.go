package kvstate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/loops"
)

// liveWaiting is how many bytes may wait for a reader.
const liveWaiting = 4 << 20

// Follow implements [loops.LiveLog]. It subscribes first and then reads what is
// kept, so that nothing falls between the two; it needs no consumer that the
// server would have to end.
func (s *Store) Follow(ctx context.Context, id loops.ID) iter.Seq2[loops.LiveLine, error] {
	return func(yield func(loops.LiveLine, error) bool) {
		if !valid(id) {
			yield(loops.LiveLine{}, fmt.Errorf("follow %q: %w", id, loops.ErrNotFound))
			return
		}
		err := s.listen(ctx, id, func(l loops.LiveLine) bool { return yield(l, nil) })
		if err != nil && ctx.Err() == nil {
			yield(loops.LiveLine{}, fmt.Errorf("follow %s: %w", id, err))
		}
	}
}

// How long a line may be under way to where lines are kept when a reader comes,
// and how often that is looked at for a line that comes after it.
const (
	liveUnderWay = time.Second
	liveLooks    = 20
	liveLook     = 5 * time.Millisecond
)

// listener hears the lines of a loop.
type listener struct {
	store *Store
	id    loops.ID
	lines *nats.Subscription
	each  func(loops.LiveLine) bool

	known map[string]int // lines that were told from what is kept and may come again
	last  uint64         // the newest of them
}

// listen calls each with the lines of a loop until it returns false.
func (s *Store) listen(ctx context.Context, id loops.ID, each func(loops.LiveLine) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	lines, err := s.tune(ctx, id)
	if err != nil {
		return err
	}
	defer lines.Unsubscribe()
	l := &listener{store: s, id: id, lines: lines, each: each, known: map[string]int{}}
	if !l.tellKept(ctx, nil) {
		return nil
	}
	// The server routes a line before it keeps it: one that came just before the
	// subscription may be neither. It is kept before the next one is.
	for sure := false; ; {
		data, err := l.next(ctx, sure)
		switch {
		case s.ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription):
			return loops.ErrClosed
		case errors.Is(err, nats.ErrSlowConsumer):
			continue // lines were dropped, and the next one is there
		case err != nil:
			return err
		case !sure && l.known[string(data)] == 0:
			if sure = true; !l.tellKept(ctx, data) {
				return nil
			}
		}
		if data != nil && !l.tell(data) {
			return nil
		}
	}
}

// next returns the next line that comes; none when it is not sure that none was
// missed, and none has come for a while.
func (l *listener) next(ctx context.Context, sure bool) ([]byte, error) {
	wait := ctx
	if !sure {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, liveUnderWay)
		defer cancel()
	}
	m, err := l.lines.NextMsgWithContext(wait)
	if err == nil {
		return m.Data, nil
	}
	if ctx.Err() == nil && wait.Err() != nil {
		err = nil // nothing came
	}
	return nil, err
}

// tell passes on a line that came, unless it was kept and has been told.
func (l *listener) tell(data []byte) (more bool) {
	if l.known[string(data)] > 0 {
		l.known[string(data)]--
		return true
	}
	line, ok := decodeLive(data)
	return !ok || l.each(line)
}

// tellKept passes on what is kept since it was read last; until a line is among
// it, if one is given.
func (l *listener) tellKept(ctx context.Context, until []byte) (more bool) {
	for range liveLooks {
		for _, m := range l.store.keptLive(ctx, l.id, l.last+1) {
			l.last = m.seq
			l.known[string(m.data)]++
			if line, ok := decodeLive(m.data); ok && time.Since(line.At) <= liveKept && !l.each(line) {
				return false
			}
		}
		if until == nil || l.known[string(until)] > 0 || ctx.Err() != nil {
			break
		}
		sleep(ctx, nil, time.Now().Add(liveLook))
	}
	return true
}

// tune subscribes to a loop.
func (s *Store) tune(ctx context.Context, id loops.ID) (lines *nats.Subscription, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if lines, err = s.nc.SubscribeSync(liveSubject(id)); err != nil {
		return nil, err
	}
	if err = lines.SetPendingLimits(livePerLoop, liveWaiting); err != nil {
		return nil, errors.Join(err, lines.Unsubscribe())
	}
	return lines, nil
}

// keptLive returns what is kept of a loop from a sequence on.
func (s *Store) keptLive(ctx context.Context, id loops.ID, from uint64) (kept []stored) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err = s.liveLog.ensure(ctx); err == nil {
		err = s.batch(ctx, streamLive, liveSubject(id), from, func(m stored) error {
			kept = append(kept, m)
			return nil
		})
	}
	if err != nil {
		s.log.Debug("the last minute of live text cannot be read", slog.String("loop", string(id)), slog.Any("err", err))
	}
	return kept
}

func decodeLive(data []byte) (l loops.LiveLine, ok bool) {
	err := json.Unmarshal(data, &l)
	return l, err == nil && (l.Text != "" || l.Tool != "")
}
