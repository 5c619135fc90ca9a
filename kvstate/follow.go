package kvstate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// follow feeds the projection from the stream until ctx ends.
func (s *Store) follow(ctx context.Context) {
	said := "" // the same trouble is logged once
	for try := 0; ctx.Err() == nil; try++ {
		began := s.projection.position()
		err := s.consume(ctx, began)
		if ctx.Err() != nil {
			return
		}
		if s.projection.position() > began {
			try, said = 0, ""
		}
		if errors.Is(err, errLine) {
			try = 0
			continue
		}
		s.projection.interrupted(err)
		if text := err.Error(); text != said {
			said = text
			level := slog.LevelWarn
			if !s.nc.IsConnected() { // as whenever the host changes; what lasts is said by who keeps the connection
				level = slog.LevelDebug
			}
			s.log.Log(ctx, level, "reading the loops' heads was interrupted", slog.Any("err", err))
		}
		if again(ctx, try, err) != nil {
			return
		}
	}
}

func (p *projection) position() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// known returns the newest sequence that the server has given, as far as is known,
// and which line to it that is.
func (p *projection) known() (newest, line uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest, p.line
}

// consume reads headers from after sequence seen on, until the connection breaks:
// the server that comes then may have lost the end of the stream.
func (s *Store) consume(ctx context.Context, seen uint64) error {
	ctx, cancel := s.line.whole(ctx)
	defer cancel()
	err := s.consumeOn(ctx, seen)
	if cause := context.Cause(ctx); errors.Is(cause, errLine) {
		return cause
	}
	return err
}

// consumeOn reads the newest header of each loop first, then all that comes. Those
// are two consumers: for one that has begun with the last of each subject the server
// counts its subjects anew whenever a snapshot takes records away, and one without a
// filter is counted by blocks. It goes on until something is wrong: also with the
// next consumer, when this process has followed [solo] for a while.
func (s *Store) consumeOn(ctx context.Context, seen uint64) error {
	defer s.projection.endSolo()
	for {
		from, last, err := s.takeUp(ctx, seen)
		if err == nil && from == 0 && last > 0 {
			err = s.read(ctx, last, jetstream.OrderedConsumerConfig{
				HeadersOnly: true, FilterSubjects: []string{subject(">")}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
			})
			from = s.projection.position()
		}
		if err == nil {
			err = s.read(ctx, math.MaxUint64, jetstream.OrderedConsumerConfig{
				HeadersOnly: true, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from + 1,
			})
		}
		if err == nil {
			seen, err = s.followSolo(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// read takes headers over until the consumer has passed the sequence until, this
// process is to follow [solo], or something is wrong.
func (s *Store) read(ctx context.Context, until uint64, config jetstream.OrderedConsumerConfig) error {
	config.MaxResetAttempts = 1 // else the client makes it anew for ever, also when ctx has ended
	consumer, err := s.js.OrderedConsumer(ctx, streamLoops, config)
	if err != nil {
		return fmt.Errorf("start to read the loops' heads: %w", inWords(err))
	}
	defer s.dropConsumer(consumer)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		return fmt.Errorf("start to read the loops' heads: %w", err)
	}
	defer messages.Stop()
	r := reader{receive: s.receive, pass: s.projection.pass}
	defer r.end()
	next := jetstream.NextContext(ctx)
	for s.projection.reads(until) {
		m, err := messages.Next(next)
		if err == nil {
			err = r.read(m)
		}
		if err != nil {
			return fmt.Errorf("read the loops' heads: %w", err)
		}
	}
	return nil
}

// takeUp returns after which sequence the reading goes on, and the last one of the
// stream: from the beginning when the stream ends before it, because the server
// gives the sequences of what it lost again.
func (s *Store) takeUp(ctx context.Context, seen uint64) (from, last uint64, err error) {
	known, line := s.projection.known() // more than seen, when own commits have not been read yet
	last, err = s.lastSequence(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("start to read the loops' heads: %w", inWords(err))
	}
	if last < known {
		s.log.Error("the store has lost the end of what it acknowledged; all loops are read anew", slog.Uint64("stored", last), slog.Uint64("seen", known))
		s.projection.restart(last, s.marks != nil)
		line++
		seen = 0
	}
	s.projection.trust(line, last)
	return seen, last, nil
}

// lastSequence returns the newest sequence that the stream has given.
func (s *Store) lastSequence(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, streamLoops)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// dropConsumer spares the server an idle consumer.
func (s *Store) dropConsumer(c jetstream.Consumer) {
	info := c.CachedInfo()
	if info == nil || s.nc.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.js.DeleteConsumer(ctx, streamLoops, info.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		s.log.Debug("an idle consumer is left to the server", slog.Any("err", err))
	}
}

func (s *Store) receive(m jetstream.Msg, meta *jetstream.MsgMetadata) {
	id := loops.ID(strings.TrimPrefix(m.Subject(), subject("")))
	rev := meta.Sequence.Stream
	switch {
	case marker(m.Headers()):
		s.projection.removed(id, rev)
		s.marks.Forget(string(id), rev)
	case rev < s.marks.Ended(string(id)): // a crash brought it back
	case valid(id): // else it is none of ours
		s.projection.received(id, rev, m.Headers().Get(headHeader), meta.Timestamp)
	}
}

// catchUp returns when the projection holds all that was acknowledged before.
func (s *Store) catchUp(ctx context.Context) error {
	newest, err := s.newestOfAll(ctx)
	if err != nil {
		return err
	}
	if at := s.projection.position(); newest < at { // the newest records may be gone for good reasons
		if last, err := s.lastSequence(ctx); err == nil && last < at {
			s.projection.doubt()
			s.line.renew()
		}
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	for {
		passed := s.projection.behind(newest)
		if passed == nil {
			return nil
		}
		if why := s.projection.why(); lasting(why) {
			return why
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the loops' heads up to revision %d: %w", newest, errors.Join(context.Cause(ctx), s.projection.why()))
		case <-s.ctx.Done():
			return loops.ErrClosed
		case <-passed:
		}
	}
}

// List implements [loops.Store].
func (s *Store) List(ctx context.Context) ([]loops.Head, error) {
	end, err := s.begin(ctx)
	if err == nil {
		defer end()
		err = s.catchUp(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("list loops: %w", err)
	}
	return s.projection.heads(time.Now()), nil
}

// Scan implements [loops.Scanner].
func (s *Store) Scan(ctx context.Context, each func(*loops.Head)) error {
	end, err := s.begin(ctx)
	if err == nil {
		defer end()
		err = s.catchUp(ctx)
	}
	if err != nil {
		return fmt.Errorf("list loops: %w", err)
	}
	s.projection.scan(time.Now(), each)
	return nil
}

// CountLive implements [loops.Counter]. Roughly, each record that the reader has
// not come to yet counts as one more loop.
func (s *Store) CountLive(ctx context.Context, roughly bool) (int, error) {
	end, err := s.begin(ctx)
	if err == nil {
		defer end()
		if roughly {
			newest, err := s.newestOfAll(ctx)
			if many, ok := s.projection.liveAtMost(newest); ok && err == nil {
				return many, nil
			}
		}
		err = s.catchUp(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("count live loops: %w", err)
	}
	return s.projection.countLive(), nil
}
