package loops

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Filter chooses and pages loops for [Engine.List].
type Filter struct {
	Statuses []Status          // empty: all
	Labels   map[string]string // all must match
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
	all, err := e.store.List(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list loops: %w", err)
	}
	all = slices.DeleteFunc(all, func(h Head) bool { return !f.matches(h) || f.Page != "" && listKey(h) <= after })
	slices.SortFunc(all, func(a, b Head) int { return cmp.Compare(listKey(a), listKey(b)) })
	limit := min(cmp.Or(f.Limit, 20), 100)
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], encodePage(listKey(all[limit-1])), nil
}

func (f Filter) matches(h Head) bool {
	if len(f.Statuses) > 0 && !slices.Contains(f.Statuses, h.Status) {
		return false
	}
	for k, v := range f.Labels {
		if got, ok := h.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// listKey sorts heads as lists show them: by group, newest first, then id.
func listKey(h Head) string {
	group := 1
	switch {
	case h.Status == YourTurn || h.Status == NeedsInput || h.Status == Paused:
		group = 0
	case h.Status.Settled():
		group = 2
	}
	return fmt.Sprintf("%d %020d %s", group, int64(^uint64(0)>>1)-h.UpdatedAt.UnixNano(), h.ID)
}

func encodePage(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func decodePage(page string) (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(page)
	if err != nil || page != "" && len(strings.Fields(string(key))) != 3 {
		return "", &FieldError{Field: "page", Problem: fmt.Sprintf("%q is not a page of this list; pass next_page of the last answer", clip(page, 60))}
	}
	return string(key), nil
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

func (f WaitFor) holds(h Head, cursor uint64) bool {
	switch f {
	case ForChange:
		return h.Cursor > cursor
	case ForSettled:
		return h.Status.Settled()
	default:
		return h.Status.Settled() || h.Status == YourTurn || h.Status == NeedsInput || h.Status == Paused
	}
}

// Wait returns as soon as the loop is as wanted, or with timedOut after d. It is
// level-triggered: a condition that holds already returns at once. onChange,
// when not nil, is called with each newer head that is seen meanwhile.
func (e *Engine) Wait(ctx context.Context, id ID, cursor uint64, f WaitFor, d time.Duration, onChange func(Head)) (s State, timedOut bool, err error) {
	s, err = e.Get(ctx, id)
	if err != nil || f.holds(s.Head(), cursor) || d <= 0 {
		return s, err == nil && !f.holds(s.Head(), cursor), err
	}
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for h, err := range e.store.Watch(waiting, id, s.Rev) {
		if err != nil && waiting.Err() == nil {
			return s, false, fmt.Errorf("wait for %s: %w", id, err)
		}
		if err != nil {
			break
		}
		if onChange != nil {
			onChange(h)
		}
		if f.holds(h, cursor) {
			s, err = e.Get(ctx, id)
			return s, false, err
		}
	}
	if ctx.Err() != nil {
		return s, true, ctx.Err()
	}
	s, err = e.Get(ctx, id)
	return s, err == nil && !f.holds(s.Head(), cursor), err
}
