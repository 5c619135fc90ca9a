package loops

import (
	"fmt"
	"time"
)

// This file holds the rules about going on, waiting, asking and stopping. All
// functions are pure: no clock, no I/O, no goroutine.

// outcome is what one start came to, as the rules see it.
type outcome struct {
	it        Iteration
	ask       *Ask
	permanent bool          // the error can't be mended by another start
	transient bool          // the start may be repeated
	after     time.Duration // not before this has passed
	active    time.Duration // working time of the start
}

// decide folds what a start came to into s: it accounts for it and says what
// follows. When a pass has ended, s.Owed is set and conclude has the next word.
func decide(s State, o outcome, now time.Time) State {
	s.touch(now)
	s.Open, s.Phase = false, ""
	s.Ledger.spend(o.it.Usage, o.active)
	if o.transient && int64(s.Attempt) < int64(s.Origin.Spec.Retry.MaxAttempts) && s.Intent.Cancel == nil {
		if _, _, hit := s.capHit(); !hit {
			return s.backOff(o, now)
		}
	}
	s = s.record(o.it, now)
	switch {
	case o.permanent:
		return s.settle(Failed, FailBody, "engine", o.it.Error, now)
	case !o.it.OK && int64(s.Ledger.Failures) >= int64(s.Limits.MaxFailures):
		return s.settle(Failed, FailFailures, "limit", fmt.Sprintf("%d failed iterations in a row (max_failures %d); the last: %s",
			s.Ledger.Failures, s.Limits.MaxFailures, o.it.Error), now)
	case o.ask != nil:
		return s.ask(*o.ask, now)
	case o.it.OK && o.it.Done:
		s.Owed = &Judgement{Results: map[string]Verdict{}}
		s.Phase = PhaseConditions
		return s
	}
	return s.onward(now)
}

// record commits an iteration: numbers it, keeps its output and memory.
func (s State) record(it Iteration, now time.Time) State {
	s.Iteration++
	s.Ledger.Iterations++
	s.Attempt = 0
	it.Iteration, it.Pass, it.Epoch, it.EndedAt = s.Iteration, s.Pass, s.Epoch, now
	if it.Memory != nil {
		s.Memory = it.Memory
	}
	s.Answer = ""
	s.Steers = unseen(s.Steers)
	if it.OK {
		s.Ledger.Failures = 0
		s.Output, s.Score = it.Output, it.Score
		s.Feedback = ""
		if it.Score != nil && (s.Best == nil || *it.Score > s.Best.Score) {
			s.Best = &Best{Iteration: it.Iteration, Score: *it.Score, Output: it.Output}
		}
		s.emit(now, EventIteration, fmt.Sprintf("iteration %d, pass %d: %s", it.Iteration, it.Pass, firstWords(it.Output.Text)))
	} else {
		s.Ledger.Failures++
		s.Feedback = it.Error
		s.emit(now, EventFailed, fmt.Sprintf("iteration %d failed: %s", it.Iteration, firstWords(it.Error)))
	}
	s.New.Iteration = &it
	return s
}

// backOff waits before the start is repeated.
func (s State) backOff(o outcome, now time.Time) State {
	wait := s.Origin.Spec.Retry.delay(s.Attempt)
	if o.after > wait {
		wait = o.after
	}
	s.Feedback = firstOf(s.Feedback, o.it.Error)
	s.emit(now, EventFailed, fmt.Sprintf("start %d of iteration %d: %s", s.Attempt, s.Iteration+1, firstWords(o.it.Error)))
	return s.wait("back_off", wait, now)
}

// delay is the back-off before start number done+1 of an iteration.
func (r Retry) delay(done int) time.Duration {
	wait := time.Duration(r.Initial)
	for i := 1; i < done && wait < time.Duration(r.Max); i++ {
		wait *= 2
	}
	return min(wait, time.Duration(r.Max))
}

