package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// printSummary is what a person sees of a loop: where it is, what it spent, the
// last verdict, what to do.
func (a *app) printSummary(ctx context.Context, h *host, s loops.State) error {
	a.printState(s)
	var rows [][2]string
	row := func(name, text string) {
		if text != "" {
			rows = append(rows, [2]string{name, text})
		}
	}
	row("goal", clip(plain(s.Goal()), 300))
	if s.Stop != nil {
		row("stopped", fmt.Sprintf("%s, decided by %s", s.Stop.Reason, s.Stop.DecidedBy))
	}
	row("spent", meters(s, h.Elapsed(s)))
	if s.Verdict != nil {
		row("verdict", verdictText(*s.Verdict))
	}
	row("why", plain(s.Why))
	row("created", s.Origin.CreatedAt.Local().Format(time.DateTime))
	row("updated", s.UpdatedAt.Local().Format(time.DateTime))
	for _, r := range rows {
		fmt.Fprintf(a.stdout, "%-9s %s\n", r[0], r[1])
	}
	output, err := h.result(ctx, s)
	if err != nil {
		return err
	}
	if output = strings.TrimSpace(harmless(output)); output != "" {
		fmt.Fprintf(a.stdout, "\n%s\n", clip(output, 2000))
	}
	if !s.Status.Settled() {
		a.printOwed(h, s)
	}
	return nil
}

// items is the part of an answer of loop_inspect that the views differ in.
type items struct {
	Items    json.RawMessage `json:"items"`
	NextPage string          `json:"next_page"`
}

// printItems prints the items of a view for a person.
func (a *app) printItems(view string, answer json.RawMessage) error {
	var all items
	if err := json.Unmarshal(answer, &all); err != nil {
		return fmt.Errorf("read the view %s: %w", view, err)
	}
	var err error
	switch view {
	case "events":
		err = each(a.stdout, all.Items, eventText)
	case "iterations", "iteration":
		err = each(a.stdout, all.Items, iterationText)
	case "verdicts":
		err = each(a.stdout, all.Items, verdictItemText)
	case "transcript":
		err = each(a.stdout, all.Items, utteranceText)
	case "diff":
		err = each(a.stdout, all.Items, diffText)
	case "usage":
		err = each(a.stdout, all.Items, usageText)
	case "why":
		err = each(a.stdout, all.Items, whyText)
	case "output", "live":
		err = each(a.stdout, all.Items, func(o struct{ Text string }) string { return o.Text })
	default:
		err = each(a.stdout, all.Items, specText)
	}
	if err == nil && all.NextPage != "" {
		fmt.Fprintf(a.stderr, "There is more: add --page %s\n", all.NextPage)
	}
	return err
}

// each prints every item of a list.
func each[T any](out io.Writer, list json.RawMessage, text func(T) string) error {
	var all []T
	if len(list) == 0 {
		return nil
	}
	if err := json.Unmarshal(list, &all); err != nil {
		return fmt.Errorf("read the items: %w", err)
	}
	for _, item := range all {
		if _, err := fmt.Fprintln(out, harmless(text(item))); err != nil {
			return err
		}
	}
	return nil
}

func eventText(e loops.Event) string {
	return fmt.Sprintf("%4d  %s  %-16s %s", e.Cursor, e.At.Local().Format(time.TimeOnly), e.Type, plain(e.Text))
}

// iterationItem is an item of the views iterations and iteration.
type iterationItem struct {
	Iteration, Pass int
	OK              bool
	Output, Error   string
	Score           *float64
	Verdict         *verdictItem
	StartedAt       time.Time `json:"started_at"`
	EndedAt         time.Time `json:"ended_at"`
}

func iterationText(it iterationItem) string {
	text := fmt.Sprintf("iteration %d · pass %d · %s%s", it.Iteration, it.Pass, span(it.EndedAt.Sub(it.StartedAt)), scoreText(it.Score))
	if !it.OK {
		text += " · failed: " + plain(it.Error)
	}
	if it.Verdict != nil {
		text += " · " + it.Verdict.line()
	}
	if it.Output != "" {
		text += "\n" + indent(it.Output)
	}
	return text
}

// verdictItem is an item of the view verdicts, and the verdict of an iteration.
type verdictItem struct {
	Iteration, Pass  int
	Kind             string
	DecidedBy        string `json:"decided_by"`
	Met              bool
	Reason, Feedback string
}

func (v verdictItem) line() string {
	return verdictText(loops.Verdict{Met: v.Met, Kind: orElse(v.Kind, v.DecidedBy), Reason: v.Reason})
}

func verdictItemText(v verdictItem) string {
	text := fmt.Sprintf("iteration %d · pass %d · %s", v.Iteration, v.Pass, v.line())
	if v.Feedback != "" {
		text += "\n" + indent(v.Feedback)
	}
	return text
}

func utteranceText(u loops.Utterance) string {
	head := fmt.Sprintf("iteration %d · %s", u.Iteration, u.Role)
	if u.Tool != "" {
		head += " · " + plain(u.Tool)
	}
	return head + "\n" + indent(u.Text)
}

// diffText shows the lines of the one side with +, of the other with -, as they
// became what the iteration has.
func diffText(d struct {
	Field string
	A, B  json.RawMessage
}) string {
	if string(d.A) == string(d.B) {
		return d.Field + ": the same"
	}
	text := []string{d.Field}
	for _, side := range []struct {
		sign  string
		value json.RawMessage
	}{{"- ", d.B}, {"+ ", d.A}} {
		var words string
		if json.Unmarshal(side.value, &words) != nil {
			words = string(side.value)
		}
		if words == "" {
			continue
		}
		for line := range strings.Lines(words) {
			text = append(text, side.sign+strings.TrimSuffix(line, "\n"))
		}
	}
	return strings.Join(text, "\n")
}

func usageText(u loops.ModelUsage) string {
	return fmt.Sprintf("%s %s · %d calls · %d tokens in, %d out · %s", u.Role, plain(u.Model), u.Calls, u.InputTokens, u.OutputTokens, u.CostUSD)
}

func whyText(w struct {
	Status            loops.Status
	Reason, Rule      string
	Evidence, Actions []string
}) string {
	lines := []string{fmt.Sprintf("%s: %s", w.Status, plain(w.Reason))}
	if w.Rule != "" {
		lines = append(lines, "rule: "+plain(w.Rule))
	}
	for _, e := range w.Evidence {
		lines = append(lines, "evidence: "+plain(e))
	}
	for _, action := range w.Actions {
		lines = append(lines, "→ "+plain(action))
	}
	return strings.Join(lines, "\n")
}

func specText(spec json.RawMessage) string {
	var value any
	if json.Unmarshal(spec, &value) != nil {
		return string(spec)
	}
	indented, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return string(spec)
	}
	return string(indented)
}
