package loopstest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"example.com/loop-mcp/loops"
)

// List implements [loops.Store].
func (m *Memory) List(ctx context.Context) ([]loops.Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, fmt.Errorf("list loops: %w", err)
	}
	heads := make([]loops.Head, 0, len(m.records))
	for _, r := range m.records {
		heads = append(heads, r.copyHead())
	}
	return heads, nil
}

func (r *record) copyHead() loops.Head {
	h := clone(r.head)
	h.Rev = r.head.Rev
	return h
}

// Ready implements [loops.Store]. Among several loops the one that changed
// longest ago comes first.
func (m *Memory) Ready(ctx context.Context) (loops.ID, uint64, error) {
	for {
		m.mu.Lock()
		if err := m.usable(ctx); err != nil {
			m.mu.Unlock()
			return "", 0, fmt.Errorf("wait for a loop to work on: %w", err)
		}
		id, wake := m.due(time.Now())
		if id != "" {
			rev := m.handed[id]
			m.mu.Unlock()
			return id, rev, nil
		}
		m.wait(ctx, wake)
	}
}

// due takes the next loop that wants a worker, or returns when the first one
// will. The caller holds mu.
func (m *Memory) due(now time.Time) (loops.ID, time.Time) {
	var best *record
	var wake time.Time
	for id, r := range m.records {
		at, wants := r.head.WantsWorker()
		switch {
		case !wants || m.handed[id] == r.head.Rev || m.runners[r.head.Claim.Owner]:
		case at.After(now):
			if wake.IsZero() || at.Before(wake) {
				wake = at
			}
		case best == nil || r.head.Rev < best.head.Rev:
			best = r
		}
	}
	if best == nil {
		return "", wake
	}
	m.handed[best.head.ID] = best.head.Rev
	return best.head.ID, wake
}

// Requeue implements [loops.Store].
func (m *Memory) Requeue(id loops.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.handed, id)
	m.wake()
}

// Watch implements [loops.Store].
func (m *Memory) Watch(ctx context.Context, id loops.ID, after uint64) iter.Seq2[loops.Head, error] {
	return func(yield func(loops.Head, error) bool) {
		for {
			m.mu.Lock()
			if err := m.usable(ctx); err != nil {
				m.mu.Unlock()
				if ctx.Err() == nil {
					yield(loops.Head{}, fmt.Errorf("watch loops: %w", err))
				}
				return
			}
			head, found := m.changedSince(id, after)
			if !found {
				m.wait(ctx, time.Time{})
				continue
			}
			m.mu.Unlock()
			after = head.Rev
			if !yield(head, nil) {
				return
			}
		}
	}
}

// changedSince returns the oldest of the heads that are newer than after.
// Revisions rise across all loops, so one number is enough to miss none. The
// caller holds mu.
func (m *shared) changedSince(id loops.ID, after uint64) (loops.Head, bool) {
	var oldest *record
	for other, r := range m.records {
		if (id == "" || other == id) && r.head.Rev > after && (oldest == nil || r.head.Rev < oldest.head.Rev) {
			oldest = r
		}
	}
	if oldest == nil {
		return loops.Head{}, false
	}
	return oldest.copyHead(), true
}
