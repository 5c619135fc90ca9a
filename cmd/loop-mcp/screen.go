package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// screen shows a loop as a block of lines that is drawn over and over; what is
// finished scrolls by above it.
type screen struct {
	out    io.Writer
	size   func() (columns, rows int) // asked at each drawing: windows change
	color  bool
	age    func(loops.State) time.Duration
	report reporter

	loop   loops.Loop
	talk   talk
	remark string
	drawn  int // lines of the block on the screen
}

func newScreen(out io.Writer, size func() (columns, rows int), color bool, age func(loops.State) time.Duration) *screen {
	return &screen{out: out, size: size, color: color, age: age}
}

func (s *screen) update(l loops.Loop) {
	s.loop = l
	s.draw(s.report.lines(l))
}

func (s *screen) tick() {
	if s.loop.ID == "" {
		return
	}
	s.draw(nil)
}

// say takes in live text; the next tick shows it.
func (s *screen) say(l loops.LiveLine) { s.talk.add(l) }

func (s *screen) note(text string) {
	s.remark = text
	s.draw(nil)
}

// end takes the block off the screen.
func (s *screen) end() {
	fmt.Fprint(s.out, rewind(s.drawn))
	s.drawn = 0
}

// draw writes finished lines above the block and the block anew, in one write
// so that it does not flicker.
func (s *screen) draw(finished []string) {
	var b strings.Builder
	b.WriteString(rewind(s.drawn))
	for _, line := range finished {
		b.WriteString(line + "\n")
	}
	block := s.block()
	for _, line := range block {
		b.WriteString(line + "\n")
	}
	s.drawn = len(block)
	fmt.Fprint(s.out, b.String())
}

// rewind moves to the first of so many lines and clears to the end.
func rewind(lines int) string {
	if lines == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", lines)
}

func (s *screen) block() []string {
	l := s.loop
	if l.ID == "" {
		return nil
	}
	lines := []string{
		s.paint(bold, s.fit(fmt.Sprintf("%s  %s", l.ID, stateText(l.State)))),
		s.bar(l.State),
		s.fit(meters(l.State, s.age(l.State))),
	}
	if l.Verdict != nil {
		lines = append(lines, s.fit("last verdict  "+verdictText(*l.Verdict)))
	}
	for _, row := range s.said(len(lines)) {
		lines = append(lines, s.paint(dim, row))
	}
	if s.remark != "" {
		lines = append(lines, s.paint(bold, s.fit(s.remark)))
	}
	return lines
}

// maxRows is how many rows of live text are shown.
const maxRows = 8

// said is the end of what the start under way says, as much as there is room for
// below the lines of the block: what has left the window is not drawn over.
func (s *screen) said(above int) []string {
	if s.loop.Status != loops.Running || s.talk.start < s.loop.Ledger.Starts {
		return nil
	}
	columns, rows := s.size()
	return s.talk.rows(max(0, min(maxRows, rows-above-3)), columns-1)
}

// fit keeps a line from wrapping: a wrapped one would not be drawn over.
func (s *screen) fit(text string) string {
	columns, _ := s.size()
	return clipColumns(text, columns-1)
}

const (
	bold = "1"
	dim  = "2"
)

func (s *screen) paint(style, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func stateText(s loops.State) string {
	switch {
	case s.Status == loops.Running && s.Phase == loops.PhaseConditions:
		return "asks its stop conditions"
	case s.Status == loops.Running && s.Phase == loops.PhaseBody:
		return "works"
	case s.Status == loops.Waiting && s.WaitingFor != "":
		return "waits: " + s.WaitingFor
	}
	return string(s.Status)
}

// bar shows the passes against their cap.
func (s *screen) bar(state loops.State) string {
	const cells = 30
	total := max(int(state.Limits.MaxPasses), 1)
	full := min(state.Ledger.Passes*cells/total, cells)
	return fmt.Sprintf("%s%s  pass %d of %d",
		s.paint("32", strings.Repeat("█", full)), s.paint(dim, strings.Repeat("░", cells-full)), state.Pass, state.Limits.MaxPasses)
}

// meters shows what was spent against each cap that counts here, for a loop that
// was started so long ago.
func meters(s loops.State, age time.Duration) string {
	parts := []string{
		fmt.Sprintf("starts %d/%d", s.Ledger.Starts, s.Limits.MaxIterations),
		fmt.Sprintf("active %s/%s", span(time.Duration(s.Ledger.ActiveSeconds*float64(time.Second))), span(time.Duration(s.Limits.MaxActive))),
		fmt.Sprintf("elapsed %s/%s", span(age), span(time.Duration(s.Limits.MaxDuration))),
	}
	if s.Ledger.CostUSD > 0 || metered(s.Enforcements().MaxCostUSD) {
		parts = append(parts, fmt.Sprintf("%s/%s", s.Ledger.CostUSD, s.Limits.MaxCostUSD))
	}
	if s.Ledger.TotalTokens > 0 || metered(s.Enforcements().MaxTotalTokens) {
		parts = append(parts, fmt.Sprintf("tokens %d/%d", s.Ledger.TotalTokens, s.Limits.MaxTotalTokens))
	}
	if s.Ledger.Failures > 0 {
		parts = append(parts, fmt.Sprintf("failures in a row %d/%d", s.Ledger.Failures, s.Limits.MaxFailures))
	}
	return strings.Join(parts, " · ")
}

func metered(e loops.Enforcement) bool { return e != loops.NotMetered && e != "" }
