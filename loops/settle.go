package loops

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/internal/bugs"
)

// settle ends the loop's movement: only a request can move it again. A
// judgement that had begun stays owed, so that a loop that moves again does not
// repeat the work that it is about.
func (s State) settle(status Status, reason StopReason, by, detail string, now time.Time) State {
	s.endWait(now)
	if status == Completed || status == Cancelled {
		s.Owed = nil
	}
	if s.Origin.Spec.Result == ResultBest && s.Best != nil && s.Owed == nil {
		score := s.Best.Score
		s.Output, s.Score = s.Best.Output, &score
	}
	s.Status, s.Phase, s.Why, s.WaitingFor = status, "", "", ""
	s.Claim, s.Intent, s.Pause = Claim{}, Intent{}, nil
	s.WakeAt, s.Attention = time.Time{}, nil
	s.Open, s.Held, s.Attempt, s.Waits = false, false, 0, 0
	s.Stop = &Stop{Reason: reason, Detail: clean(detail, maxErrorText), DecidedBy: by, SelfDeclared: reason == GoalClaimed,
		Resumable: status != Completed && status != Cancelled && reason != FailQuarantined}
	s.Stop.Actions = s.actions()
	s.emit(now, EventSettled, fmt.Sprintf("%s (%s): %s", status, reason, oneLine(clip(detail, 1000))))
	return s
}

// cancelled ends a loop that a person or its parent cancelled.
func (s State) cancelled(now time.Time) State {
	w := *s.Intent.Cancel
	by := strings.TrimPrefix(string(w.Reason), "cancel.")
	return s.settle(Cancelled, w.Reason, by, firstOf(w.Detail, "cancelled by "+by), now)
}

// pause stops the loop where it is. What is owed stays owed, and a charged
// start that had no end stays open.
func (s State) pause(p Pause, now time.Time) State {
	s.endWait(now)
	s.Status, s.Phase, s.Claim, s.Intent.Pause = Paused, "", Claim{}, nil
	s.Pause, s.WakeAt, s.WaitingFor, s.Why = &p, time.Time{}, "", ""
	s.emit(now, EventPaused, strings.TrimSuffix(p.Reason+": "+firstWords(p.Detail), ": "))
	return s
}

// hit is a limit that leaves no room for another start.
type hit struct {
	reason StopReason
	detail string
}

// hits lists the limits that leave no room for another start.
func (s *State) hits() []hit {
	l, u := &s.Limits, &s.Ledger
	var all []hit
	add := func(reason StopReason, format string, args ...any) {
		all = append(all, hit{reason, limitOf[reason] + ": " + fmt.Sprintf(format, args...)})
	}
	starts := int64(u.Starts)
	if bugs.OverCap {
		starts--
	}
	if starts >= int64(l.MaxIterations) {
		add(CapIterations, "%d of %d starts used", u.Starts, l.MaxIterations)
	}
	if int64(u.Passes) >= int64(l.MaxPasses) {
		add(CapPasses, "%d of %d passes used", u.Passes, l.MaxPasses)
	}
	if u.TotalTokens >= int64(l.MaxTotalTokens) {
		add(CapTokens, "%d of %d used", u.TotalTokens, l.MaxTotalTokens)
	}
	if u.CostUSD >= l.MaxCostUSD {
		add(CapCost, "%s of %s used", u.CostUSD, l.MaxCostUSD)
	}
	if s.Short != nil { // less than the next call needs
		limit, _ := l.of(s.Short.Reason)
		if limit <= s.Short.Limit && !slices.ContainsFunc(all, func(h hit) bool { return h.reason == s.Short.Reason }) {
			add(s.Short.Reason, "what is left is less than the next call needs")
		}
	}
	if u.ToolCalls >= int64(l.MaxToolCalls) {
		add(CapToolCalls, "%d of %d used", u.ToolCalls, l.MaxToolCalls)
	}
	if s.Elapsed >= l.MaxDuration {
		add(CapDuration, "%s of %s since the start", wholeSeconds(s.Elapsed), l.MaxDuration)
	}
	if u.active() >= time.Duration(l.MaxActive) {
		add(CapActive, "%s of %s used", seconds(u.ActiveSeconds), l.MaxActive)
	}
	return all
}