// wait releases the loop until d has passed.
func (s State) wait(why string, d time.Duration, now time.Time) State {
	s.Status, s.Phase, s.WaitingFor = Waiting, "", why
	s.WaitingSince = now
	s.Claim = Claim{}
	s.WakeAt = s.earliest(now.Add(d))
	s.emit(now, EventWaiting, fmt.Sprintf("%s, %s", map[string]string{"delay": "delay", "back_off": "back-off", "rate_limit": "rate limit"}[why], d))
	return s
}

// conclude folds the verdicts of the conditions asked so far into s. tampered
// names protected files that changed: then nothing is met, whatever was asked.
func conclude(s State, asked map[string]Verdict, tampered []string, active time.Duration, now time.Time) State {
	s.touch(now)
	s.Ledger.ActiveSeconds += active.Seconds()
	s = s.learn(asked)
	until := s.Origin.Spec.until()
	got, by := until.answer(s.Owed.Results)
	switch {
	case len(tampered) > 0:
		return s.tampered(tampered, now)
	case got == open && s.Owed.First:
		got = no
	case got == open:
		if l, ok := until.next(s.Owed.Results, false); ok && l.cond.Kind == StopHuman {
			return s.askApproval(l, now)
		}
		return s // more to ask
	}
	v := decision(got == yes, by, s.Owed.Results)
	if s.Owed.First {
		return s.checkedFirst(v, now)
	}
	return s.endPass(v, now)
}

// learn adds verdicts to what is owed, and to the journal.
func (s State) learn(asked map[string]Verdict) State {
	owed := Judgement{First: s.Owed.First, Results: map[string]Verdict{}}
	for path, v := range s.Owed.Results {
		owed.Results[path] = v
	}
	for _, l := range s.Origin.Spec.until().leaves() {
		v, ok := asked[l.path]
		if !ok {
			continue
		}
		v.Iteration, v.Pass, v.Kind = s.Iteration, s.Pass, l.cond.Kind
		s.Ledger.spend(v.Usage, 0)
		owed.Results[l.path] = v
		s.New.Verdicts = append(s.New.Verdicts, v)
	}
	s.Owed = &owed
	return s
}

// checkedFirst goes on after check_first.
func (s State) checkedFirst(v Verdict, now time.Time) State {
	v.Iteration, v.Pass = 0, 0
	s.Verdict, s.New.Decision = &v, &v
	s.Checked, s.Owed = true, nil
	if v.Met {
		return s.settle(Completed, GoalAlreadyMet, v.Kind, "the goal was met before the first pass: "+v.Reason, now)
	}
	s.Feedback = firstOf(v.Feedback, v.Reason)
	s.emit(now, EventVerdict, "before the first pass: not met: "+firstWords(v.Reason))
	return s.onward(now)
}

// endPass closes the pass with its verdict. Success comes before limits.
func (s State) endPass(v Verdict, now time.Time) State {
	v.Iteration, v.Pass = s.Iteration, s.Pass
	results := s.Owed.Results
	s.Ledger.Passes++
	s.Owed = nil
	s.Verdict, s.New.Decision = &v, &v
	s.Progress.ProtectedPass = 0
	word := "not met"
	if v.Met {
		word = "met"
	}
	s.emit(now, EventVerdict, fmt.Sprintf("pass %d: %s by %s: %s", s.Pass, word, v.Kind, firstWords(v.Reason)))
	if v.Met && s.Intent.Cancel == nil {
		return s.settle(Completed, goalReason(v.Kind), v.Kind, v.Reason, now)
	}
	s.Feedback = firstOf(v.Feedback, v.Reason)
	if failed, ok := s.predicateFails(results, now); ok {
		return failed
	}
	if stalled, ok := s.stalls(results, now); ok {
		return stalled
	}
	return s.onward(now)
}

