package loops

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

// Filter chooses and pages loops for [Engine.List].
type Filter struct {
	Statuses []Status          // empty: all
	Labels   map[string]string // all must match
	Owner    string            // empty: everybody's
	Limit    int               // 0: 20; at most 100
	Page     string            // opaque; from the last answer
}

// List returns heads: those that need attention first, then live ones, then
// settled ones, the newest first in each group. next is the page that follows,
// empty at the end.
func (e *Engine) List(ctx context.Context, f Filter) (heads []Head, next string, err error) {
	for _, status := range f.Statuses {
		if !slices.Contains(Statuses(), status) {
			return nil, "", &FieldError{Field: "status", Problem: fmt.Sprintf("unknown status %q; known are %s", clip(string(status), 60), join(Statuses()))}
		}
	}
	if f.Limit < 0 {
		return nil, "", &FieldError{Field: "limit", Problem: fmt.Sprintf("must be at least 1, got %d", f.Limit)}
	}
	after, err := decodePage(f.Page)
	if err != nil {
		return nil, "", err
	}
	limit := min(cmp.Or(f.Limit, 20), 100)
	heads, more, err := f.page(ctx, e.store, after, limit, &found{e: e, gone: map[string]bool{}})
	if err != nil {
		return nil, "", err
	}
	if more {
		next = encodePage(RankOf(&heads[limit-1]))
	}
	return heads, next, nil
}

// page returns the first limit heads that come after a rank, and whether there
// are more.
func (f Filter) page(ctx context.Context, store Store, after Rank, limit int, found *found) (heads []Head, more bool, err error) {
	first, last := f.groups()
	if start := (Rank{group: first, updated: math.MaxInt64}); f.Page == "" || after.Compare(start) < 0 {
		after = start
	}
	if s, ok := store.(Ordered); ok {
		err = s.Ascend(ctx, after, func(h *Head) bool {
			switch {
			case groupOf(h.Status) > last:
				return false
			case !f.matches(h, found):
				return true
			case len(heads) == limit:
				more = true
				return false
			}
			heads = append(heads, found.own(h))
			return true
		})
		return heads, more, err
	}
	err = scan(ctx, store, func(h *Head) {
		if !f.matches(h, found) || RankOf(h).Compare(after) <= 0 {
			return
		}
		if heads = insert(heads, found.own(h), limit); len(heads) > limit {
			heads, more = heads[:limit], true
		}
	})
	return heads, more, err
}

// Scan calls each with the head of every loop, in no order: what a list would
// sort and copy, for those who look at all. each neither keeps nor changes the
// head and does not call the engine.
func (e *Engine) Scan(ctx context.Context, each func(*Head)) error {
	return scan(ctx, e.store, each)
}

// insert puts h where it belongs, or none behind the limit's place.
func insert(heads []Head, h Head, limit int) []Head {
	key := RankOf(&h)
	if len(heads) == limit && RankOf(&heads[limit-1]).Compare(key) < 0 {
		return append(heads, Head{})
	}
	at := sort.Search(len(heads), func(i int) bool { return RankOf(&heads[i]).Compare(key) >= 0 })
	return slices.Insert(heads, at, h)
}

// own returns a copy for whoever may not keep h.
func (h *Head) own() Head {
	own := *h
	own.Labels = maps.Clone(h.Labels)
	return own
}

func (f Filter) matches(h *Head, found *found) bool {
	if f.Owner != "" && h.Owner != f.Owner {
		return false
	}
	if len(f.Statuses) > 0 && !slices.Contains(f.Statuses, found.status(h)) {
		return false
	}
	for k, v := range f.Labels {
		if got, ok := h.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func join[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// WaitFor says what [Engine.Wait] waits for.
type WaitFor string

// What a wait can be for.
const (
	ForChange    WaitFor = "change"    // any event after the cursor
	ForAttention WaitFor = "attention" // your_turn, needs_input, paused or settled
	ForSettled   WaitFor = "settled"
)

func (f WaitFor) holds(now Status, at, cursor uint64) bool {
	switch f {
	case ForChange:
		return at > cursor
	case ForSettled:
		return now.Settled()
	default:
		return now.Settled() || now == YourTurn || now == NeedsInput || now == Paused
	}
}

// Wait returns as soon as the loop is as wanted, or with timedOut after d. It is
// level-triggered: a condition that holds already returns at once. onChange,
// when not nil, is called with each newer head that is seen meanwhile.
func (e *Engine) Wait(ctx context.Context, id ID, cursor uint64, f WaitFor, d time.Duration, onChange func(Head)) (s State, timedOut bool, err error) {
	timedOut, err = e.wait(ctx, &s, cursor, f, d, id, onChange)
	return s, timedOut, err
}

// wait is Wait into s. Hundreds of calls wait at a time and a State is large, so
// none is on the stack meanwhile.
func (e *Engine) wait(ctx context.Context, s *State, cursor uint64, f WaitFor, d time.Duration, id ID, onChange func(Head)) (timedOut bool, err error) {
	if err := e.fill(ctx, id, s); err != nil {
		return false, err
	}
	if f.holds(s.Status, s.Cursor, cursor) {
		return false, nil
	}
	if d <= 0 {
		return true, nil
	}
	held, err := e.watch(ctx, id, s.Rev, cursor, f, d, onChange)
	if err != nil {
		return false, err
	}
	if !held && ctx.Err() != nil {
		return true, ctx.Err()
	}
	err = e.fill(ctx, id, s)
	return err == nil && !held && !f.holds(s.Status, s.Cursor, cursor), err
}

//go:noinline
func (e *Engine) fill(ctx context.Context, id ID, s *State) (err error) {
	*s, err = e.Get(ctx, id)
	return err
}

// watch waits until a head newer than rev is as wanted, d is over or ctx ends.
func (e *Engine) watch(ctx context.Context, id ID, rev, cursor uint64, f WaitFor, d time.Duration, onChange func(Head)) (held bool, err error) {
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for h, err := range e.store.Watch(waiting, id, rev) {
		if err != nil && waiting.Err() == nil {
			return false, fmt.Errorf("wait for %s: %w", id, err)
		}
		if err != nil {
			return false, nil
		}
		if onChange != nil {
			onChange(h)
		}
		if f.holds(h.Status, h.Cursor, cursor) {
			return true, nil
		}
	}
	return false, nil
}
