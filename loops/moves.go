package loops

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The requests that move a loop on, or change what it may spend.

func (s State) steer(r Request, now time.Time) (State, error) {
	if strings.TrimSpace(r.Message) == "" {
		return s, &FieldError{Field: "message", Problem: "is empty; it is the guidance for the next start"}
	}
	if s.Status.Settled() {
		if err := s.mayMove(); err != nil {
			return s, err
		}
	}
	if len(unseen(s.Steers)) >= maxSteers {
		return s, &RefusedError{Code: "too_many_steers", Problem: fmt.Sprintf("%s has %d steers that no start has seen", s.ID, maxSteers), Remedy: "wait for the next start"}
	}
	s.Steers = append(slices.Clone(s.Steers), Steer{Text: r.Message})
	s.Progress = Progress{ProtectedPass: s.Progress.ProtectedPass}
	s.emit(now, EventSteer, firstWords(r.Message))
	if s.Status.Settled() {
		return s.move("steered", now), nil
	}
	return s, nil
}

// maxSteers bounds the guidance that waits for a start.
const maxSteers = 32

// mayMove refuses to move a settled loop that has no room for what comes next.
func (s State) mayMove() error {
	reason, detail, hit := s.noRoom()
	if !hit {
		return nil
	}
	return &RefusedError{Code: "cap_not_raised", Problem: fmt.Sprintf("%s has no room for another start: %s", s.ID, detail),
		Remedy: fmt.Sprintf("raise %s above %s with loop_approve (decision set_limits)", limitOf[reason], s.used(reason))}
}

// noRoom reports the limit that keeps a loop from moving on: any for a start,
// one in time for a judgement that is still owed.
func (s *State) noRoom() (StopReason, string, bool) {
	if s.Owed == nil {
		return s.capHit()
	}
	for _, h := range s.hits() {
		if s.Short != nil && h.reason == s.Short.Reason {
			return h.reason, h.detail, true
		}
	}
	return s.timeUp()
}

// move starts a new epoch of a settled loop. The ledger is kept.
func (s State) move(why string, now time.Time) State {
	s.Epoch++
	s.Stop, s.Pause, s.Short = nil, nil, nil
	s.Ledger.Failures = 0
	s.Progress = Progress{}
	s.emit(now, EventResumed, fmt.Sprintf("%s: epoch %d", why, s.Epoch))
	if s.Owed != nil {
		return s.toWorker()
	}
	s.onward(now)
	return s
}

func (s State) resume(now time.Time) (State, error) {
	switch s.Status {
	case Paused:
		return s.unpause(now), nil
	case Waiting:
		s.endWait(now)
		s.emit(now, EventResumed, "the wait was skipped")
		if s.Owed != nil || s.Open { // a judgement is owed, or a start is under way: a worker's matter
			return s.toWorker(), nil
		}
		s.begin(now)
		return s, nil
	default:
		if err := s.mayMove(); err != nil {
			return s, err
		}
		return s.move("resumed", now), nil
	}
}

// unpause goes on where the pause came. A wait that it cut short is over.
func (s State) unpause(now time.Time) State {
	s.Pause = nil
	s.emit(now, EventResumed, "resumed")
	switch {
	case s.Attention != nil:
		a := *s.Attention
		s.Status, s.Attention = YourTurn, &a
		if a.Kind != AttentionIteration {
			s.Status, s.Attention.Since = NeedsInput, now // the time to answer begins again
		}
		s.WakeAt = s.wake()
	case s.Owed != nil || s.Open: // a judgement is owed, or a start was cut off: a worker's matter
		s = s.toWorker()
	default:
		s.begin(now)
		return s
	}
	if expired, ok := s.expire(now); ok {
		return expired
	}
	return s
}

func (s State) reopen(r Request, now time.Time) (State, error) {
	if strings.TrimSpace(r.Message) == "" {
		return s, &FieldError{Field: "message", Problem: "is empty; it says what is missing"}
	}
	s.Steers = append(slices.Clone(s.Steers), Steer{Text: r.Message})
	s.Checked = true
	s.Verdict, s.Feedback = nil, "" // the goal counts as not met, and the message says why
	s.emit(now, EventSteer, firstWords(r.Message))
	return s.move("reopened", now), nil
}

// byPerson is what the journal adds where a person decided; what a client
// passed on goes without.
func byPerson(r Request) string {
	if r.By != "person" {
		return ""
	}
	return " by person"
}

func (s State) setLimits(r Request, now time.Time) State {
	before := s.Limits
	s.Limits = s.Limits.Merge(r.Limits)
	s.emit(now, EventLimits, before.Changes(s.Limits)+byPerson(r))
	switch s.Status {
	case Capped:
		return s.raised(now)
	case Stalled, Blocked, Failed:
		stop := *s.Stop
		s.Stop = &stop
		s.Stop.Actions = s.actions()
	case YourTurn, NeedsInput, Waiting:
		s.WakeAt = s.wake()
	default: // nothing waits for time
	}
	return s
}

// raised moves a capped loop on, unless a limit still holds it: then its stop
// record names that one. What a parent or the day ended has to be resumed.
func (s State) raised(now time.Time) State {
	if _, own := limitOf[s.Stop.Reason]; !own {
		return s
	}
	reason, detail, full := s.noRoom()
	if !full {
		return s.move("limits raised", now)
	}
	for _, h := range s.hits() {
		if h.reason == s.Stop.Reason {
			reason, detail = h.reason, h.detail
		}
	}
	stop := *s.Stop
	s.Stop = &stop
	s.Stop.Reason, s.Stop.Detail = reason, detail
	s.Stop.Actions = s.actions()
	return s
}

func (s State) askPause(r Request, now time.Time) State {
	if s.Status == Paused {
		return s
	}
	p := Pause{Reason: PauseClient, Detail: r.Message}
	if s.Claim.Token != "" {
		s.Intent.Pause = &p
		s.Why = "pauses at the end of this iteration"
		return s
	}
	return s.pause(p, now)
}

func (s State) askCancel(r Request, now time.Time) State {
	if s.Status == Cancelling {
		if r.Now && !s.Intent.Cancel.Now {
			wish := *s.Intent.Cancel
			wish.Now = true
			s.Intent.Cancel = &wish
		}
		return s
	}
	reason := CancelClient
	switch r.By {
	case "operator", "person":
		reason = CancelOperator
	case "parent":
		reason = CancelParent
	}
	s.Intent.Cancel = &CancelWish{Reason: reason, Detail: r.Message, Now: r.Now}
	s.emit(now, EventCancelRequested, strings.TrimSuffix(string(reason)+": "+firstWords(r.Message), ": "))
	if s.Claim.Token == "" {
		return s.cancelled(now)
	}
	s.Status, s.Phase = Cancelling, ""
	return s
}