// predicateFails settles a loop whose predicate gave the same error three
// passes running.
func (s *State) predicateFails(results map[string]Verdict, now time.Time) (State, bool) {
	text := ""
	for _, l := range s.Origin.Spec.until().leaves() {
		if v := results[l.path]; l.cond.Kind == StopPredicate && v.Error != "" {
			text = v.Error
			break
		}
	}
	switch {
	case text == "":
		s.Progress.Error, s.Progress.SameError = "", 0
	case text == s.Progress.Error:
		s.Progress.SameError++
	default:
		s.Progress.Error, s.Progress.SameError = text, 1
	}
	if s.Progress.SameError < 3 {
		return State{}, false
	}
	return s.settle(Failed, FailPredicate, StopPredicate, "the same error three passes running: "+text, now), true
}

// tampered ends a pass in which protected files changed: once it is feedback,
// twice running it blocks the loop.
func (s State) tampered(files []string, now time.Time) State {
	v := Verdict{Iteration: s.Iteration, Pass: s.Pass, Kind: "protect",
		Reason:   "protected: " + joinSome(files, 5),
		Feedback: "These files are protected and must stay as they were at the start: " + joinSome(files, 20) + ". Restore them; no condition is met while they differ."}
	strikes := s.Progress.ProtectedPass + 1
	s.Ledger.Passes++
	s.Owed = nil
	s.Verdict, s.New.Decision = &v, &v
	s.Feedback = v.Feedback
	s.Progress.ProtectedPass = strikes
	s.emit(now, EventVerdict, fmt.Sprintf("pass %d: not met: %s", s.Pass, v.Reason))
	if strikes >= 2 {
		return s.settle(Blocked, BlockedProtected, "protect", "protected files stayed changed for two passes: "+joinSome(files, 5), now)
	}
	return s.onward(now)
}

// stalls counts repetition after a pass that was not met: one nudge, then
// stalled.
func (s *State) stalls(results map[string]Verdict, now time.Time) (State, bool) {
	p := &s.Progress
	if out := textHash(s.Output.Text + s.Output.Blob); out == p.OutputHash {
		p.SameOutput++
	} else {
		p.OutputHash, p.SameOutput = out, 1
	}
	if evidence := fingerprint(results, p.OutputHash); evidence == p.EvidenceHash {
		p.SameEvidence++
	} else {
		p.EvidenceHash, p.SameEvidence = evidence, 1
	}
	limit := int(s.Origin.Spec.Stall.passes())
	if limit == 0 {
		return State{}, false
	}
	switch {
	case p.SameOutput >= 2*limit:
		return s.settle(Stalled, StallRepeatedOutput, "engine", fmt.Sprintf("the same output %d passes running, one nudge included", p.SameOutput), now), true
	case p.SameEvidence >= 2*limit:
		return s.settle(Stalled, StallNoProgress, "engine", fmt.Sprintf("the same evidence and verdict %d passes running, one nudge included", p.SameEvidence), now), true
	case p.SameOutput == limit:
		s.nudge(fmt.Sprintf("The last %d passes handed in the same output.", limit), now)
	case p.SameEvidence == limit:
		s.nudge(fmt.Sprintf("The last %d passes changed nothing that the check can see.", limit), now)
	}
	return State{}, false
}

func (s *State) nudge(what string, now time.Time) {
	s.Feedback = what + " Try a different approach: say what you assumed, check it, and change something else.\n\n" + s.Feedback
	s.emit(now, EventNudge, what)
}

func (s *Stall) passes() Count {
	if s == nil {
		return 0
	}
	return s.Passes
}

// onward says what follows when nothing has settled the loop: a wish of a
// person, a cap, a delay, or the next start.
func (s State) onward(now time.Time) State {
	switch {
	case s.Intent.Cancel != nil:
		return s.cancelled(now)
	case s.Intent.Pause != nil:
		return s.pause(*s.Intent.Pause, now)
	}
	if reason, detail, hit := s.capHit(); hit {
		return s.settle(Capped, reason, "limit", detail, now)
	}
	s.Pass = s.Ledger.Passes + 1
	if d := time.Duration(s.Origin.Spec.Delay); d > 0 && s.Iteration > 0 {
		return s.wait("delay", d, now)
	}
	return s.begin(now)
}