// capHit reports the first limit that leaves no room for another start.
func (s *State) capHit() (StopReason, string, bool) {
	if all := s.hits(); len(all) > 0 {
		return all[0].reason, all[0].detail, true
	}
	return "", "", false
}

// Full names the limit that keeps a settled loop from moving on, such as
// max_passes, and says how much of it is used. ok is false when none does, or one
// that is not the loop's own.
func (s State) Full() (limit, detail string, ok bool) {
	reason, detail, hit := s.noRoom()
	limit = limitOf[reason]
	return limit, detail, hit && limit != ""
}

// timeUp reports a limit in time that has been reached.
func (s *State) timeUp() (StopReason, string, bool) {
	for _, h := range s.hits() {
		if h.reason == CapDuration || h.reason == CapActive {
			return h.reason, h.detail, true
		}
	}
	return "", "", false
}

// active is the working time. It is rounded to a microsecond, so that sums of
// fractions meet a limit that they should meet.
func (l Ledger) active() time.Duration {
	return time.Duration(math.Round(l.ActiveSeconds*1e6)) * time.Microsecond
}

// limitOf names the limit behind a cap.
var limitOf = map[StopReason]string{
	CapIterations: "max_iterations", CapPasses: "max_passes", CapDuration: "max_duration", CapActive: "max_active",
	CapTokens: "max_total_tokens", CapCost: "max_cost_usd", CapToolCalls: "max_tool_calls",
}

// used says how much of the limit behind a cap is used up.
func (s State) used(reason StopReason) string {
	switch reason {
	case CapIterations:
		return fmt.Sprint(s.Ledger.Starts)
	case CapPasses:
		return fmt.Sprint(s.Ledger.Passes)
	case CapDuration:
		return wholeSeconds(s.Elapsed)
	case CapActive:
		return seconds(s.Ledger.ActiveSeconds).String()
	case CapTokens:
		if s.Short != nil && s.Short.Reason == reason {
			return fmt.Sprint(s.Short.Limit)
		}
		return fmt.Sprint(s.Ledger.TotalTokens)
	case CapCost:
		if s.Short != nil && s.Short.Reason == reason {
			return strings.TrimPrefix(USD(s.Short.Limit).String(), "$")
		}
		return strings.TrimPrefix(s.Ledger.CostUSD.String(), "$")
	default: // CapToolCalls
		return fmt.Sprint(s.Ledger.ToolCalls)
	}
}

// wholeSeconds rounds up: a limit above it is above what was used.
func wholeSeconds(d Duration) string {
	return (time.Duration(d) + time.Second - 1).Truncate(time.Second).String()
}

// actions says in sentences what a person or client can do with a settled loop.
func (s State) actions() []string {
	moves := s.Status == Stalled || s.Status == Blocked || s.Status == Failed && s.Stop.Reason != FailQuarantined
	if reason, _, hit := s.noRoom(); hit && moves {
		return append([]string{fmt.Sprintf("first raise %s above %s with loop_approve (decision set_limits)", limitOf[reason], s.used(reason))}, s.remedies()...)
	}
	return s.remedies()
}

func (s State) remedies() []string {
	resume := "call loop_continue with action resume to try again"
	steer := "call loop_continue with action steer and a message to try again with guidance"
	switch s.Status {
	case Completed:
		return []string{"use the output", "call loop_continue with action reopen and a message if something is missing"}
	case Capped:
		switch s.Stop.Reason {
		case CapDailyCost:
			return []string{resume + " tomorrow (UTC), or ask the operator to raise daily_cost_usd", "use the output as it is"}
		case CapParent:
			return []string{"raise the limits of the parent loop " + string(s.Origin.Parent) + " with loop_approve, then " + resume, "use the output as it is"}
		}
		if name, ok := limitOf[s.Stop.Reason]; ok {
			return []string{fmt.Sprintf("raise %s above %s with loop_approve (decision set_limits); the loop then goes on", name, s.used(s.Stop.Reason)),
				"use the output as it is"}
		}
	case Stalled:
		return []string{steer, "call loop_fork with another body, goal or message to go on from an earlier iteration"}
	case Blocked:
		switch s.Stop.Reason {
		case BlockedProtected:
			return []string{"restore the protected files, then " + resume, steer}
		case BlockedNoAnswer:
			return []string{resume + "; the question is asked again"}
		default:
			return []string{steer}
		}
	case Failed:
		if s.Stop.Reason == FailQuarantined {
			return []string{"start a new loop; this one's record can't be trusted"}
		}
		return []string{"mend the cause, then " + resume, steer}
	case Cancelled:
		return []string{"call loop_fork to go on from here in a new loop; a cancelled one never moves again"}
	default: // live
	}
	return nil
}

