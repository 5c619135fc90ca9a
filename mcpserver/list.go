package mcpserver

import (
	"context"
	"time"

	"example.com/loop-mcp/loops"
)

// List is what loop_list answers.
type List struct {
	Items    []ListItem `json:"items"`
	NextPage string     `json:"next_page,omitempty"` // empty at the end
	Next     string     `json:"next"`
}

// ListItem is one loop of a [List].
type ListItem struct {
	LoopID    loops.ID     `json:"loop_id"`
	Name      string       `json:"name"`
	Status    loops.Status `json:"status"`
	Summary   string       `json:"summary"`
	UpdatedAt time.Time    `json:"updated_at"`
}

// maxListSummary keeps a page of twenty loops small.
const maxListSummary = 140

// maxItems is the largest page.
const maxItems = 100

func (a *listArgs) check() error {
	var p problems
	all := make([]string, 0, 13)
	for _, s := range loops.Statuses() {
		all = append(all, string(s))
	}
	for i, s := range a.Status {
		field := "status[" + itoa(i) + "]"
		if s == "" {
			p.add(field, "must not be empty; leave status out for all")
		}
		p.oneOf(field, string(s), all...)
	}
	p.between("limit", a.Limit, 1, maxItems)
	p.short("page", a.Page)
	return p.err()
}

func (t *tools) list(ctx context.Context, _ *call, a listArgs) (any, error) {
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	f := loops.Filter{Statuses: a.Status, Labels: a.Labels, Page: a.Page}
	if a.Limit != nil {
		f.Limit = *a.Limit
	}
	heads, next, err := e.List(ctx, f)
	if err != nil {
		return nil, err
	}
	return listOf(heads, next, len(a.Status) > 0 || len(a.Labels) > 0), nil
}

func listOf(heads []loops.Head, page string, filtered bool) List {
	l := List{Items: []ListItem{}, NextPage: page}
	for _, h := range heads {
		l.Items = append(l.Items, ListItem{
			LoopID: h.ID, Name: h.Name, Status: h.Status, Summary: clip(h.Summary, maxListSummary), UpdatedAt: stamp(h.UpdatedAt),
		})
	}
	switch {
	case page != "":
		l.Next = "There are more: call loop_list again with page set to next_page."
	case len(heads) == 0 && filtered:
		l.Next = "No loop matches; leave status and labels out to see all."
	case len(heads) == 0:
		l.Next = "There are no loops yet: loop_start begins one."
	default:
		l.Next = "Call loop_inspect or loop_wait with a loop_id for more about one of them."
	}
	return l
}
