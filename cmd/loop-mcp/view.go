package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"example.com/loop-mcp/loops"
)

// newView chooses how progress is shown: redrawn on a terminal, else a line a
// pass; events as JSON; or nothing.
func (a *app) newView(h *host, jsonLines bool) view {
	switch {
	case jsonLines:
		return &jsonView{app: a}
	case a.json:
		return silent{}
	case a.onTerminal():
		return newScreen(a.stderr, func() (int, int) { return terminalSize(a.stderr) }, a.color(), h.Elapsed)
	}
	return &lineView{out: a.stderr}
}

// onTerminal reports whether progress may be redrawn.
func (a *app) onTerminal() bool { return isTerminal(a.stderr) && a.env("TERM") != "dumb" }

// color reports whether colours are wanted.
func (a *app) color() bool { return a.onTerminal() && a.env("NO_COLOR") == "" }

// safe makes an output harmless where a person reads it; a pipe gets it as it is.
func (a *app) safe(text string) string {
	if isTerminal(a.stdout) {
		return harmless(text)
	}
	return text
}

func trimEnd(text string) string { return strings.TrimRight(text, "\r\n\t ") }

// silent shows nothing.
type silent struct{}

func (silent) update(loops.Loop) {}
func (silent) tick()             {}
func (silent) note(string)       {}
func (silent) end()              {}

// lineView prints a line for each pass, failed iteration and wait for somebody.
type lineView struct {
	out    io.Writer
	report reporter
}

func (v *lineView) update(l loops.Loop) {
	for _, line := range v.report.lines(l) {
		fmt.Fprintln(v.out, line)
	}
}
func (v *lineView) tick()            {}
func (v *lineView) note(text string) { fmt.Fprintln(v.out, text) }
func (v *lineView) end()             {}

// jsonView prints events and iterations as lines of JSON, oldest first.
type jsonView struct {
	app        *app
	cursor     uint64
	iterations int
}

func (v *jsonView) update(l loops.Loop) {
	for _, it := range l.Iterations {
		if it.Iteration > v.iterations {
			v.iterations = it.Iteration
			v.print(it)
		}
	}
	for _, e := range l.Events {
		if e.Cursor > v.cursor {
			v.cursor = e.Cursor
			v.print(e)
		}
	}
}

func (v *jsonView) print(record any) {
	if err := v.app.printLine(record); err != nil {
		fmt.Fprintln(v.app.stderr, "loop-mcp:", err)
	}
}
func (v *jsonView) tick()            {}
func (v *jsonView) note(text string) { fmt.Fprintln(v.app.stderr, text) }
func (v *jsonView) end()             {}

// printLine prints an answer as one line of JSON.
func (a *app) printLine(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// reporter turns the journal of a loop into lines, each told once.
type reporter struct {
	started    bool
	iterations int
	attention  string
}

func (r *reporter) lines(l loops.Loop) []string {
	var lines []string
	if !r.started {
		r.started = true
		lines = append(lines, fmt.Sprintf("%s · %s", l.ID, clip(plain(l.Goal()), 200)))
	}
	for _, it := range l.Iterations {
		if it.Iteration <= r.iterations {
			continue
		}
		// The verdict of a pass comes a commit after its iteration.
		if it.OK && it.Done && it.Verdict == nil && judging(l.State) {
			break
		}
		r.iterations = it.Iteration
		if line := iterationLine(it, l); line != "" {
			lines = append(lines, line)
		}
	}
	if a := l.Attention; a != nil && a.ID != r.attention && (l.Status == loops.NeedsInput || l.Status == loops.YourTurn) {
		r.attention = a.ID
		lines = append(lines, fmt.Sprintf("waits for %s (%s)", waitsFor(l.Status), a.Kind))
	}
	return lines
}

// judging reports whether a pass has ended and its verdict is on its way.
func judging(s loops.State) bool {
	switch s.Status {
	case loops.Running:
		return true
	case loops.Queued, loops.Waiting, loops.Cancelling:
		return s.Owed != nil
	default: // a person is asked, or nothing moves: what there is can be told
		return false
	}
}

func waitsFor(s loops.Status) string {
	if s == loops.YourTurn {
		return "its client"
	}
	return "a person"
}

// iterationLine tells the end of a pass or a failed iteration; others are told
// with their pass.
func iterationLine(it loops.Iteration, l loops.Loop) string {
	head := fmt.Sprintf("pass %d of %d · iteration %d/%d · took %s, elapsed %s", it.Pass, l.Limits.MaxPasses, it.Iteration,
		l.Limits.MaxIterations, span(it.EndedAt.Sub(it.StartedAt)), span(it.EndedAt.Sub(l.Origin.CreatedAt)))
	switch {
	case !it.OK:
		return fmt.Sprintf("%s · failed: %s", head, clip(plain(it.Error), 300))
	case !it.Done:
		return ""
	case it.Verdict == nil:
		return head
	}
	return head + scoreText(it.Score) + " · " + verdictText(*it.Verdict)
}

func scoreText(score *float64) string {
	if score == nil {
		return ""
	}
	return fmt.Sprintf(" · score %g", *score)
}

// verdictText is a verdict in one line: who said what, and the first line of
// its feedback.
func verdictText(v loops.Verdict) string {
	word := "not met"
	if v.Met {
		word = "met"
	}
	text := fmt.Sprintf("%s, %s: %s", word, v.Kind, plain(v.Reason))
	first, _, _ := strings.Cut(strings.TrimSpace(v.Feedback), "\n")
	first, reason := plain(first), plain(v.Reason)
	if !v.Met && first != "" && !strings.Contains(first, reason) && !strings.Contains(reason, first) {
		text += " (" + clip(first, 100) + ")"
	}
	return clip(text, 300)
}
