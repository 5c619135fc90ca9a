package loops

import (
	"cmp"
	"encoding/base64"
	"fmt"
)

// Rank is where [Engine.List] shows a loop: by group, the newest first, then by
// id. The groups are loops that need attention, live ones and settled ones.
type Rank struct {
	group   int
	updated int64
	id      ID
}

// RankOf returns the rank of a head.
func RankOf(h *Head) Rank { return Rank{groupOf(h.Status), h.UpdatedAt.UnixNano(), h.ID} }

// Compare returns -1 when r comes before o, 1 when it comes after it, and 0 for
// the same loop as it was at the same moment.
func (r Rank) Compare(o Rank) int {
	return cmp.Or(cmp.Compare(r.group, o.group), cmp.Compare(o.updated, r.updated), cmp.Compare(r.id, o.id))
}

func groupOf(s Status) int {
	switch {
	case s == YourTurn || s == NeedsInput || s == Paused:
		return 0
	case s.Settled():
		return 2
	default:
		return 1
	}
}

// groups returns the first and the last group that a filter can match.
func (f Filter) groups() (first, last int) {
	if len(f.Statuses) == 0 {
		return 0, 2
	}
	first = 2
	for _, s := range f.Statuses {
		first, last = min(first, groupOf(s)), max(last, groupOf(s))
	}
	return first, last
}

func encodePage(r Rank) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %d %s", r.group, r.updated, r.id))
}

func decodePage(page string) (r Rank, err error) {
	if page == "" {
		return Rank{}, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(page)
	if err == nil {
		_, err = fmt.Sscanf(string(key), "%d %d %s", &r.group, &r.updated, &r.id)
	}
	if err != nil {
		return Rank{}, &FieldError{Field: "page", Problem: fmt.Sprintf("%q is not a page of this list; pass next_page of the last answer", clip(page, 60))}
	}
	return r, nil
}