// Enforcements says how the limits on money, tokens and tool calls hold for s.
// A client's reports count as soon as it makes some.
func (s State) Enforcements() Enforcements {
	b := s.Origin.Spec.Body
	all := func(e Enforcement) Enforcements {
		return Enforcements{MaxCostUSD: e, MaxTotalTokens: e, MaxToolCalls: e}
	}
	switch {
	case b.Kind == BodyAgent && len(s.Origin.Unpriced) > 0:
		return Enforcements{MaxCostUSD: NotMetered, MaxTotalTokens: PerCall, MaxToolCalls: PerCall}
	case b.Kind == BodyAgent:
		return all(PerCall)
	case b.Kind == BodyClient && s.Ledger.Usage == (Usage{}), b.Kind == BodyCommand && (b.Usage == UsageNone || b.Usage == ""):
		return all(NotMetered)
	case b.Kind == BodyCommand && b.Usage == UsageClaudeJSON:
		return Enforcements{MaxCostUSD: PerIteration, MaxTotalTokens: PerIteration, MaxToolCalls: NotMetered}
	case b.Kind == BodyCommand && b.Usage == UsageCodexJSON:
		return Enforcements{MaxCostUSD: NotMetered, MaxTotalTokens: PerIteration, MaxToolCalls: NotMetered}
	case b.Kind == BodyCommand && b.Usage == UsageGeminiJSON:
		return Enforcements{MaxCostUSD: NotMetered, MaxTotalTokens: PerIteration, MaxToolCalls: PerIteration}
	}
	return all(PerIteration)
}

// spend adds what was reported. Sums stop at the largest number instead of
// wrapping around.
func (l *Ledger) spend(u Usage) {
	l.InputTokens = addUp(l.InputTokens, u.InputTokens)
	l.OutputTokens = addUp(l.OutputTokens, u.OutputTokens)
	l.TotalTokens = addUp(l.TotalTokens, u.Total())
	l.CostUSD = USD(addUp(int64(l.CostUSD), int64(u.CostUSD)))
	l.ToolCalls = addUp(l.ToolCalls, u.ToolCalls)
}

// Total returns TotalTokens, or the sum of input and output when that is more.
func (u Usage) Total() int64 { return max(u.TotalTokens, addUp(u.InputTokens, u.OutputTokens)) }

// Validate refuses negative amounts: a report can't give anything back.
func (u Usage) Validate() error {
	for _, f := range []struct {
		name  string
		value int64
	}{{"input_tokens", u.InputTokens}, {"output_tokens", u.OutputTokens}, {"total_tokens", u.TotalTokens},
		{"cost_usd", int64(u.CostUSD)}, {"tool_calls", u.ToolCalls}} {
		if f.value < 0 {
			return &FieldError{Field: "usage." + f.name, Problem: fmt.Sprintf("must not be negative, got %d", f.value)}
		}
	}
	return nil
}

func addUp(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond)
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// paragraphs joins the texts that are not empty.
func paragraphs(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(t string) bool { return t == "" }), "\n\n")
}

// firstWords is text for an event: one line, short.
func firstWords(text string) string { return clip(oneLine(clip(text, 1000)), 160) }

func joinSome(names []string, limit int) string {
	if len(names) <= limit {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:limit], ", "), len(names)-limit)
}
