package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

type outputItem struct {
	Text string `json:"text"`
}

// outputPage cuts a page out of the whole output, or of one iteration's.
func outputPage(ctx context.Context, e engineAPI, s loops.State, w window) (page, error) {
	text := resultOf(s)
	if w.iteration > 0 {
		l, err := e.History(ctx, s.ID)
		if err != nil {
			return page{}, err
		}
		it, err := iterationOf(l, w.iteration)
		if err != nil {
			return page{}, err
		}
		text = it.Output
	}
	whole, err := e.Output(ctx, s.ID, text)
	if err != nil {
		return page{}, err
	}
	if w.start > uint64(len(whole)) || w.start < uint64(len(whole)) && !utf8.RuneStart(whole[w.start]) {
		return page{}, &loops.FieldError{Field: "page", Problem: "is not a place in this output, which may have changed since; leave it out for the first page"}
	}
	rest := whole[w.start:]
	n := headLength(rest, w.chars)
	p := page{items: []outputItem{{Text: rest[:n]}}}
	if n < len(rest) {
		p.next = pageToken(viewOutput, w.start+uint64(n))
	}
	return p, nil
}

type iterationItem struct {
	Iteration       int         `json:"iteration"`
	Pass            int         `json:"pass"`
	Epoch           uint64      `json:"epoch"`
	OK              bool        `json:"ok"`
	Output          string      `json:"output,omitempty"`
	OutputTruncated bool        `json:"output_truncated"`
	Error           string      `json:"error,omitempty"`
	Score           *float64    `json:"score,omitempty"`
	Usage           loops.Usage `json:"usage"`
	Verdict         *Verdict    `json:"verdict,omitempty"`
	StartedAt       time.Time   `json:"started_at"`
	EndedAt         time.Time   `json:"ended_at"`
}

// iterationItemOf shows an iteration in about chars bytes of text: half for
// the output, the rest for what was said about it.
func iterationItemOf(it loops.Iteration, chars int) iterationItem {
	out := iterationItem{
		Iteration: it.Iteration, Pass: it.Pass, Epoch: it.Epoch, OK: it.OK, Score: it.Score, Usage: it.Usage,
		Error: clip(it.Error, chars/4), StartedAt: stamp(it.StartedAt), EndedAt: stamp(it.EndedAt),
	}
	out.Output, out.OutputTruncated = clipMiddle(it.Output.Text, chars/2)
	out.OutputTruncated = out.OutputTruncated || it.Output.Blob != ""
	if v := verdictOf(it.Verdict, chars/4); v != nil {
		v.Reason = clip(v.Reason, max(chars/4, 60))
		out.Verdict = v
	}
	return out
}

// share divides the text of a page among its items.
func share(chars, items int) int { return max(chars/max(items, 1), leastChars) }

func iterationsPage(l loops.Loop, w window) page {
	all := l.Iterations
	from := sort.Search(len(all), func(i int) bool { return uint64(all[i].Iteration) >= w.start })
	to := min(from+w.limit, len(all))
	items := make([]iterationItem, 0, to-from)
	for _, it := range all[from:to] {
		items = append(items, iterationItemOf(it, share(w.chars, to-from)))
	}
	p := page{items: items}
	if to < len(all) {
		p.next = pageToken(viewIterations, all[to].Iteration)
	}
	return p
}

func iterationPage(l loops.Loop, w window) (page, error) {
	if w.iteration == 0 && len(l.Iterations) == 0 {
		return page{items: []iterationItem{}}, nil
	}
	n := w.iteration
	if n == 0 {
		n = l.Iterations[len(l.Iterations)-1].Iteration
	}
	it, err := iterationOf(l, n)
	if err != nil {
		return page{}, err
	}
	return page{items: []iterationItem{iterationItemOf(it, w.chars)}}, nil
}

func iterationOf(l loops.Loop, n int) (loops.Iteration, error) {
	for _, it := range l.Iterations {
		if it.Iteration == n {
			return it, nil
		}
	}
	return loops.Iteration{}, noIteration(l, n)
}

func noIteration(l loops.Loop, n int) error {
	problem := fmt.Sprintf("%s has no iteration %d: none is committed yet", l.ID, n)
	if k := len(l.Iterations); k > 0 {
		problem = fmt.Sprintf("%s has the iterations %d to %d, got %d", l.ID, l.Iterations[0].Iteration, l.Iterations[k-1].Iteration, n)
	}
	return &loops.FieldError{Field: "iteration", Problem: problem}
}

type verdictItem struct {
	Iteration    int             `json:"iteration"`
	Pass         int             `json:"pass"`
	Kind         string          `json:"kind"`
	Met          bool            `json:"met"`
	Reason       string          `json:"reason,omitempty"`
	Feedback     string          `json:"feedback,omitempty"`
	Criteria     []criterionItem `json:"criteria,omitempty"`
	Evidence     []exhibitItem   `json:"evidence,omitempty"`
	Model        string          `json:"model,omitempty"`
	PromptHash   string          `json:"prompt_hash,omitempty"`
	CostUSD      loops.USD       `json:"cost_usd"`
	SelfReported bool            `json:"self_reported"`
}

