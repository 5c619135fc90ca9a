package kvstate

import (
	"context"
	"errors"
	"sync"
)

// latest lets those who want to know at a time which record is the newest of all
// share one question. A busy store is asked thousands of times a second.
type latest struct {
	turn chan struct{} // full while a question is under way
	mu   sync.Mutex
	next *question // that has not been put yet: whoever comes now shares its answer; may be nil
}

type question struct {
	answered chan struct{}
	gaveUp   bool // whoever was to put it
	seq      uint64
	err      error
}

// join returns the question that is put next, and whether the caller has to put it.
func (n *latest) join() (q *question, mine bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next != nil {
		return n.next, false
	}
	n.next = &question{answered: make(chan struct{})}
	return n.next, true
}

// close lets nobody else join q.
func (n *latest) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next = nil
}

// put asks q when it is its turn.
func (n *latest) put(ctx context.Context, q *question, ask func(context.Context) (uint64, error)) {
	defer close(q.answered)
	select {
	case n.turn <- struct{}{}:
		defer func() { <-n.turn }()
		n.close()
		q.seq, q.err = ask(ctx)
	case <-ctx.Done():
		n.close()
		q.err = context.Cause(ctx)
	}
	q.gaveUp = q.err != nil && ctx.Err() != nil
}

// ask returns what ask does when it is called after the call of this.
func (n *latest) ask(ctx context.Context, ask func(context.Context) (uint64, error)) (uint64, error) {
	for {
		q, mine := n.join()
		if mine {
			n.put(ctx, q, ask)
			return q.seq, q.err
		}
		select {
		case <-q.answered:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		if !q.gaveUp {
			return q.seq, q.err
		}
	}
}

// newestOfAll returns the sequence of the newest record of all loops, 0 without
// any. What was acknowledged before the call is not newer.
func (s *Store) newestOfAll(ctx context.Context) (uint64, error) {
	return s.latest.ask(ctx, s.askNewest)
}

// askNewest asks for the last record first, which the server has at hand. When
// that one is gone it looks for the last one of any loop, which takes it longer
// the more loops there are.
func (s *Store) askNewest(ctx context.Context) (uint64, error) {
	m, err := s.direct(ctx, streamLoops, getRequest{LastFor: ">"})
	if errors.Is(err, errNoRecord) {
		m, err = s.direct(ctx, streamLoops, getRequest{LastFor: subject(">")})
	}
	if errors.Is(err, errNoRecord) {
		return 0, nil
	}
	return m.seq, err // 0 with an error
}
