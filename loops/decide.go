package loops

import (
	"fmt"
	"slices"
	"time"
)

// This file and its neighbours onward.go, claim.go, conclude.go, settle.go,
// requests.go and moves.go hold the rules about going on, waiting, asking and
// stopping. All functions
// are pure: no clock, no I/O, no goroutine.

// outcome is what one start came to, as the rules see it.
type outcome struct {
	it        Iteration
	ask       *Ask
	permanent bool          // the error can't be mended by another start
	transient bool          // the start may be repeated
	limited   bool          // the provider asks to wait: the same start goes on
	cut       bool          // nobody knows what the start did: as after a crash
	unserved  bool          // the start has not begun
	provider  bool          // the error is a model provider's
	capped    *CapError     // a limit left no room for a call
	after     time.Duration // not before this has passed
	active    time.Duration // working time of the start
	elapsed   Duration      // age of the loop when it ended, by a clock that nobody sets
}

// decide folds what a start came to into s: it accounts for it and says what
// follows. When a pass has ended, s.Owed is set and conclude has the next word.
func decide(s State, o outcome, now time.Time) State {
	s.decide(&o, now)
	return s
}

// decide is the function decide in place. What each iteration goes through is in
// place, and what few do in functions of their own: a state is large, and so would
// be the stacks of a thousand loops side by side.
func (s *State) decide(o *outcome, now time.Time) {
	s.touch(now)
	s.Elapsed = max(s.Elapsed, o.elapsed)
	s.Open, s.Phase = false, ""
	s.account(o)
	usual := o.usual() && s.Intent.Cancel == nil
	if !usual && s.sameStart(o, now) {
		return
	}
	s.record(o, now)
	switch {
	case !usual && s.halted(o, now):
	case o.it.OK && o.it.Done:
		s.Owed = &Judgement{Results: map[string]Verdict{}}
		s.Status, s.Phase = Running, PhaseConditions
	default:
		s.onward(now)
	}
}

// usual reports whether the start came to an iteration with nothing else to say.
func (o *outcome) usual() bool {
	return o.it.OK && o.ask == nil && o.capped == nil && !o.permanent && !o.transient && !o.limited && !o.cut && !o.unserved
}

// sameStart reports whether the outcome is no iteration: a limit left no room, or
// the start is to go on or to be repeated.
func (s *State) sameStart(o *outcome, now time.Time) bool {
	switch {
	case o.capped != nil:
		*s = s.outOf(*o.capped, true, now)
	case o.limited && s.Intent.Cancel == nil:
		*s = s.holdOn(*o, now)
	case o.unserved && s.Intent.Cancel == nil:
		*s = s.unserved(now)
	case o.cut && s.Intent.Cancel == nil:
		*s = s.severed(*o, now)
	case o.transient && s.mayRepeat():
		*s = s.backOff(*o, now)
	default:
		return false
	}
	return true
}

// halted reports whether an iteration is the last one for now: of a loop that is
// cancelled, that has failed or that asks.
func (s *State) halted(o *outcome, now time.Time) bool {
	switch {
	case s.Intent.Cancel != nil:
		*s = s.cancelled(now)
	case o.permanent:
		*s = s.settle(Failed, o.blame(FailBody), "engine", o.it.Error, now)
	case !o.it.OK && int64(s.Ledger.Failures) >= int64(s.Limits.MaxFailures):
		*s = s.settle(Failed, o.blame(FailFailures), "limit", fmt.Sprintf("%s in a row (max_failures %d); the last: %s",
			countOf(s.Ledger.Failures, "failed iteration"), s.Limits.MaxFailures, o.it.Error), now)
	case o.ask != nil:
		*s = s.ask(*o.ask, now)
	default:
		return false
	}
	return true
}

// blame is the stop reason of a failure: the provider's, or usual.
func (o *outcome) blame(usual StopReason) StopReason {
	if o.provider {
		return FailProvider
	}
	return usual
}

// account adds what a start spent and keeps what it remembered, however it
// ended. Nobody settles the calls that it left open.
func (s *State) account(o *outcome) {
	s.writeOffAll()
	if o.it.Memory != nil {
		s.Memory, s.Unkept = o.it.Memory, true
	}
	s.Ledger.ActiveSeconds += o.active.Seconds()
	s.spend(RoleWorker, "", o.it.Usage)
}

// holdOn waits for a provider inside the start under way.
func (s State) holdOn(o outcome, now time.Time) State {
	s.Open, s.Held = true, true
	s.emit(now, EventFailed, fmt.Sprintf("start %d of iteration %d waits: %s", s.Attempt, s.Iteration+1, firstWords(o.it.Error)))
	return s.awaitProvider(o.after, now)
}

// unserved gives the loop back to the queue inside the start under way, which
// nobody has begun.
func (s State) unserved(now time.Time) State {
	s.Open, s.Held = true, true
	s.emit(now, EventWaiting, fmt.Sprintf("start %d of iteration %d has not begun: nobody is there to do it", s.Attempt, s.Iteration+1))
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now)
	}
	s = s.toWorker()
	s.Why = fmt.Sprintf("start %d has not begun", s.Ledger.Starts)
	return s
}

// awaitProvider waits as long as the provider asked, at least a back-off that
// grows while it keeps asking.
func (s State) awaitProvider(after time.Duration, now time.Time) State {
	s.Waits++
	return s.wait("rate_limit", max(after, s.Origin.Spec.Retry.delay(s.Waits)), now)
}

// goOn continues a start that was held, without another charge.
func (s State) goOn(now time.Time) State {
	s.Held = false
	s.WakeAt, s.WaitingFor, s.Why = time.Time{}, "", ""
	s.seeSteers(now)
	s.Status, s.Phase, s.Attention = Running, PhaseBody, nil
	return s
}

