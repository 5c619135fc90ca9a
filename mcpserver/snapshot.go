package mcpserver

import (
	"math"
	"time"

	"example.com/loop-mcp/loops"
)

// Keeper says what keeps a loop moving; a [loops.Engine] does.
type Keeper interface{ RunsWhile(s loops.State) string }

// SnapshotOptions choose what [Snapshot] shows. The zero value is the short
// form.
type SnapshotOptions struct {
	Limits   bool     // with limits, enforcement and warnings
	Warnings []string // with Limits: of this request; nil: those of the start
	MaxText  int      // bytes of JSON for the output; 0: 500. The other texts go with it
	MaxBrief int      // bytes of JSON for attention.prompt; 0: 16 KiB
	Person   bool     // only a person's decision counts: next names the command line instead of loop_approve
	Asks     int      // seconds that loop_wait and loop_approve can ask the person at this client; 0: they can't
}

// The sizes of the texts in a snapshot, in bytes of JSON.
const (
	maxText    = 500
	maxBrief   = 16 << 10
	maxSummary = 250
	maxLine    = 200 // one-line texts
)

// Snapshot returns what a client is told about a loop: e is the engine that s
// comes from, or nil. opts may be nil.
func Snapshot(e Keeper, s loops.State, opts *SnapshotOptions) Answer {
	var o SnapshotOptions
	if opts != nil {
		o = *opts
	}
	o.MaxText, o.MaxBrief = orInt(o.MaxText, maxText), orInt(o.MaxBrief, maxBrief)
	a := Answer{
		LoopID: s.ID, Name: s.Origin.Spec.Name, Status: s.Status, Phase: s.Phase,
		Iteration: s.Iteration, Pass: s.Pass, Epoch: s.Epoch, Cursor: s.Cursor,
		Summary: clip(s.Summary(), maxSummary), Usage: rounded(s.Ledger),
		Verdict: verdictOf(s.Verdict, feedbackSize(s, o.MaxText)), Attention: attentionOf(s, o.MaxBrief),
		Stop: stopOf(s.Stop), CreatedAt: stamp(s.Origin.CreatedAt), UpdatedAt: stamp(s.UpdatedAt),
	}
	output := resultOf(s)
	a.Output, a.OutputTruncated = clipMiddle(output.Text, o.MaxText)
	a.OutputTruncated = a.OutputTruncated || output.Blob != ""
	if s.Status == loops.Paused {
		a.Pause = pauseOf(s.Pause)
	}
	if s.Status == loops.Waiting {
		a.WaitingUntil = stamp(s.WakeAt)
	}
	if !s.Status.Settled() {
		a.Why = clip(s.Why, maxLine)
	}
	if o.Limits {
		limits, enforcement := s.Limits, s.Enforcements()
		a.Limits, a.Enforcement, a.Warnings = &limits, &enforcement, warningsOf(s, o.Warnings)
		if f := s.Origin.Forked; f != nil {
			a.ForkedFrom = &ForkedFrom{LoopID: f.Loop, Iteration: f.Iteration}
		}
	}
	if e != nil {
		a.RunsWhile = e.RunsWhile(s)
	}
	a.Next = nextCall(s, a, o)
	return a
}

// resultOf is the output that the loop hands back: the last one, or of a
// settled loop with result: best the best one.
func resultOf(s loops.State) loops.Text {
	if s.Origin.Spec.Result == loops.ResultBest && s.Best != nil && s.Status.Settled() {
		return s.Best.Output
	}
	return s.Output
}

// feedbackSize is what the last feedback may take: it is for the next pass, so
// a loop that has none shows less of it.
func feedbackSize(s loops.State, limit int) int {
	if s.Status.Settled() {
		return limit * 2 / 5
	}
	return limit * 3 / 5
}

func verdictOf(v *loops.Verdict, limit int) *Verdict {
	if v == nil {
		return nil
	}
	out := &Verdict{Met: v.Met, DecidedBy: v.Kind, SelfReported: v.SelfReported}
	out.Reason = clip(v.Reason, max(limit/2, maxLine))
	out.Feedback, out.FeedbackTruncated = clipMiddle(v.Feedback, limit)
	return out
}

// attentionOf shows what is owed only while it is: a paused or settled loop
// keeps the record of it, but nobody should act on that.
func attentionOf(s loops.State, limit int) *Attention {
	if s.Attention == nil || s.Status != loops.YourTurn && s.Status != loops.NeedsInput {
		return nil
	}
	a := &Attention{Kind: s.Attention.Kind, ID: s.Attention.ID}
	a.Prompt, a.PromptTruncated = clipMiddle(s.Attention.Prompt, limit)
	return a
}

func stopOf(stop *loops.Stop) *loops.Stop {
	if stop == nil {
		return nil
	}
	out := *stop
	out.Detail = clip(stop.Detail, maxLine)
	out.Actions = clipAll(stop.Actions)
	return &out
}

func pauseOf(p *loops.Pause) *loops.Pause {
	if p == nil {
		return nil
	}
	return &loops.Pause{Reason: p.Reason, Detail: clip(p.Detail, maxLine)}
}

func warningsOf(s loops.State, warnings []string) []string {
	if warnings == nil {
		warnings = s.Origin.Warnings
	}
	return clipAll(warnings)
}

// clipAll bounds a list of sentences.
func clipAll(lines []string) []string {
	var out []string
	for _, line := range lines[:min(len(lines), 4)] {
		out = append(out, clip(line, maxLine))
	}
	return out
}

// rounded leaves milliseconds: more digits say nothing.
func rounded(l loops.Ledger) loops.Ledger {
	l.ActiveSeconds = math.Round(l.ActiveSeconds*1000) / 1000
	return l
}

func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

func orInt(n, other int) int {
	if n <= 0 {
		return other
	}
	return n
}
