package mcpserver

import (
	"context"
	"slices"

	"example.com/loop-mcp/loops"
)

// transcriptItem is one thing that was said: the item of the view transcript and
// of the resource loop://{id}/transcript.
type transcriptItem = loops.Utterance

// place is where in a transcript a page begins: an iteration, and how many of
// its items come before. The zero value is the beginning.
type place struct{ iteration, index int }

// placesPerIteration bounds the items of one iteration that pages tell apart.
const placesPerIteration = 1 << 20

func placeOf(start uint64) place {
	return place{iteration: int(start / placesPerIteration), index: int(start % placesPerIteration)}
}

func (p place) number() uint64 {
	return uint64(p.iteration)*placesPerIteration + uint64(p.index)
}

// transcriptItems returns at most limit items of a loop's transcript from a place
// on, each in full, and the place of the one that follows; more is false at the
// end.
func transcriptItems(ctx context.Context, e engineAPI, id loops.ID, from place, limit int) (items []transcriptItem, next place, more bool, err error) {
	items = []transcriptItem{}
	at := place{}
	for u, err := range e.Transcript(ctx, id, from.iteration) {
		if err != nil {
			return nil, place{}, false, err
		}
		if u.Iteration != at.iteration {
			at = place{iteration: u.Iteration}
		} else {
			at.index++
		}
		switch {
		case at.iteration == from.iteration && at.index < from.index:
		case len(items) == limit:
			return items, at, true, nil
		default:
			items = append(items, u)
		}
	}
	return items, place{}, false, nil
}

// transcriptPage is the view transcript: the items of one iteration, or of all.
func transcriptPage(ctx context.Context, e engineAPI, s loops.State, w window) (page, error) {
	from := placeOf(w.start)
	if w.iteration > 0 {
		l, err := e.History(ctx, s.ID)
		if err != nil {
			return page{}, err
		}
		if _, err := iterationOf(l, w.iteration); err != nil {
			return page{}, err
		}
		if from.iteration != w.iteration {
			from = place{iteration: w.iteration}
		}
	}
	items, next, more, err := transcriptItems(ctx, e, s.ID, from, w.limit)
	if err != nil {
		return page{}, err
	}
	if w.iteration > 0 {
		items, more = ofIteration(items, w.iteration, next, more)
	}
	room := shares(items, w.chars)
	for i := range items {
		items[i].Text, _ = clipMiddle(items[i].Text, room)
	}
	p := page{items: items}
	if more {
		p.next = pageToken(viewTranscript, next.number())
	}
	return p, nil
}

// shares is how long each text may be so that all of them together take about
// chars: what short ones leave is for the long ones.
func shares(items []transcriptItem, chars int) int {
	lengths := make([]int, len(items))
	for i, u := range items {
		lengths[i] = len(u.Text)
	}
	slices.Sort(lengths)
	left := chars
	for i, n := range lengths {
		each := left / (len(lengths) - i)
		if n > each {
			return max(each, leastChars)
		}
		left -= n
	}
	return max(chars, leastChars)
}

// ofIteration leaves the items of one iteration.
func ofIteration(items []transcriptItem, n int, next place, more bool) ([]transcriptItem, bool) {
	for i, u := range items {
		if u.Iteration != n {
			return items[:i], false
		}
	}
	return items, more && next.iteration == n
}
