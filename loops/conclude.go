package loops

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// conclude folds the verdicts of the conditions asked so far into s. tampered
// names protected files that changed: then nothing is met, whatever was asked.
func conclude(s State, asked map[string]Verdict, tampered []string, active time.Duration, now time.Time) State {
	s.touch(now)
	s.Ledger.ActiveSeconds += active.Seconds()
	s = s.learn(asked).writeOff()
	until := s.Origin.Spec.until()
	got, by := until.answer(s.Owed.Results)
	switch {
	case s.Intent.Cancel != nil:
		return s.cancelled(now)
	case len(tampered) > 0:
		return s.tampered(tampered, now)
	case got == open && !s.Owed.First:
		return s.askFurther(until, now)
	case got == open:
		if _, more := until.next(s.Owed.Results, true); more {
			return s.askFurther(until, now)
		}
	}
	v := decision(got == yes, by, s.Owed.Results)
	if s.Owed.First {
		return s.checkedFirst(v, now)
	}
	return s.endPass(v, now)
}

// askFurther is what follows when more conditions must be asked: a person when
// only that is left, else the worker goes on.
func (s State) askFurther(until Until, now time.Time) State {
	if l, ok := until.next(s.Owed.Results, s.Owed.First); ok && l.cond.Kind == StopHuman {
		return s.askApproval(l, now)
	}
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now)
	}
	return s
}

func (s State) askApproval(l leaf, now time.Time) State {
	question := l.cond.Question
	judged := s // templates speak of the iteration that is judged, not of the next
	judged.Iteration = max(0, s.Iteration-1)
	if c, err := expandCondition(l.cond, judged); err == nil {
		question = c.Question
	}
	return s.needInput(Attention{Kind: AttentionApproval, Cause: causeHuman, Path: l.path, Prompt: question}, now)
}

// learn adds verdicts to what is owed, and to the journal.
func (s State) learn(asked map[string]Verdict) State {
	owed := Judgement{First: s.Owed.First, Results: map[string]Verdict{}, Metered: maps.Clone(s.Owed.Metered)}
	maps.Copy(owed.Results, s.Owed.Results)
	if len(asked) > 0 {
		s.Waits, s.Short = 0, nil
	} else {
		owed.Tries = s.Owed.Tries
	}
	for _, l := range s.Origin.Spec.until().leaves() {
		v, ok := asked[l.path]
		if !ok {
			continue
		}
		v.Iteration, v.Pass, v.Kind, v.Members = s.Iteration, s.Pass, l.cond.Kind, []string{l.path}
		if v.Usage != (Usage{}) { // else its calls went through the meter, or there were none
			s.spend(roleOf(l.cond.Kind), v.Model, v.Usage)
		}
		if metered := s.Owed.Metered[l.path]; metered != (Usage{}) {
			v.Usage = v.Usage.Plus(metered)
		}
		owed.Results[l.path] = v
		delete(owed.Metered, l.path)
		s.New.Verdicts = append(slices.Clip(s.New.Verdicts), v)
	}
	s.Owed = &owed
	return s
}

// roleOf is the row of the usage view that a condition belongs to.
func roleOf(kind string) string {
	if kind == StopJudge {
		return RoleJudge
	}
	return RoleWorker
}

// unjudged is the rule for a condition that could not be asked: it is asked
// again later, a person mends what is wrong, or the loop is over. No pass is
// charged and no body runs; the judgement stays owed.
func unjudged(s State, asked map[string]Verdict, f fault, active time.Duration, now time.Time) State {
	s.touch(now)
	s.Ledger.ActiveSeconds += active.Seconds()
	s = s.learn(asked).writeOff()
	switch {
	case s.Intent.Cancel != nil:
		return s.cancelled(now)
	case f.capped != nil:
		return s.outOf(*f.capped, false, now)
	case f.permanent:
		return s.settle(Failed, FailJudge, f.kind, f.text, now)
	case f.limited:
		s.emit(now, EventFailed, "the "+f.kind+" waits: "+firstWords(f.text))
		return s.awaitProvider(f.after, now)
	}
	owed := *s.Owed
	owed.Tries++
	s.Owed = &owed
	s.emit(now, EventFailed, fmt.Sprintf("the %s could not be asked (try %d): %s", f.kind, owed.Tries, firstWords(f.text)))
	if int64(owed.Tries) < int64(s.Origin.Spec.Retry.MaxAttempts) {
		return s.wait("back_off", max(f.after, s.Origin.Spec.Retry.delay(owed.Tries)), now)
	}
	owed.Tries = 0
	return s.pause(Pause{Reason: PauseJudgeUnavailable, Detail: f.text}, now)
}

// fault is why a condition gave no verdict.
type fault struct {
	kind      string // of the condition
	text      string
	permanent bool
	limited   bool
	after     time.Duration
	capped    *CapError
}

// hopeless reports whether a condition that nothing can meet decides the whole.
func (u Until) hopeless(results map[string]Verdict) (Verdict, bool) {
	for _, l := range u.leaves() {
		v, ok := results[l.path]
		if !ok || !v.Impossible || v.Met {
			continue
		}
		if got, _ := u.answer(map[string]Verdict{l.path: v}); got == no {
			return v, true
		}
	}
	return Verdict{}, false
}

