package kvstate

import (
	"context"
	"fmt"
	"iter"

	"example.com/loop-mcp/loops"
)

// watchers are those who follow changes. Their users hold the projection's mu.
type watchers struct {
	all    map[*watcher]bool
	one    map[loops.ID]map[*watcher]bool
	closed bool
}

// watcher is one reader of changes: the loops that changed since it looked.
type watcher struct {
	id      loops.ID
	changed []loops.ID
	pending map[loops.ID]bool
	wake    chan struct{}
}

func (w *watchers) changed(id loops.ID) {
	for one := range w.all {
		one.add(id)
	}
	for one := range w.one[id] {
		one.add(id)
	}
}

func (w *watchers) close() {
	w.closed = true
	for one := range w.all {
		one.signal()
	}
	for _, group := range w.one {
		for one := range group {
			one.signal()
		}
	}
}

func (w *watcher) add(id loops.ID) {
	if w.pending[id] {
		return
	}
	w.pending[id] = true
	w.changed = append(w.changed, id)
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Watch implements [loops.Store].
func (s *Store) Watch(ctx context.Context, id loops.ID, after uint64) iter.Seq2[loops.Head, error] {
	return func(yield func(loops.Head, error) bool) {
		end, err := s.begin(ctx)
		if err == nil {
			err = s.catchUp(ctx)
			end()
		}
		if err != nil {
			if ctx.Err() == nil {
				yield(loops.Head{}, fmt.Errorf("watch loops: %w", err))
			}
			return
		}
		w := s.projection.join(id, after)
		defer s.projection.leave(w)
		for ctx.Err() == nil {
			head, found, closed := s.projection.take(w)
			switch {
			case closed:
				yield(loops.Head{}, fmt.Errorf("watch loops: %w", loops.ErrClosed))
				return
			case !found:
				select {
				case <-ctx.Done():
				case <-w.wake:
				}
			case !yield(head, nil):
				return
			}
		}
	}
}

// join adds a watcher that still has to see what is newer than after.
func (p *projection) join(id loops.ID, after uint64) *watcher {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &watcher{id: id, pending: map[loops.ID]bool{}, wake: make(chan struct{}, 1)}
	if id == "" {
		for other, e := range p.entries {
			if e.rev > after {
				w.add(other)
			}
		}
		p.watch.all[w] = true
		return w
	}
	if e := p.entries[id]; e != nil && e.rev > after {
		w.add(id)
	}
	if p.watch.one[id] == nil {
		p.watch.one[id] = map[*watcher]bool{}
	}
	p.watch.one[id][w] = true
	return w
}

func (p *projection) leave(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watch.all, w)
	delete(p.watch.one[w.id], w)
	if len(p.watch.one[w.id]) == 0 {
		delete(p.watch.one, w.id)
	}
}

// take returns the newest head of the loop that changed first.
func (p *projection) take(w *watcher) (head loops.Head, found, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(w.changed) > 0 && !p.watch.closed {
		id := w.changed[0]
		w.changed = w.changed[1:]
		delete(w.pending, id)
		if e := p.entries[id]; e != nil {
			return copyHead(e.Head), true, false
		}
	}
	return loops.Head{}, false, p.watch.closed
}
