package mcpserver

import (
	"fmt"
	"strings"

	"example.com/loop-mcp/loops"
)

// maxQuotes bounds what is shown of each member's evidence.
const maxQuotes = 3

// evidence lists the facts behind the status, the decisive ones first: the number
// that hit a limit or what the conditions found, then how the other numbers stand.
func evidence(l loops.Loop) []string {
	s := l.State
	var facts []string
	add := func(text string) {
		if text != "" {
			facts = append(facts, clip(text, 2*maxLine))
		}
	}
	if s.Stop != nil && s.Status.Settled() {
		add(s.Stop.Detail)
	}
	if limit, detail, full := s.Full(); full && s.Status.Settled() && s.Status != loops.Completed && s.Status != loops.Cancelled &&
		(s.Stop == nil || !strings.HasPrefix(s.Stop.Detail, limit)) {
		add("no room to go on: " + detail)
	}
	facts = append(facts, found(l)...)
	if it, ok := lastFailure(l); ok && s.Ledger.Failures > 0 {
		add(fmt.Sprintf("iteration %d failed: %s", it.Iteration, it.Error))
	}
	if n := len(s.Steers); n > 0 {
		add(fmt.Sprintf("%d steers wait for the next start", n))
	}
	if f := s.Origin.Forked; f != nil {
		add(fmt.Sprintf("forked from %s after iteration %d", f.Loop, f.Iteration))
	}
	return append(facts, numbers(s)...)
}

// numbers are the limits and what is used of them.
func numbers(s loops.State) []string {
	l, u := s.Limits, s.Ledger
	return []string{
		fmt.Sprintf("%d of %d passes ended, %d of %d starts, %d iterations committed, %d failed in a row (limit %d)",
			u.Passes, l.MaxPasses, u.Starts, l.MaxIterations, u.Iterations, u.Failures, l.MaxFailures),
		fmt.Sprintf("%.1f s active of %s, %s of %s, %d of %d tokens, %d of %d tool calls",
			u.ActiveSeconds, l.MaxActive, u.CostUSD, l.MaxCostUSD, u.TotalTokens, l.MaxTotalTokens, u.ToolCalls, l.MaxToolCalls),
	}
}

// found says what the last judgement came to, and what each condition that was
// asked for it said.
func found(l loops.Loop) []string {
	v := l.Verdict
	if v == nil {
		return nil
	}
	facts := []string{clip(strings.TrimSuffix(fmt.Sprintf("last verdict, pass %d: %s, decided by %s: %s", v.Pass, metWord(v.Met), v.Kind, v.Reason), ": "), 2*maxLine)}
	for _, one := range lastAsked(l.Verdicts, v.Iteration, v.Pass) {
		for _, member := range one.Members {
			facts = append(facts, clip(strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", memberName(l.Origin.Spec, member), metWord(one.Met), reasonOf(one)), ": "), 2*maxLine))
		}
		facts = append(facts, quotes(one)...)
	}
	return facts
}

func metWord(met bool) string {
	if met {
		return "met"
	}
	return "not met"
}

func reasonOf(v loops.Verdict) string { return orElse(v.Reason, v.Error) }

// lastAsked are the verdicts of one judgement.
func lastAsked(all []loops.Verdict, iteration, pass int) []loops.Verdict {
	var asked []loops.Verdict
	for _, v := range all {
		if v.Iteration == iteration && (v.Pass == pass || iteration == 0) {
			asked = append(asked, v)
		}
	}
	return asked
}

// quotes are a judge's criteria with what they rest on; of other conditions what
// they looked at.
func quotes(v loops.Verdict) []string {
	var facts []string
	for _, c := range v.Criteria[:min(len(v.Criteria), maxQuotes)] {
		text := fmt.Sprintf("criterion %s: %s", c.ID, strings.ReplaceAll(c.Status, "_", " "))
		if len(c.Quotes) > 0 {
			text += fmt.Sprintf(", from %q", clip(c.Quotes[0], maxLine))
		}
		if c.Note != "" {
			text += " (" + c.Note + ")"
		}
		facts = append(facts, clip(text, 2*maxLine))
	}
	if len(v.Criteria) > 0 {
		return facts
	}
	for _, x := range v.Evidence[:min(len(v.Evidence), 1)] {
		if x.Observed && x.Text != "" {
			facts = append(facts, clip(x.Source, maxLine)+" says: "+clipHead(strings.TrimSpace(x.Text), maxLine))
		}
	}
	return facts
}

func lastFailure(l loops.Loop) (loops.Iteration, bool) {
	if n := len(l.Iterations); n > 0 && !l.Iterations[n-1].OK {
		return l.Iterations[n-1], true
	}
	return loops.Iteration{}, false
}

// decisiveMembers names the members of until that decided the last pass of a loop
// that its conditions ended, or that keep an unsettled one going.
func decisiveMembers(s loops.State) string {
	ended := s.Status.Settled() && (s.Stop == nil || !strings.HasPrefix(string(s.Stop.Reason), "goal."))
	if s.Verdict == nil || ended {
		return ""
	}
	var names []string
	for _, member := range s.Verdict.Members[:min(len(s.Verdict.Members), maxQuotes)] {
		names = append(names, memberName(s.Origin.Spec, member))
	}
	return strings.Join(names, ", ")
}

// memberName is a condition in words: its place, its kind and what it asks.
func memberName(spec loops.Spec, member string) string {
	c, ok := spec.Member(member)
	if !ok {
		return "until." + member
	}
	what := orElse(strings.Join(c.Run, " "), orElse(c.Expression, c.Question))
	if what == "" {
		return fmt.Sprintf("until.%s (%s)", member, c.Kind)
	}
	return fmt.Sprintf("until.%s (%s: %s)", member, c.Kind, clip(what, maxLine/2))
}
