package loops

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

var live = []Status{Queued, Running, Waiting, YourTurn, NeedsInput, Paused, Cancelling}

// allowed is the table of requests by status.
var allowed = map[Action][]Status{
	Submit:    {YourTurn},
	AnswerIt:  {NeedsInput},
	Approve:   {NeedsInput},
	Deny:      {NeedsInput},
	SteerIt:   append(slices.Clone(live[:len(live)-1]), Stalled, Blocked, Failed),
	ResumeIt:  {Paused, Waiting, Stalled, Blocked, Failed, Capped},
	Reopen:    {Completed},
	SetLimits: append(slices.Clone(live), Capped, Stalled, Blocked, Failed),
	PauseIt:   live[:len(live)-1],
	CancelIt:  Statuses(),
}

// Allowed reports whether a loop in status can be asked for the action.
func Allowed(a Action, status Status) bool { return slices.Contains(allowed[a], status) }

// apply carries out a request. It is pure; the caller commits what it returns.
func apply(s State, r Request, now time.Time) (Outcome, error) {
	if r.RequestID != "" {
		for _, done := range s.Requests {
			if done.ID == r.RequestID && done.Action == r.Action {
				return Outcome{State: s, Reused: true}, nil
			}
			if done.ID == r.RequestID {
				return Outcome{}, &RefusedError{Code: "request_id_conflict", Problem: fmt.Sprintf("request_id %q was used for %s on %s", r.RequestID, done.Action, s.ID),
					Remedy: "use a new request_id for a new request"}
			}
		}
	}
	if r.Action == CancelIt && s.Status.Settled() {
		return Outcome{State: s, AlreadySettled: true}, nil
	}
	if !Allowed(r.Action, s.Status) {
		return Outcome{}, wrongStatus(s, r.Action)
	}
	s.touch(now)
	next, err := carryOut(s, r, now)
	if err != nil {
		return Outcome{}, err
	}
	if r.RequestID != "" {
		next.Requests = append(slices.Clone(next.Requests), Handled{ID: r.RequestID, Action: r.Action})
		next.Requests = next.Requests[max(0, len(next.Requests)-32):]
	}
	return Outcome{State: next}, nil
}

func carryOut(s State, r Request, now time.Time) (State, error) {
	switch r.Action {
	case Submit:
		return s.submit(r, now)
	case AnswerIt:
		return s.answer(r, now)
	case Approve, Deny:
		return s.approve(r, now)
	case SteerIt:
		return s.steer(r, now)
	case ResumeIt:
		return s.resume(now)
	case Reopen:
		return s.reopen(r, now)
	case SetLimits:
		return s.setLimits(r.Limits, now), nil
	case PauseIt:
		return s.askPause(r, now), nil
	}
	return s.askCancel(r, now), nil
}

// wrongStatus says what would work instead.
func wrongStatus(s State, a Action) error {
	var works []string
	for _, other := range []Action{Submit, AnswerIt, Approve, SteerIt, ResumeIt, Reopen, SetLimits, PauseIt, CancelIt} {
		fits := true
		if s.Status == NeedsInput && s.Attention != nil {
			fits = (other != AnswerIt || s.Attention.Kind == AttentionQuestion) && (other != Approve || s.Attention.Kind == AttentionApproval)
		}
		if Allowed(other, s.Status) && fits {
			works = append(works, string(other))
		}
	}
	status := string(s.Status)
	if s.Stop != nil {
		status += " (" + string(s.Stop.Reason) + ")"
	}
	return &RefusedError{Code: "wrong_status", Problem: fmt.Sprintf("%s is %s, which does not allow %s", s.ID, status, a),
		Remedy: "what works now: " + strings.Join(works, ", ")}
}

// pending checks that the request is about what the loop waits for.
func (s State) pending(r Request, kind string) error {
	a := s.Attention
	switch {
	case a == nil || a.Kind != kind:
		return wrongStatus(s, r.Action)
	case r.AttentionID == "" && r.Action == Submit:
		return &FieldError{Field: "attention_id", Problem: fmt.Sprintf("is missing; the iteration under way is %q", a.ID)}
	case r.AttentionID != "" && r.AttentionID != a.ID:
		return &RefusedError{Code: "stale_attention", Problem: fmt.Sprintf("attention_id %q is not what %s waits for now", r.AttentionID, s.ID),
			Remedy: fmt.Sprintf("use attention_id %q; loop_inspect shows its text", a.ID)}
	}
	return nil
}

