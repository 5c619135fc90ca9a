package kvstate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

func requestSubject(key string) string { return "$KV.LOOPREQ." + key }

// Reserve implements [loops.Store].
func (s *Store) Reserve(ctx context.Context, requestID string, id loops.ID) (loops.ID, error) {
	bound, err := s.reserve(ctx, requestSubject(reference([]byte(requestID))), id)
	if err != nil {
		return "", fmt.Errorf("reserve the request for %s: %w", id, err)
	}
	return bound, nil
}

func (s *Store) reserve(ctx context.Context, key string, id loops.ID) (loops.ID, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	if err := s.request.ensure(ctx); err != nil {
		return "", err
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		bound, err := s.bind(ctx, key, id)
		if err == nil || errors.Is(err, loops.ErrDamaged) || final(err) {
			return bound, err
		}
		if err := s.again(ctx, try, err); err != nil {
			return "", err
		}
	}
}

// bind creates the key unless it is there, and returns what it holds. A request
// that was bound once is not bound anew when the store has lost it.
func (s *Store) bind(ctx context.Context, key string, id loops.ID) (loops.ID, error) {
	m := &nats.Msg{
		Subject: key, Data: []byte(string(id) + " " + checksum([]byte(id))),
		Header: nats.Header{"Nats-Expected-Last-Subject-Sequence": {"0"}},
	}
	if acknowledged := s.acknowledged(requestMark(key)); acknowledged > 0 {
		return s.bound(ctx, key, fmt.Errorf("%w: %w", &setBackError{mark: acknowledged}, loops.ErrDamaged))
	}
	rev, err := s.try(ctx, m)
	// gofail: var afterBind struct{}
	if err != nil {
		return s.bound(ctx, key, err)
	}
	s.marks.Note(requestMark(key), mark.Mark{Rev: rev})
	return id, nil
}

// bound returns what the key holds. When there is nothing, it returns err.
func (s *Store) bound(ctx context.Context, key string, err error) (loops.ID, error) {
	// Somebody was faster, or the answer was lost: what is there counts.
	there, readErr := s.leader(ctx, streamRequests, getRequest{LastFor: key})
	switch {
	case errors.Is(readErr, errNoRecord):
		return "", err
	case errors.Is(readErr, errMangled):
		return "", fmt.Errorf("the record of the request can't be read: %w: %w", readErr, loops.ErrDamaged)
	case readErr != nil:
		return "", readErr
	}
	return readBound(there)
}

func readBound(m stored) (loops.ID, error) {
	id, sum, _ := strings.Cut(string(m.data), " ")
	if sum != checksum([]byte(id)) {
		return "", fmt.Errorf("the record of the request at revision %d has another checksum: %w", m.seq, loops.ErrDamaged)
	}
	return loops.ID(id), nil
}
