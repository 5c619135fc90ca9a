package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"example.com/loop-mcp/loops"
)

// diffItem is one field of two iterations: a of the one that was asked about, b of
// the one that it is compared with. Of outputs that differ there is an item for
// each run of lines that do.
type diffItem struct {
	Field string `json:"field"`
	A     any    `json:"a"`
	B     any    `json:"b"`
}

// compared is the other side of a diff.
type compared struct {
	loop      loops.ID // empty: the same loop
	iteration int      // 0: the last one, or of the same loop the one before
}

// comparedTo reads compare_to: the number of an iteration, or an id with or
// without one.
func comparedTo(arg any) (compared, error) {
	wrong := func(got any) error {
		return &loops.FieldError{Field: "compare_to", Problem: fmt.Sprintf(`must be an iteration such as "3", another loop such as "fix-build-7k3q", or both as "fix-build-7k3q/3", got %s`, clip(fmt.Sprint(got), 60))}
	}
	switch v := arg.(type) {
	case nil:
		return compared{}, nil
	case float64:
		if v < 1 || v != math.Trunc(v) || v > math.MaxInt32 {
			return compared{}, wrong(v)
		}
		return compared{iteration: int(v)}, nil
	case json.Number:
		return comparedTo(string(v))
	case string:
		id, number, both := strings.Cut(v, "/")
		if n, err := strconv.ParseInt(id, 10, 31); err == nil && !both && n >= 1 {
			return compared{iteration: int(n)}, nil
		}
		c := compared{loop: loops.ID(id)}
		if both {
			n, err := strconv.ParseInt(number, 10, 31)
			if err != nil || n < 1 {
				return compared{}, wrong(strconv.Quote(v))
			}
			c.iteration = int(n)
		}
		if !loops.ValidID(c.loop) {
			return compared{}, wrong(strconv.Quote(v))
		}
		return c, nil
	}
	return compared{}, wrong(arg)
}

// side is one of the iterations that are compared.
type side struct {
	loop loops.Loop
	it   loops.Iteration
}

// sides finds both iterations.
func (t *tools) sides(ctx context.Context, e engineAPI, id loops.ID, a inspectArgs) (mine, other side, err error) {
	with, err := comparedTo(a.CompareTo)
	if err != nil {
		return mine, other, err
	}
	if mine.loop, err = e.History(ctx, id); err != nil {
		return mine, other, err
	}
	last := mine.loop.Iteration
	n := last
	if a.Iteration != nil {
		n = *a.Iteration
	}
	if mine.it, err = iterationOf(mine.loop, n); err != nil {
		return mine, other, err
	}
	forked := mine.loop.Origin.Forked
	switch {
	case with == compared{} && n == 1 && forked != nil && forked.Iteration > 0:
		with = compared{loop: forked.Loop, iteration: forked.Iteration}
	case with == compared{} && n == 1:
		return mine, other, &loops.FieldError{Field: "compare_to", Problem: fmt.Sprintf("is missing: iteration 1 of %s has none before it", id)}
	case with == compared{}:
		with.iteration = n - 1
	}
	other.loop = mine.loop
	if with.loop != "" && with.loop != id {
		if other.loop, err = e.History(ctx, with.loop); err != nil {
			return mine, other, t.known(ctx, e, with.loop, err)
		}
	}
	if with.iteration == 0 {
		with.iteration = other.loop.Iteration
	}
	if other.it, err = iterationOf(other.loop, with.iteration); err != nil {
		return mine, other, &loops.FieldError{Field: "compare_to", Problem: loops.FieldErrors(err)[0].Problem}
	}
	return mine, other, nil
}

func (t *tools) diffPage(ctx context.Context, e engineAPI, id loops.ID, a inspectArgs, w window) (page, error) {
	mine, other, err := t.sides(ctx, e, id, a)
	if err != nil {
		return page{}, err
	}
	items, err := diffItems(ctx, e, mine, other)
	if err != nil {
		return page{}, err
	}
	from := int(min(w.start, uint64(len(items))))
	to := min(from+w.limit, len(items))
	shown := items[from:to]
	for i := range shown {
		room := share(w.chars, len(shown)) / 2
		shown[i].A, shown[i].B = shortValue(shown[i].A, room), shortValue(shown[i].B, room)
	}
	p := page{items: shown}
	if to < len(items) {
		p.next = pageToken(viewDiff, to)
	}
	return p, nil
}

// diffItems compares two iterations: what was found about them, then what they
// spent and kept, then their outputs.
func diffItems(ctx context.Context, e engineAPI, a, b side) ([]diffItem, error) {
	items := []diffItem{
		{"verdict", fullVerdict(a.it.Verdict), fullVerdict(b.it.Verdict)},
		{"score", a.it.Score, b.it.Score},
		{"usage", a.it.Usage, b.it.Usage},
		{"memory", a.loop.MemoryAt(a.it.Iteration), b.loop.MemoryAt(b.it.Iteration)},
	}
	if a.it.Error != "" || b.it.Error != "" {
		items = append(items, diffItem{"error", a.it.Error, b.it.Error})
	}
	left, err := outputText(ctx, e, a)
	if err != nil {
		return nil, err
	}
	right, err := outputText(ctx, e, b)
	if err != nil {
		return nil, err
	}
	return append(items, outputItems(left, right)...), nil
}

func fullVerdict(v *loops.Verdict) any {
	if v == nil {
		return nil
	}
	return verdictOf(v, maxDiffVerdict)
}

const (
	maxDiffVerdict = 1000
	// maxDiffText is up to which size outputs are compared in full; of larger ones
	// the head and tail that the record has.
	maxDiffText = 4 << 20
)

func outputText(ctx context.Context, e engineAPI, s side) (string, error) {
	if s.it.Output.Size > maxDiffText {
		return s.it.Output.Text, nil
	}
	return e.Output(ctx, s.loop.ID, s.it.Output)
}

// outputItems are the runs of lines in which two outputs differ; of outputs that
// are the same there is one item with the whole.
func outputItems(a, b string) []diffItem {
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	var items []diffItem
	for _, h := range lineDiff(left, right) {
		items = append(items, diffItem{"output", numbered(left, h.a, h.aEnd), numbered(right, h.b, h.bEnd)})
	}
	if items == nil {
		return []diffItem{{"output", a, b}}
	}
	return items
}

// numbered shows lines with their numbers.
func numbered(lines []string, from, to int) string {
	var text strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&text, "%d: %s\n", i+1, lines[i])
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// shortValue is a value that takes at most about chars bytes as JSON: as it is,
// or as clipped text.
func shortValue(v any, chars int) any {
	switch v := v.(type) {
	case string:
		short, _ := clipMiddle(v, chars)
		return short
	case json.RawMessage:
		if v == nil {
			return nil
		}
		if len(v) > chars {
			short, _ := clipMiddle(string(v), chars)
			return short
		}
	}
	return v
}
