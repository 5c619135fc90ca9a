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