func (s State) submit(r Request, now time.Time) (State, error) {
	if err := s.pending(r, AttentionIteration); err != nil {
		return s, err
	}
	it := Iteration{OK: true, Done: r.Done == nil || *r.Done, Output: r.text, Score: r.score, Memory: r.Memory, StartedAt: s.Attention.Since}
	if r.Usage != nil {
		it.Usage = *r.Usage
	}
	s.Attention, s.WakeAt = nil, time.Time{}
	s = decide(s, outcome{it: it}, now)
	if s.Owed != nil && !s.Status.Settled() {
		s.Status, s.Phase = Running, PhaseConditions
	}
	return s, nil
}

func (s State) answer(r Request, now time.Time) (State, error) {
	if err := s.pending(r, AttentionQuestion); err != nil {
		return s, err
	}
	if strings.TrimSpace(r.Message) == "" {
		return s, &FieldError{Field: "message", Problem: "is empty; it is the answer to " + s.Attention.ID}
	}
	s.Answer, s.Attention = r.Message, nil
	s.emit(now, EventResumed, "answered: "+firstWords(r.Message))
	return s.onward(now), nil
}

func (s State) approve(r Request, now time.Time) (State, error) {
	if err := s.pending(r, AttentionApproval); err != nil {
		return s, err
	}
	by, asked := firstOf(r.By, "client"), *s.Attention
	verb := map[Action]string{Approve: "approved", Deny: "denied"}[r.Action]
	note := strings.TrimSuffix(verb+" by "+by+": "+r.Message, ": ")
	s.Attention, s.WakeAt = nil, time.Time{}
	s.emit(now, EventResumed, asked.ID+" "+firstWords(note))
	switch asked.Cause {
	case "human":
		v := Verdict{Met: r.Action == Approve, Reason: note, Evidence: []Exhibit{{Source: by, Observed: true, Text: note}}, Fingerprint: note}
		if !v.Met {
			v.Feedback = firstOf(r.Message, "A person did not approve the result.")
		}
		s = conclude(s, map[string]Verdict{asked.Path: v}, nil, 0, now)
		if s.Owed != nil && s.Status == NeedsInput && s.Attention == nil {
			s.Status, s.Phase = Running, PhaseConditions
		}
		return s, nil
	case "crash":
		if r.Action == Deny {
			it := Iteration{Error: strings.TrimSuffix("cut off by a crash; a person decided against running it again: "+r.Message, ": ")}
			return decide(s, outcome{it: it}, now), nil
		}
	default:
		s.Answer = note
	}
	return s.onward(now), nil
}

func (s State) steer(r Request, now time.Time) (State, error) {
	if strings.TrimSpace(r.Message) == "" {
		return s, &FieldError{Field: "message", Problem: "is empty; it is the guidance for the next start"}
	}
	if s.Status.Settled() {
		if err := s.mayMove(); err != nil {
			return s, err
		}
	}
	if len(s.Steers) >= 32 {
		return s, &RefusedError{Code: "too_many_steers", Problem: fmt.Sprintf("%s has 32 steers that no start has seen", s.ID), Remedy: "wait for the next start"}
	}
	s.Steers = append(slices.Clone(s.Steers), Steer{Text: r.Message})
	s.Progress = Progress{ProtectedPass: s.Progress.ProtectedPass}
	s.emit(now, EventSteer, firstWords(r.Message))
	if s.Status.Settled() {
		return s.move("steered", now), nil
	}
	return s, nil
}

// mayMove refuses to move a settled loop that has no room for a start.
func (s State) mayMove() error {
	reason, detail, hit := s.capHit()
	if !hit {
		return nil
	}
	return &RefusedError{Code: "cap_not_raised", Problem: fmt.Sprintf("%s has no room for another start: %s", s.ID, detail),
		Remedy: fmt.Sprintf("raise %s above %s with loop_approve (decision set_limits)", limitOf[reason], s.used(reason))}
}