// checkedFirst goes on after check_first.
func (s State) checkedFirst(v Verdict, now time.Time) State {
	v.Iteration, v.Pass = 0, 0
	s.Verdict, s.New.Decision = &v, &v
	s.Checked, s.Owed = true, nil
	if v.Met {
		return s.settle(Completed, GoalAlreadyMet, v.Kind, "the goal was met before the first pass: "+v.Reason, now)
	}
	s.Feedback = s.standing()
	s.emit(now, EventVerdict, "before the first pass: not met by "+v.Kind+": "+firstWords(v.Reason))
	s.onward(now)
	return s
}

// endPass closes the pass with its verdict. Success comes before limits.
func (s State) endPass(v Verdict, now time.Time) State {
	v.Iteration, v.Pass = s.Iteration, s.Pass
	results := s.Owed.Results
	s.Ledger.Passes++
	s.Owed, s.Verdict, s.New.Decision = nil, &v, &v
	s.Progress.ProtectedPass = 0
	word := map[bool]string{true: "met", false: "not met"}[v.Met]
	s.emit(now, EventVerdict, fmt.Sprintf("pass %d: %s by %s: %s", s.Pass, word, v.Kind, firstWords(v.Reason)))
	if v.Met {
		return s.settle(Completed, goalReason(v.Kind), v.Kind, v.Reason, now)
	}
	if why, ok := s.Origin.Spec.until().hopeless(results); ok {
		return s.settle(Blocked, BlockedImpossible, why.Kind, why.Reason, now)
	}
	if text, same := s.Progress.predicateError(s.Origin.Spec.until(), results); same >= 3 {
		return s.settle(Failed, FailPredicate, StopPredicate, fmt.Sprintf("the same error %d passes running: %s", same, text), now)
	}
	s.Progress.count(s.Output, results)
	reason, detail, nudge := s.Progress.stalled(int(s.Origin.Spec.Stall.passes()))
	if reason != "" {
		return s.settle(Stalled, reason, "engine", detail, now)
	}
	if nudge != "" { // part of the verdict's feedback, so that it holds for the whole pass
		v.Feedback = paragraphs(nudge+" Try a different approach: say what you assumed, check it, and change something else.", s.standing())
		s.emit(now, EventNudge, nudge)
	}
	s.Feedback = s.standing()
	s.onward(now)
	return s
}

// predicateError counts in how many passes running a predicate gave the same
// error.
func (p *Progress) predicateError(until Until, results map[string]Verdict) (text string, same int) {
	for _, l := range until.leaves() {
		if v := results[l.path]; l.cond.Kind == StopPredicate && v.Error != "" {
			text = v.Error
			break
		}
	}
	switch {
	case text == "":
		p.SameError = 0
	case text == p.Error:
		p.SameError++
	default:
		p.SameError = 1
	}
	p.Error = text
	return text, p.SameError
}

// tampered ends a pass in which protected files changed: once it is feedback,
// twice running it blocks the loop.
func (s State) tampered(files []string, now time.Time) State {
	v := Verdict{Iteration: s.Iteration, Pass: s.Pass, Kind: "protect",
		Reason:   "protected: " + joinSome(files, 5),
		Feedback: "These files are protected and must stay as they were at the start: " + joinSome(files, 20) + ". Restore them; no condition is met while they differ."}
	s.Ledger.Passes++
	s.Owed, s.Verdict, s.New.Decision = nil, &v, &v
	s.Feedback = v.Feedback
	s.Progress.ProtectedPass++
	s.emit(now, EventVerdict, fmt.Sprintf("pass %d: not met: %s", s.Pass, v.Reason))
	if s.Progress.ProtectedPass >= 2 {
		return s.settle(Blocked, BlockedProtected, "protect", "protected files stayed changed for two passes: "+joinSome(files, 5), now)
	}
	s.onward(now)
	return s
}

// count compares a pass that was not met with the one before.
func (p *Progress) count(output Text, results map[string]Verdict) {
	if hash := textHash(output.Text + output.Blob); hash == p.OutputHash {
		p.SameOutput++
	} else {
		p.OutputHash, p.SameOutput = hash, 1
	}
	if evidence := fingerprint(results, p.OutputHash); evidence == p.EvidenceHash {
		p.SameEvidence++
	} else {
		p.EvidenceHash, p.SameEvidence = evidence, 1
	}
}

// stalled says what repetition means: nothing, one nudge after limit passes, or
// the end after as many again. A limit of 0 is off.
func (p Progress) stalled(limit int) (reason StopReason, detail, nudge string) {
	switch {
	case limit == 0:
	case p.SameOutput >= 2*limit:
		return StallRepeatedOutput, fmt.Sprintf("the same output %d passes running, one nudge included", p.SameOutput), ""
	case p.SameEvidence >= 2*limit:
		return StallNoProgress, fmt.Sprintf("the same evidence and verdict %d passes running, one nudge included", p.SameEvidence), ""
	case p.SameOutput == limit:
		return "", "", fmt.Sprintf("The last %s handed in the same output.", countOf(limit, "pass"))
	case p.SameEvidence == limit:
		return "", "", fmt.Sprintf("The last %s changed nothing that the check can see.", countOf(limit, "pass"))
	}
	return "", "", ""
}

func (s *Stall) passes() Count {
	if s == nil {
		return 0
	}
	return s.Passes
}