// outOf ends the movement of a loop whose limits leave no room for a call. A
// limit that was raised meanwhile lets the same start go on.
func (s State) outOf(e CapError, body bool, now time.Time) State {
	if s.Intent.Cancel != nil {
		return s.cancelled(now)
	}
	if limit, own := s.Limits.of(e.Reason); own {
		if e.limit != 0 && limit > e.limit { // raised since the call was refused
			s.Short, s.Open, s.Held = nil, body, body
			if s.Intent.Pause != nil {
				return s.pause(*s.Intent.Pause, now)
			}
			return s.toWorker()
		}
		if limit = max(limit, e.limit); s.Short == nil || s.Short.Reason != e.Reason || s.Short.Limit < limit {
			s.Short = &Shortage{Reason: e.Reason, Limit: limit}
		}
	}
	return s.settle(Capped, e.Reason, "limit", e.Detail, now)
}

// of returns the value of the limit behind a cap. ok is false for one that is
// not the loop's own.
func (l Limits) of(reason StopReason) (value int64, ok bool) {
	switch reason {
	case CapTokens:
		return int64(l.MaxTotalTokens), true
	case CapCost:
		return int64(l.MaxCostUSD), true
	case CapToolCalls:
		return int64(l.MaxToolCalls), true
	default:
		return 0, false
	}
}

// mayRepeat reports whether the iteration under way has another start left.
func (s *State) mayRepeat() bool {
	_, _, hit := s.capHit()
	return !hit && s.Intent.Cancel == nil && int64(s.Attempt) < int64(s.Origin.Spec.Retry.MaxAttempts)
}

// record commits an iteration: numbers it, keeps its output and memory. A
// failed one leaves answer and steering for the next start.
func (s *State) record(o *outcome, now time.Time) {
	it := o.it
	s.Iteration++
	s.Ledger.Iterations++
	s.Attempt, s.Waits, s.Short = 0, 0, nil
	if s.Metered != (Usage{}) {
		it.Usage, s.Metered = it.Usage.Plus(s.Metered), Usage{}
	}
	it.Iteration, it.Pass, it.Epoch, it.EndedAt = s.Iteration, s.Pass, s.Epoch, now
	it.Done = it.Done && o.ask == nil
	if it.Memory == nil && s.Unkept { // saved before: the journal says what each iteration left
		it.Memory = s.Memory
	}
	s.Unkept = false
	s.Feedback = s.standing()
	if it.OK {
		s.Ledger.Failures = 0
		s.Output, s.Score = it.Output, it.Score
		s.Answer, s.Steers = "", unseen(s.Steers)
		if it.Score != nil && (s.Best == nil || *it.Score > s.Best.Score) {
			s.Best = &Best{Iteration: it.Iteration, Score: *it.Score, Output: it.Output}
		}
		s.emit(now, EventIteration, it.text())
	} else {
		s.Ledger.Failures++
		s.Feedback = paragraphs(it.Error, s.Feedback)
		s.emit(now, EventFailed, fmt.Sprintf("iteration %d failed: %s", it.Iteration, firstWords(it.Error)))
	}
	s.New.Iteration = &it
}

func (it *Iteration) text() string {
	b := number(number(make([]byte, 0, 64), "iteration ", it.Iteration), ", pass ", it.Pass)
	return string(append(append(b, ": "...), firstOf(firstWords(it.Output.Text), "no output")...))
}

// standing is the feedback of the last pass. It holds for the whole of the next
// one, however many iterations that takes.
func (s *State) standing() string {
	if s.Verdict == nil || s.Verdict.Met {
		return ""
	}
	return firstOf(s.Verdict.Feedback, s.Verdict.Reason)
}

// ask makes a person owe an answer to the body. Nobody is asked for what no
// start could use any more.
func (s State) ask(a Ask, now time.Time) State {
	if s.capped(now) {
		return s
	}
	kind := AttentionQuestion
	if a.Approval {
		kind = AttentionApproval
	}
	return s.needInput(Attention{Kind: kind, Cause: causeBody, Prompt: a.Prompt}, now)
}

// The causes of an approval: Attention.Cause.
const (
	causeBody  = "body"
	causeHuman = "human"
	causeCrash = "crash"
)

// needInput makes a person owe an answer or an approval.
func (s State) needInput(a Attention, now time.Time) State {
	prefix := map[string]string{AttentionQuestion: "q", AttentionApproval: "ap"}[a.Kind]
	a.ID, a.Since = fmt.Sprintf("%s-%d", prefix, s.Cursor+1), now
	s.Status, s.Phase, s.Why, s.Claim, s.Attention = NeedsInput, "", "", Claim{}, &a
	s.WakeAt = s.wake()
	s.emit(now, EventAttention, fmt.Sprintf("%s %s: %s", a.Kind, a.ID, firstWords(a.Prompt)))
	if s.Intent.Pause != nil {
		return s.pause(*s.Intent.Pause, now)
	}
	return s
}

// touch moves the loop's clock, by what has passed since the change before. It
// never goes back.
func (s *State) touch(now time.Time) {
	if s.UpdatedAt.IsZero() {
		s.UpdatedAt = s.Origin.CreatedAt
	}
	s.Elapsed += Duration(max(0, now.Sub(s.UpdatedAt)))
	s.UpdatedAt = now
}

// emit adds an event to what this change adds to the journal.
func (s *State) emit(now time.Time, t EventType, text string) {
	s.Cursor++
	s.New.Events = append(slices.Clip(s.New.Events), Event{Cursor: s.Cursor, At: now, Type: t, Text: clip(text, 500)})
}