// move starts a new epoch of a settled loop. The ledger is kept.
func (s State) move(why string, now time.Time) State {
	owed := s.Owed
	s.Epoch++
	s.Stop, s.Pause = nil, nil
	s.Ledger.Failures = 0
	s.Progress = Progress{}
	s.emit(now, EventResumed, fmt.Sprintf("%s: epoch %d", why, s.Epoch))
	if owed != nil {
		s.Owed, s.Status = owed, Queued
		return s
	}
	return s.onward(now)
}

func (s State) resume(now time.Time) (State, error) {
	switch s.Status {
	case Paused:
		s.Pause = nil
		s.emit(now, EventResumed, "resumed")
		switch {
		case s.Attention != nil && s.Attention.Kind == AttentionIteration:
			s.Status = YourTurn
			s.WakeAt = s.earliest(time.Time{})
			return s, nil
		case s.Attention != nil:
			s.Status = NeedsInput
			s.Attention.Since = now
			s.WakeAt = s.earliest(time.Time{})
			return s, nil
		case s.Owed != nil || s.Open: // a judgement is owed, or a start was cut off: a worker's matter
			s.Status = Queued
			return s, nil
		}
		return s.onward(now), nil
	case Waiting:
		s.endWait(now)
		s.emit(now, EventResumed, "the wait was skipped")
		return s.begin(now), nil
	}
	if err := s.mayMove(); err != nil {
		return s, err
	}
	return s.move("resumed", now), nil
}

func (s State) reopen(r Request, now time.Time) (State, error) {
	if strings.TrimSpace(r.Message) == "" {
		return s, &FieldError{Field: "message", Problem: "is empty; it says what is missing"}
	}
	s.Steers = append(slices.Clone(s.Steers), Steer{Text: r.Message})
	s.Checked = true
	s.emit(now, EventSteer, firstWords(r.Message))
	return s.move("reopened", now), nil
}

func (s State) setLimits(change Limits, now time.Time) State {
	before := s.Limits
	s.Limits = s.Limits.Merge(change)
	s.emit(now, EventLimits, changes(before, s.Limits))
	if s.Status == Capped {
		if _, _, hit := s.capHit(); !hit {
			return s.move("limits raised", now)
		}
		s.Stop = &Stop{Reason: s.Stop.Reason, Detail: s.Stop.Detail, DecidedBy: s.Stop.DecidedBy, Resumable: true}
		s.Stop.Actions = s.actions()
	}
	if s.Status == YourTurn || s.Status == NeedsInput || s.Status == Waiting {
		s.WakeAt = s.earliest(s.wakeForWait())
	}
	return s
}

// wakeForWait keeps the end of a delay when limits change.
func (s State) wakeForWait() time.Time {
	if s.Status == Waiting {
		return s.WakeAt
	}
	return time.Time{}
}

func (s State) askPause(r Request, now time.Time) State {
	if s.Status == Paused {
		return s
	}
	p := Pause{Reason: PauseClient, Detail: r.Message}
	if s.Claim.Token != "" {
		s.Intent.Pause = &p
		s.Why = "pausing at the end of this iteration"
		return s
	}
	s.endWait(now)
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

// changes says in one line which limits moved.
func changes(before, after Limits) string {
	b, a := before.list(), after.list()
	var moved []string
	for i := range a {
		if a[i] != b[i] {
			moved = append(moved, fmt.Sprintf("%s %s → %s", a[i].name, b[i].text, a[i].text))
		}
	}
	if len(moved) == 0 {
		return "unchanged"
	}
	return strings.Join(moved, ", ")
}

type namedLimit struct{ name, text string }

// list names every limit with its value as text.
func (l Limits) list() []namedLimit {
	return []namedLimit{
		{"max_iterations", fmt.Sprint(int64(l.MaxIterations))}, {"max_passes", fmt.Sprint(int64(l.MaxPasses))},
		{"max_duration", l.MaxDuration.String()}, {"max_active", l.MaxActive.String()}, {"iteration_timeout", l.IterationTimeout.String()},
		{"max_total_tokens", fmt.Sprint(int64(l.MaxTotalTokens))}, {"max_cost_usd", l.MaxCostUSD.String()},
		{"max_tool_calls", fmt.Sprint(int64(l.MaxToolCalls))}, {"max_failures", fmt.Sprint(int64(l.MaxFailures))},
	}
}
