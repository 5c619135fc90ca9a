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

// Allows says why a loop that stands at s would refuse the request: what Do
// would return. It changes nothing.
func (s State) Allows(r Request) error {
	_, err := apply(s, r, s.UpdatedAt)
	return err
}

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
	if s.Stop != nil && s.Stop.Reason == FailQuarantined {
		return Outcome{}, &RefusedError{Code: "quarantined", Problem: fmt.Sprintf("%s can't be moved: %s", s.ID, s.Stop.Detail), Remedy: s.Stop.Actions[0]}
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
		return s.setLimits(r, now), nil
	case PauseIt:
		return s.askPause(r, now), nil
	default: // CancelIt: apply knows no other
		return s.askCancel(r, now), nil
	}
}

// wrongStatus says what would work instead.
func wrongStatus(s State, a Action) error {
	var works []string
	for _, other := range []Action{Submit, AnswerIt, Approve, Deny, SteerIt, ResumeIt, Reopen, SetLimits, PauseIt, CancelIt} {
		fits := other != a && (other != CancelIt || !s.Status.Settled()) && (other != PauseIt || s.Status != Paused)
		if s.Status == NeedsInput && s.Attention != nil {
			approval := other == Approve || other == Deny
			fits = fits && (other != AnswerIt || s.Attention.Kind == AttentionQuestion) && (!approval || s.Attention.Kind == AttentionApproval)
		}
		if Allowed(other, s.Status) && fits {
			works = append(works, string(other))
		}
	}
	status := string(s.Status)
	if s.Stop != nil {
		status += " (" + string(s.Stop.Reason) + ")"
	}
	remedy := "what works now: " + strings.Join(works, ", ")
	if len(works) == 0 {
		remedy = "start a new loop"
	}
	return &RefusedError{Code: "wrong_status", Problem: fmt.Sprintf("%s is %s, which does not allow %s", s.ID, status, a), Remedy: remedy}
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
		return &RefusedError{Code: "stale_attention", Problem: fmt.Sprintf("attention_id %q is not what %s waits for now", clip(r.AttentionID, 80), s.ID),
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
	if s.Status == Running { // the pass has ended: its conditions are a worker's matter
		s = s.toWorker()
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
	asked := *s.Attention
	s.Answer, s.Attention = r.Message, nil
	s.emit(now, EventResumed, "answered"+byPerson(r)+": "+firstWords(r.Message))
	s.follow(asked.Since, now)
	return s, nil
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
	case causeHuman:
		return s.approved(asked.Path, r, note, now), nil
	case causeCrash:
		if r.Action == Approve {
			s.begin(now)
			return s, nil
		}
		it := Iteration{StartedAt: asked.Since, Error: strings.TrimSuffix("cut off by a crash; a person decided against running it again: "+r.Message, ": ")}
		return decide(s, outcome{it: it}, now), nil
	}
	s.Answer = note
	s.follow(asked.Since, now)
	return s, nil
}

// approved is a person's verdict as a stop condition. Where files are protected
// a worker has the last word, because only it can look at them.
func (s State) approved(path string, r Request, note string, now time.Time) State {
	v := Verdict{Met: r.Action == Approve, Reason: note, Evidence: []Exhibit{{Source: firstOf(r.By, "client"), Observed: true, Text: note}}, Fingerprint: note}
	if !v.Met {
		v.Feedback = firstOf(r.Message, "A person did not approve the result.")
	}
	if len(s.Origin.Spec.Protect) > 0 {
		return s.learn(map[string]Verdict{path: v}).toWorker()
	}
	s = conclude(s, map[string]Verdict{path: v}, nil, 0, now)
	if s.Owed != nil && s.Status == NeedsInput && s.Attention == nil { // other conditions are asked now
		return s.toWorker()
	}
	return s
}
