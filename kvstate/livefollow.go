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

// listen calls each with the lines of a loop until it returns false.
func (s *Store) listen(ctx context.Context, id loops.ID, each func(loops.LiveLine) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	lines, kept, err := s.tune(ctx, id)
	if err != nil {
		return err
	}
	defer lines.Unsubscribe()
	known := map[string]int{} // that may come again
	for _, data := range kept {
		known[string(data)]++
		if l, ok := decodeLive(data); ok && time.Since(l.At) <= liveKept && !each(l) {
			return nil
		}
	}
	for {
		m, err := lines.NextMsgWithContext(ctx)
		switch {
		case s.ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription):
			return loops.ErrClosed
		case errors.Is(err, nats.ErrSlowConsumer):
			continue // lines were dropped, and the next one is there
		case err != nil:
			return err
		case known[string(m.Data)] > 0:
			known[string(m.Data)]--
			continue
		}
		if l, ok := decodeLive(m.Data); ok && !each(l) {
			return nil
		}
	}
}

// tune subscribes to a loop and returns what is kept of it.
func (s *Store) tune(ctx context.Context, id loops.ID) (lines *nats.Subscription, kept [][]byte, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	if lines, err = s.nc.SubscribeSync(liveSubject(id)); err != nil {
		return nil, nil, err
	}
	if err = lines.SetPendingLimits(livePerLoop, liveWaiting); err != nil {
		return nil, nil, errors.Join(err, lines.Unsubscribe())
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err = s.liveLog.ensure(ctx); err == nil {
		err = s.batch(ctx, streamLive, liveSubject(id), 1, func(m stored) error {
			kept = append(kept, m.data)
			return nil
		})
	}
	if err != nil {
		s.log.Debug("the last minute of live text cannot be read", slog.String("loop", string(id)), slog.Any("err", err))
	}
	return lines, kept, nil
}

func decodeLive(data []byte) (l loops.LiveLine, ok bool) {
	err := json.Unmarshal(data, &l)
	return l, err == nil && (l.Text != "" || l.Tool != "")
}