// begin charges the next start. A client's loop becomes its turn; another one
// runs when a worker holds it and is queued when none does.
func (s State) begin(now time.Time) State {
	if s.Origin.Spec.Body.Kind != BodyClient && s.Claim.Token == "" {
		s.Status, s.Phase, s.WakeAt, s.WaitingFor = Queued, "", time.Time{}, ""
		return s
	}
	if reason, detail, hit := s.capHit(); hit {
		return s.settle(Capped, reason, "limit", detail, now)
	}
	s.Pass = s.Ledger.Passes + 1
	s.Ledger.Starts++
	s.Attempt++
	s.Open = true
	s.WakeAt, s.WaitingFor, s.WaitingSince, s.Why = time.Time{}, "", time.Time{}, ""
	s.seeSteers(now)
	if s.Origin.Spec.Body.Kind == BodyClient {
		return s.yourTurn(now)
	}
	s.Status, s.Phase, s.Attention = Running, PhaseBody, nil
	s.emit(now, EventStarted, fmt.Sprintf("start %d: iteration %d, pass %d", s.Ledger.Starts, s.Iteration+1, s.Pass))
	return s
}

func (s *State) seeSteers(now time.Time) {
	steers := make([]Steer, len(s.Steers))
	for i, one := range s.Steers {
		if !one.Seen {
			s.emit(now, EventSteerApplied, "start "+fmt.Sprint(s.Ledger.Starts)+" has it: "+firstWords(one.Text))
		}
		steers[i] = Steer{Text: one.Text, Seen: true}
	}
	s.Steers = steers
}

func unseen(steers []Steer) []Steer {
	var left []Steer
	for _, one := range steers {
		if !one.Seen {
			left = append(left, one)
		}
	}
	return left
}

// yourTurn hands the brief to the client.
func (s State) yourTurn(now time.Time) State {
	s.Status, s.Phase, s.Claim = YourTurn, "", Claim{}
	s.Attention = &Attention{Kind: AttentionIteration, ID: fmt.Sprintf("it-%d", s.Iteration+1), Since: now}
	s.Attention.Prompt = s.prompt()
	s.WakeAt = s.earliest(time.Time{})
	s.emit(now, EventStarted, fmt.Sprintf("start %d: iteration %d, pass %d, handed to the client", s.Ledger.Starts, s.Iteration+1, s.Pass))
	s.emit(now, EventAttention, "your_turn "+s.Attention.ID)
	return s
}

// claim gives the loop to a worker and says what it runs. ok is false when
// there is nothing to do for a worker.
func claim(s State, c Claim, now time.Time) (State, bool) {
	if s.Status.Settled() || s.Status == Paused {
		return s, false
	}
	crashed := s.Open && s.Claim.Token != "" || s.Open && s.Status == Queued
	s.touch(now)
	s.endWait(now)
	if s.Intent.Cancel != nil {
		s.Open = false
		return s.cancelled(now), true
	}
	if expired, ok := s.expire(now); ok {
		return expired, true
	}
	if s.Status == YourTurn || s.Status == NeedsInput {
		return s, false
	}
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now), true
	}
	s.Claim, s.Why = c, ""
	switch {
	case s.Owed != nil:
		s.Status, s.Phase = Running, PhaseConditions
		return s, true
	case s.Origin.Spec.until().CheckFirst && !s.Checked:
		s.Status, s.Phase, s.Owed = Running, PhaseConditions, &Judgement{First: true, Results: map[string]Verdict{}}
		return s, true
	case crashed:
		return s.afterCrash(now), true
	}
	return s.begin(now), true
}

// afterCrash repeats a start that was cut off, or asks whether to.
func (s State) afterCrash(now time.Time) State {
	s.Open = false
	if s.Attempt > 0 {
		s.Attempt-- // a crash is not the body's fault
	}
	if s.Origin.Spec.Retry.OnCrash == OnCrashAsk {
		return s.needInput(Attention{Kind: AttentionApproval, Cause: "crash", Prompt: fmt.Sprintf(
			"A crash cut off start %d (iteration %d). It may have had effects. Approve to run it again; deny to count it as failed.", s.Ledger.Starts, s.Iteration+1)}, now)
	}
	return s.begin(now)
}

