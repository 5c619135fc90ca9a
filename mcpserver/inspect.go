package mcpserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// The views of loop_inspect.
const (
	viewSummary    = "summary"
	viewOutput     = "output"
	viewIterations = "iterations"
	viewIteration  = "iteration"
	viewVerdicts   = "verdicts"
	viewEvents     = "events"
	viewUsage      = "usage"
	viewSpec       = "spec"
	viewWhy        = "why"
	viewTranscript = "transcript"
	viewDiff       = "diff"
	viewLive       = "live"
)

var (
	views      = []string{viewSummary, viewOutput, viewIterations, viewIteration, viewVerdicts, viewEvents, viewUsage, viewSpec, viewWhy, viewTranscript, viewDiff, viewLive}
	pagedViews = []string{viewOutput, viewIterations, viewVerdicts, viewEvents, viewUsage, viewTranscript, viewDiff}
)

// The sizes of what the views show, in bytes of JSON: a list of items, one
// large item, the most that can be asked for, the least.
const (
	maxItemsText = 2000
	maxSpec      = 8000
	mostChars    = 100_000
	leastChars   = 100
)

func (a *inspectArgs) check() error {
	var p problems
	p.loopID(a.LoopID)
	p.oneOf("view", a.View, views...)
	p.notBelow("iteration", a.Iteration, 1)
	p.between("limit", a.Limit, 1, maxItems)
	p.between("max_chars", a.MaxChars, leastChars, mostChars)
	known := a.View == "" || slices.Contains(views, a.View)
	if known && a.Iteration != nil && !slices.Contains([]string{viewOutput, viewIteration, viewVerdicts, viewTranscript, viewDiff}, a.View) {
		p.add("iteration", "has a meaning for the views output, iteration, verdicts, transcript and diff, not for %s", orElse(a.View, viewSummary))
	}
	if known && a.CompareTo != nil && a.View != viewDiff {
		p.add("compare_to", "belongs to the view diff, not to %s", orElse(a.View, viewSummary))
	} else if _, err := comparedTo(a.CompareTo); err != nil {
		p = append(p, err)
	}
	if _, err := pageStart(a.View, a.Page); known && err != nil {
		p = append(p, err)
	}
	return p.err()
}

// pageStart reads a page token: the view and where in it the page begins.
func pageStart(view, token string) (uint64, error) {
	if token == "" {
		return 0, nil
	}
	if !slices.Contains(pagedViews, view) {
		return 0, &loops.FieldError{Field: "page", Problem: fmt.Sprintf("has no meaning for the view %s, which is one page", orElse(view, viewSummary))}
	}
	digits, ok := strings.CutPrefix(token, view+".")
	n, err := strconv.ParseUint(digits, 10, 62)
	if !ok || err != nil || strconv.FormatUint(n, 10) != digits {
		return 0, &loops.FieldError{Field: "page", Problem: fmt.Sprintf("must be next_page of an answer with the view %s, got %q; leave it out for the first page", view, clip(token, 60))}
	}
	return n, nil
}

func pageToken[N ~int | ~uint64](view string, n N) string { return fmt.Sprintf("%s.%d", view, n) }

// window is which part of a view is wanted.
type window struct {
	start     uint64 // from a page token; 0: the first page
	iteration int    // 0: not named
	limit     int
	chars     int
}

// page is one page of a view.
type page struct {
	items   any
	next    string
	dropped *int
}

func (t *tools) inspect(ctx context.Context, _ *call, a inspectArgs) (any, error) {
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	s, err := t.get(ctx, e, a.LoopID)
	if err != nil {
		return nil, err
	}
	p, err := t.view(ctx, e, s, a)
	if err != nil {
		return nil, err
	}
	o := SnapshotOptions{Limits: true}
	if p.items != nil {
		o.MaxText, o.MaxBrief = maxText/2, maxText/2
	}
	answer := t.snapshot(e, s, o)
	answer.Items, answer.NextPage, answer.EventsDropped = p.items, p.next, p.dropped
	if p.next != "" {
		answer.Next = "There is more: call loop_inspect again with the same arguments and page set to next_page."
	}
	return answer, nil
}

func (a *inspectArgs) window() window {
	w := window{limit: 20, chars: maxItemsText}
	w.start, _ = pageStart(a.View, a.Page)
	if a.View == viewOutput || a.View == viewIteration || a.View == viewSpec || a.View == viewTranscript || a.View == viewDiff {
		w.chars = maxSpec
	}
	if a.MaxChars != nil {
		w.chars = *a.MaxChars
	}
	if a.Limit != nil {
		w.limit = *a.Limit
	}
	if a.Iteration != nil {
		w.iteration = *a.Iteration
	}
	return w
}

func (t *tools) view(ctx context.Context, e engineAPI, s loops.State, a inspectArgs) (page, error) {
	w := a.window()
	switch a.View {
	case "", viewSummary:
		return page{}, nil
	case viewSpec:
		return page{items: []any{shortSpec(s.Origin.Spec, w.chars)}}, nil
	case viewUsage:
		return usagePage(s, w), nil
	case viewDiff:
		return t.diffPage(ctx, e, s.ID, a, w)
	case viewLive:
		items, err := liveItems(ctx, e, s, w)
		return page{items: items}, err
	case viewOutput:
		return outputPage(ctx, e, s, w)
	case viewTranscript:
		return transcriptPage(ctx, e, s, w)
	}
	l, err := e.History(ctx, s.ID)
	if err != nil {
		return page{}, err
	}
	switch a.View {
	case viewWhy:
		item := why(l, t.person())
		if s := l.State; s.Status == loops.Running || s.Status == loops.Waiting || s.Status == loops.Cancelling {
			item.Evidence = append(item.Evidence, goesOn(e.RunsWhile(s))...)
		}
		return page{items: []whyItem{item}}, nil
	case viewIterations:
		return iterationsPage(l, w), nil
	case viewIteration:
		return iterationPage(l, w)
	case viewVerdicts:
		return verdictsPage(l, w)
	}
	return eventsPage(l, w), nil
}

type liveItem struct {
	Text          string  `json:"text"`
	Tool          string  `json:"tool,omitempty"`
	SilentSeconds float64 `json:"silent_seconds"`
}

// liveItems tell what the body of a running loop said in the last minute, in
// this process or another one: the end of it, because the newest counts.
func liveItems(ctx context.Context, e engineAPI, s loops.State, w window) ([]liveItem, error) {
	lines, err := e.Recent(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	last, heard, here := e.Live(s.ID)
	switch {
	case len(lines) == 0 && here:
		lines = []loops.LiveLine{{At: heard, Live: last}}
	case len(lines) == 0 || !here && s.Status != loops.Running:
		return []liveItem{}, nil
	case !here:
		heard = lines[len(lines)-1].At
	}
	silent := max(time.Since(heard), 0).Round(100 * time.Millisecond).Seconds()
	return []liveItem{{Text: clipHead(loops.Said(lines), w.chars), Tool: lines[len(lines)-1].Tool, SilentSeconds: silent}}, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
