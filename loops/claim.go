package loops

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// claim gives the loop to a worker and says what it runs. ok is false when
// there is nothing to do for a worker now.
func claim(s State, c Claim, now time.Time) (State, bool) {
	if s.Status.Settled() || s.Status == Paused {
		return s, false
	}
	held := s.Open && s.Held
	crashed := s.Open && !held && (s.Claim.Token != "" || s.Status == Queued)
	early := s.Status == Waiting && now.Before(s.WaitingUntil)
	s.touch(now)
	s.endWait(now)
	s.take(s.Claim)
	s = s.writeOff() // nobody settles the calls of a worker that is gone
	if s.Intent.Cancel != nil {
		return s.cancelled(now), true
	}
	if expired, ok := s.expire(now); ok {
		return expired, true
	}
	if early || s.Status == YourTurn || s.Status == NeedsInput {
		return s, false
	}
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now), true
	}
	s.Claim, s.Why, s.WaitingFor, s.WakeAt = c, "", "", time.Time{}
	switch {
	case s.Owed != nil:
		s.Status, s.Phase = Running, PhaseConditions
		return s, true
	case s.Origin.Spec.until().CheckFirst && !s.Checked:
		s.Status, s.Phase, s.Owed = Running, PhaseConditions, &Judgement{First: true, Results: map[string]Verdict{}}
		return s, true
	case held:
		return s.goOn(now), true
	case crashed:
		return s.afterCrash(now), true
	}
	s.begin(now)
	return s, true
}

// take notes that the claim c ends without a commit of its worker, which may live
// and come to know it here: a claim that is over and was not taken was let go.
func (s *State) take(c Claim) {
	if c.Token == "" {
		return
	}
	s.Taken = append(slices.Clone(s.Taken), c.Token)
	s.Taken = s.Taken[max(0, len(s.Taken)-maxTaken):]
}

// maxTaken bounds State.Taken.
const maxTaken = 16

// afterCrash repeats a start that was cut off, or asks whether to.
func (s State) afterCrash(now time.Time) State {
	s.Open = false
	s.Attempt = max(0, s.Attempt-1) // a crash is not the body's fault
	if s.Origin.Spec.Retry.OnCrash == OnCrashAsk {
		return s.needInput(Attention{Kind: AttentionApproval, Cause: causeCrash, Prompt: fmt.Sprintf(
			"Start %d (iteration %d) was cut off before its end. It may have had effects. Approve to run it again; deny to count it as failed.", s.Ledger.Starts, s.Iteration+1)}, now)
	}
	s.begin(now)
	return s
}

// handBack lets go of a loop before its next step, for whoever has a worker that is
// free. A start that is charged goes on uncharged.
func handBack(s State, now time.Time) State {
	s.touch(now)
	s.Held = s.Open
	switch {
	case s.Intent.Cancel != nil:
		return s.cancelled(now)
	case s.Intent.Pause != nil:
		return s.pause(*s.Intent.Pause, now)
	}
	return s.toWorker()
}

// severed is afterCrash for a start whose worker lives and lost whoever did the
// work. It is repeated after a back-off: whoever did it may come back only to
// end the same way.
func (s State) severed(o outcome, now time.Time) State {
	s.emit(now, EventFailed, fmt.Sprintf("start %d of iteration %d was cut off: %s", s.Ledger.Starts, s.Iteration+1, firstWords(o.it.Error)))
	switch {
	case s.Intent.Pause != nil:
		s.Open = true // what follows is for whoever resumes it
		return s.pause(*s.Intent.Pause, now)
	case s.Origin.Spec.Retry.OnCrash == OnCrashAsk:
		return s.afterCrash(now)
	}
	s.Attempt = max(0, s.Attempt-1) // as there
	if s.capped(now) {
		return s
	}
	return s.wait("back_off", s.Origin.Spec.Retry.delay(1), now)
}

// wait releases the loop until d has passed.
func (s State) wait(why string, d time.Duration, now time.Time) State {
	s.Status, s.Phase, s.Why, s.WaitingFor = Waiting, "", "", why
	s.WaitingSince, s.WaitingUntil = now, now.Add(d)
	s.Claim = Claim{}
	s.WakeAt = s.wake()
	s.emit(now, EventWaiting, fmt.Sprintf("%s of %s", map[string]string{"delay": "delay", "back_off": "back-off", "rate_limit": "rate limit"}[why], d.Round(time.Millisecond)))
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now)
	}
	return s
}

// endWait accounts for the time that a wait took. What passes after its end,
// while no process is there to see it, does not count.
func (s *State) endWait(now time.Time) {
	if s.Status != Waiting || s.WaitingSince.IsZero() {
		return
	}
	until := now
	if !s.WakeAt.IsZero() && s.WakeAt.Before(now) {
		until = s.WakeAt
	}
	if waited := until.Sub(s.WaitingSince); waited > 0 && s.WaitingFor != "rate_limit" {
		s.Ledger.ActiveSeconds += waited.Seconds()
	}
	s.WaitingSince, s.WaitingUntil = time.Time{}, time.Time{}
}

// expired reports whether a claim now would only settle the loop, which any
// process can.
func (s State) expired(now time.Time) bool {
	s.touch(now)
	_, ok := s.expire(now)
	return ok
}

// wake returns the next moment at which the rules must be asked about a loop
// that waits for time, the client or a person.
func (s *State) wake() time.Time {
	at := s.UpdatedAt.Add(time.Duration(s.Limits.MaxDuration - s.Elapsed))
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	switch {
	case s.Status == Waiting:
		sooner(s.WaitingUntil)
		if s.WaitingFor != "rate_limit" { // that is the provider's time
			sooner(s.WaitingSince.Add(time.Duration(s.Limits.MaxActive) - s.Ledger.active()))
		}
	case s.Status == NeedsInput && s.Attention != nil && s.Origin.Spec.AnswerTimeout > 0:
		sooner(s.Attention.Since.Add(time.Duration(s.Origin.Spec.AnswerTimeout)))
	}
	return at
}

// expire settles a loop whose time or whose question's time is over. What is
// owed stays owed.
func (s State) expire(now time.Time) (State, bool) {
	if limit := s.Origin.Spec.AnswerTimeout; s.Status == NeedsInput && s.Attention != nil && limit > 0 && !now.Before(s.Attention.Since.Add(time.Duration(limit))) {
		return s.settle(Blocked, BlockedNoAnswer, "limit", fmt.Sprintf("nobody answered within %s: %s", limit, firstWords(s.Attention.Prompt)), now), true
	}
	if reason, detail, hit := s.timeUp(); hit {
		return s.settle(Capped, reason, "limit", detail, now), true
	}
	return s, false
}

// cutOff is the rule for a start or a judgement that did not get to its end: on
// a cancel, at a cap in time, or because the process stops.
func cutOff(s State, cause error, o outcome, now time.Time) State {
	s.touch(now)
	s.Elapsed = max(s.Elapsed, o.elapsed)
	s.account(&o)
	if s.Intent.Cancel != nil {
		return s.cancelled(now)
	}
	if reason, detail, hit := s.timeUp(); hit && (errors.Is(cause, errActiveTime) || errors.Is(cause, errDurationTime)) {
		return s.settle(Capped, reason, "limit", detail, now)
	}
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now)
	}
	s = s.toWorker() // Open stays set, so that the next worker treats the start as cut off
	s.Why = "the process that ran it stopped"
	if errors.Is(cause, ErrUnleased) {
		s.Why = "the worker that ran it was cut off from the store"
	}
	return s
}