// endWait accounts for the time that a wait took.
func (s *State) endWait(now time.Time) {
	if s.Status != Waiting {
		return
	}
	until := now
	if !s.WakeAt.IsZero() && s.WakeAt.Before(now) {
		until = s.WakeAt
	}
	if waited := until.Sub(s.WaitingSince); waited > 0 {
		s.Ledger.ActiveSeconds += waited.Seconds()
	}
	s.WaitingSince = time.Time{}
}

// expire settles a loop whose time or whose question's time is over.
func (s State) expire(now time.Time) (State, bool) {
	if s.Status == NeedsInput && s.Attention != nil && s.Origin.Spec.AnswerTimeout > 0 {
		if !now.Before(s.Attention.Since.Add(time.Duration(s.Origin.Spec.AnswerTimeout))) {
			owed := s.Owed
			s = s.settle(Blocked, BlockedNoAnswer, "limit", fmt.Sprintf("nobody answered within %s: %s", s.Origin.Spec.AnswerTimeout, firstWords(s.Attention.Prompt)), now)
			s.Owed = owed
			return s, true
		}
	}
	if s.Elapsed >= s.Limits.MaxDuration {
		_, detail, _ := s.capHit()
		if s.Elapsed >= s.Limits.MaxDuration {
			detail = s.durationDetail()
		}
		return s.settle(Capped, CapDuration, "limit", detail, now), true
	}
	return s, false
}

// ask makes a person owe an answer.
func (s State) ask(a Ask, now time.Time) State {
	kind := AttentionQuestion
	if a.Approval {
		kind = AttentionApproval
	}
	if s.Intent.Cancel != nil {
		return s.cancelled(now)
	}
	return s.needInput(Attention{Kind: kind, Cause: "body", Prompt: a.Prompt}, now)
}

func (s State) askApproval(l leaf, now time.Time) State {
	if s.Intent.Cancel != nil {
		return s.cancelled(now)
	}
	question := l.cond.Question
	if c, err := expandCondition(l.cond, s); err == nil {
		question = c.Question
	}
	return s.needInput(Attention{Kind: AttentionApproval, Cause: "human", Path: l.path, Prompt: question}, now)
}

func (s State) needInput(a Attention, now time.Time) State {
	prefix := map[string]string{AttentionQuestion: "q", AttentionApproval: "ap"}[a.Kind]
	a.ID, a.Since = fmt.Sprintf("%s-%d", prefix, s.Cursor+1), now
	s.Status, s.Phase, s.Claim, s.Attention = NeedsInput, "", Claim{}, &a
	s.WakeAt = s.earliest(time.Time{})
	s.emit(now, EventAttention, fmt.Sprintf("%s %s: %s", a.Kind, a.ID, firstWords(a.Prompt)))
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now)
	}
	return s
}

// earliest returns the next moment at which the rules must be asked again: at,
// the end of an unanswered question, or the end of max_duration.
func (s State) earliest(at time.Time) time.Time {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	sooner(s.Origin.CreatedAt.Add(time.Duration(s.Limits.MaxDuration)))
	if s.Status == NeedsInput && s.Attention != nil && s.Origin.Spec.AnswerTimeout > 0 {
		sooner(s.Attention.Since.Add(time.Duration(s.Origin.Spec.AnswerTimeout)))
	}
	return at
}

// touch moves the loop's clock. It never goes back.
func (s *State) touch(now time.Time) {
	s.UpdatedAt = now
	if e := Duration(now.Sub(s.Origin.CreatedAt)); e > s.Elapsed {
		s.Elapsed = e
	}
}

// emit adds an event to what this change adds to the journal.
func (s *State) emit(now time.Time, t EventType, text string) {
	s.Cursor++
	s.New.Events = append(s.New.Events[:len(s.New.Events):len(s.New.Events)], Event{Cursor: s.Cursor, At: now, Type: t, Text: clip(text, 500)})
}
