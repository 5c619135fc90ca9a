package kvstate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/bugs"
	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

// store publishes w after revision rev and returns its revision.
func (s *Store) store(ctx context.Context, w *write, rev uint64) (uint64, error) {
	id := w.Head.ID
	body, err := s.pack(ctx, &w.header, w.parts)
	if err != nil {
		return 0, err
	}
	text, err := w.header.encode()
	if err != nil {
		return 0, err
	}
	m := &nats.Msg{Subject: subject(id), Data: body, Header: nats.Header{
		headHeader:                            {text},
		"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(rev, 10)},
	}}
	stays := s.mayStay(w)
	if w.rollup && !stays {
		m.Header["Nats-Rollup"] = []string{"sub"}
	}
	if w.Expires != 0 {
		m.Header["Nats-TTL"] = []string{strconv.Itoa(max(1, int(s.opts.Retention/time.Second)))}
	}
	e := &entry{header: w.header}
	e.recall(body)
	s.projection.expect(text, e)
	// gofail: var beforePublish struct{}
	p := &post{m: m, id: id, expires: w.Expires, first: rev == 0, start: rev == 0}
	seq, err := s.publish(ctx, p, w.Nonce, rev)
	if err != nil {
		s.projection.given(e)
		if stays { // should it be stored after all, they go with the next snapshot or sweep
			s.leftovers.release(w.replaces)
		}
		return 0, err
	}
	// gofail: var afterPublish struct{}
	if !p.noted {
		s.marks.Note(string(id), mark.Mark{Rev: seq, Expires: w.Expires})
	}
	if w.Kind == snapshot {
		// gofail: var afterCompact struct{}
		s.journals.replace(w, seq)
		s.discard(id, s.leftovers.note(w, seq, stays))
	} else {
		s.journals.extend(w, seq)
	}
	s.projection.committed(e, w.values, seq)
	return seq, nil
}

// publish sends p until it is known whether it landed. ErrConflict when the
// loop is not at revision rev.
func (s *Store) publish(ctx context.Context, p *post, nonce string, rev uint64) (uint64, error) {
	if err := s.room(ctx, len(p.m.Data)); err != nil {
		return 0, err
	}
	p.asked = time.Now()
	seq, err := s.post(ctx, p)
	if err == nil {
		return seq, nil
	}
	ctx, cancel := patient(beganAt(ctx, p.asked))
	defer cancel()
	for try := 0; ; try++ {
		seq, outcome := s.outcome(ctx, p.id, nonce, rev)
		switch {
		case outcome == nil:
			return seq, nil
		case errors.Is(outcome, loops.ErrConflict):
			return 0, outcome
		case !errors.Is(outcome, errNoRecord):
			return 0, fmt.Errorf("the outcome is unknown, load the loop to see: %w", outcome)
		case final(err):
			return 0, fmt.Errorf("the store refused the record: %w", err)
		}
		if err := s.again(ctx, try, err); err != nil {
			return 0, fmt.Errorf("the store took no record: %w", err)
		}
		if seq, err = s.post(ctx, p); err == nil {
			return seq, nil
		}
	}
}

// try publishes a message beside the loops once and returns its sequence.
func (s *Store) try(ctx context.Context, m *nats.Msg) (uint64, error) {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	return s.send(ctx, m, time.Time{})
}

// insist publishes a message until it is stored, once, whatever became of the
// acknowledgements.
func (s *Store) insist(ctx context.Context, m *nats.Msg) (uint64, error) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header.Set(nats.MsgIdHdr, rand.Text())
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		seq, err := s.try(ctx, m)
		if err == nil || final(err) {
			return seq, err
		}
		if err := s.again(ctx, try, err); err != nil {
			return 0, fmt.Errorf("the store took no record: %w", err)
		}
	}
}

// roomHolds is how long the answer counts that there is room for a message.
const roomHolds = 5 * time.Millisecond

// send publishes a message once and returns its sequence. asked is when there was
// room for it; zero: nobody has asked.
func (s *Store) send(ctx context.Context, m *nats.Msg, asked time.Time) (uint64, error) {
	if time.Since(asked) > roomHolds {
		if err := s.room(ctx, len(m.Data)); err != nil {
			return 0, err
		}
	}
	ctx, cancel := s.line.during(ctx)
	defer cancel()
	return s.publishOnce(ctx, m)
}

// outcome finds out what became of the write with the given nonce: its
// sequence, errNoRecord when nothing follows rev, or ErrConflict.
func (s *Store) outcome(ctx context.Context, id loops.ID, nonce string, rev uint64) (uint64, error) {
	next := getRequest{Seq: rev + 1, NextFor: subject(id)}
	m, err := s.leader(ctx, streamLoops, next)
	if err != nil {
		if err = s.stillThere(ctx, id, rev, err); !errors.Is(err, errArrived) {
			return 0, err
		}
		if m, err = s.leader(ctx, streamLoops, next); err != nil {
			return 0, err
		}
	}
	h, err := decodeHeader(m.header.Get(headHeader), id, m.seq)
	switch {
	case err == nil && h.Nonce == nonce && !bugs.Redelivered:
		return m.seq, nil
	case err == nil && h.PrevNonce == nonce:
		return h.Prev, nil // and a snapshot has replaced it since
	}
	return 0, fmt.Errorf("stored is revision %d: %w", m.seq, loops.ErrConflict)
}

// errArrived is a record that came between two questions: it may be the one whose
// answer is missing.
var errArrived = errors.New("a record has arrived")

// stillThere tells "nothing follows rev" from "the loop is gone".
func (s *Store) stillThere(ctx context.Context, id loops.ID, rev uint64, err error) error {
	if !errors.Is(err, errNoRecord) || rev == 0 {
		return err
	}
	m, last := s.leader(ctx, streamLoops, getRequest{LastFor: subject(id)})
	switch {
	case errors.Is(last, errNoRecord):
		return fmt.Errorf("the loop is gone: %w", loops.ErrConflict)
	case last != nil:
		return last
	case m.seq > rev:
		return errArrived
	case m.seq < rev && !s.replicated:
		return fmt.Errorf("stored is revision %d: %w", m.seq, loops.ErrConflict)
	}
	return err // also when the server is behind: sending again does no harm
}

// final reports whether sending the same message again cannot help.
func final(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, loops.ErrUnwritable) {
		return true
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case 10071, 10164, 10167: // wrong last sequence, in both forms; too many at once
		return false
	}
	return api.Code >= 400 && api.Code < 500
}