type exhibitItem struct {
	Source   string `json:"source"`
	Observed bool   `json:"observed"`
	Text     string `json:"text,omitempty"`
	Hash     string `json:"hash,omitempty"`
}

type criterionItem struct {
	ID     string   `json:"id"`
	Status string   `json:"status"`
	Quotes []string `json:"quotes,omitempty"`
	Note   string   `json:"note,omitempty"`
}

func verdictsPage(l loops.Loop, w window) (page, error) {
	all := l.Verdicts
	if w.iteration > 0 {
		if _, err := iterationOf(l, w.iteration); err != nil {
			return page{}, err
		}
		all = nil
		for _, v := range l.Verdicts {
			if v.Iteration == w.iteration {
				all = append(all, v)
			}
		}
	}
	from := int(min(w.start, uint64(len(all))))
	to := min(from+w.limit, len(all))
	items := make([]verdictItem, 0, to-from)
	for _, v := range all[from:to] {
		items = append(items, verdictItemOf(v, share(w.chars, to-from)))
	}
	p := page{items: items}
	if to < len(all) {
		p.next = pageToken(viewVerdicts, to)
	}
	return p, nil
}

func verdictItemOf(v loops.Verdict, chars int) verdictItem {
	reason := v.Reason
	if reason == "" {
		reason = v.Error
	}
	out := verdictItem{
		Iteration: v.Iteration, Pass: v.Pass, Kind: v.Kind, Met: v.Met, Model: v.Model, PromptHash: v.PromptHash,
		CostUSD: v.Usage.CostUSD, SelfReported: v.SelfReported, Reason: clip(reason, chars/3),
	}
	out.Feedback, _ = clipMiddle(v.Feedback, chars/3)
	for _, c := range v.Criteria {
		room := chars / 3 / len(v.Criteria)
		item := criterionItem{ID: c.ID, Status: c.Status, Note: clip(c.Note, room/2)}
		for _, quote := range c.Quotes {
			item.Quotes = append(item.Quotes, clip(quote, room/2/len(c.Quotes)))
		}
		out.Criteria = append(out.Criteria, item)
	}
	for _, x := range v.Evidence {
		text, _ := clipMiddle(x.Text, chars/3/len(v.Evidence))
		out.Evidence = append(out.Evidence, exhibitItem{Source: clip(x.Source, maxLine), Observed: x.Observed, Text: text, Hash: x.Hash})
	}
	return out
}

func eventsPage(l loops.Loop, w window) page {
	all := l.Events
	from := sort.Search(len(all), func(i int) bool { return all[i].Cursor >= w.start })
	to := min(from+w.limit, len(all))
	items := make([]Event, 0, to-from)
	for _, e := range all[from:to] {
		items = append(items, eventOf(e, share(w.chars, to-from)))
	}
	p := page{items: items}
	if to < len(all) {
		p.next = pageToken(viewEvents, all[to].Cursor)
	}
	if l.EventsDropped > 0 {
		dropped := int(l.EventsDropped)
		p.dropped = &dropped
	}
	return p
}

// usagePage is a page of the rows that the ledger's sums are made of.
func usagePage(s loops.State, w window) page {
	from := int(min(w.start, uint64(len(s.ByModel))))
	to := min(from+w.limit, len(s.ByModel))
	p := page{items: append([]loops.ModelUsage{}, s.ByModel[from:to]...)}
	if to < len(s.ByModel) {
		p.next = pageToken(viewUsage, to)
	}
	return p
}

// specItem is a spec whose longest texts are clipped.
type specItem struct {
	loops.Spec
	Truncated bool `json:"spec_truncated,omitempty"`
}

// shortSpec clips the texts of a spec that may be large, if they are, and
// leaves out the lists of one that is still too large.
func shortSpec(s loops.Spec, chars int) specItem {
	out := specItem{Spec: s}
	data, err := encode(s)
	if err == nil && len(data) <= chars {
		return out
	}
	out.Truncated = true
	for _, text := range []*string{&out.Goal, &out.Context, &out.Body.Prompt, &out.Body.Stdin} {
		*text, _ = clipMiddle(*text, chars/5)
	}
	if len(out.Body.With) > chars/5 {
		note, _ := json.Marshal(fmt.Sprintf("%d bytes left out", len(out.Body.With)))
		out.Body.With = note
	}
	if data, err := encode(out); err == nil && len(data) > 2*chars {
		out.Inputs, out.Protect, out.Until, out.Body.Run, out.Body.Env = nil, nil, nil, nil, nil
	}
	return out
}
