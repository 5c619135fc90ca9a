package loops

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// The columns of the table: every status, needs_input by what is asked for.
const (
	question = NeedsInput + "/question"
	approval = NeedsInput + "/approval"
)

var columns = []Status{Queued, Running, Waiting, YourTurn, question, approval, Paused, Cancelling,

	Completed, Capped, Stalled, Blocked, Failed, Cancelled}

// inStatus brings a loop there by the rules alone.
func inStatus(t *testing.T, column Status) State {
	t.Helper()
	running := func(change func(*Spec)) State { return claimed(t, newborn(change), at(1)) }
	var s State
	switch column {
	case Queued:
		s = newborn(nil)
	case Running:
		s = running(nil)
	case Waiting:
		s = decide(running(func(s *Spec) { s.Delay = Duration(time.Hour) }), more("a"), at(2))
	case YourTurn:
		s = newborn(clientBody)
	case question:
		o := more("a")
		o.ask = &Ask{Prompt: "which?"}
		s = decide(running(nil), o, at(2))
	case approval:
		o := more("a")
		o.ask = &Ask{Approval: true, Prompt: "may I?"}
		s = decide(running(nil), o, at(2))
	case Paused:
		s = ask(t, newborn(nil), Request{Action: PauseIt}, at(1)).State
	case Cancelling:
		s = ask(t, running(nil), Request{Action: CancelIt}, at(2)).State
	case Completed:
		s = decide(running(nil), done("a"), at(2))
		s = conclude(s, verdicts(s, true), nil, 0, at(2))
	case Capped:
		s = decide(running(func(s *Spec) { s.Limits.MaxIterations = 1 }), more("a"), at(2))
	case Stalled:
		s = running(nil).settle(Stalled, StallNoProgress, "engine", "in circles", at(2))
	case Blocked:
		s = running(nil).settle(Blocked, BlockedImpossible, "judge", "impossible", at(2))
	case Failed:
		o := failed("broken")
		o.permanent = true
		s = decide(running(nil), o, at(2))
	case Cancelled:
		s = ask(t, newborn(nil), Request{Action: CancelIt}, at(1)).State
	default:
		t.Fatalf("no fixture for %s", column)
	}
	if want, _, _ := strings.Cut(string(column), "/"); string(s.Status) != want {
		t.Fatalf("the fixture for %s is %s", column, s.Status)
	}
	checkRules(t, s)
	return stored(s)
}

func ask(t *testing.T, s State, r Request, now time.Time) Outcome {
	t.Helper()
	out, err := apply(s, r, now)
	if err != nil {
		t.Fatalf("%s in %s: %v", r.Action, s.Status, err)
	}
	checkRules(t, out.State)
	return out
}

func refuse(t *testing.T, s State, r Request, want string) {
	t.Helper()
	before := dump(s)
	out, err := apply(s, r, at(10))
	if err == nil {
		t.Fatalf("%s in %s was accepted: %s", r.Action, s.Status, out.Status)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%s in %s: %v, want %q in it", r.Action, s.Status, err, want)
	}
	if dump(s) != before {
		t.Errorf("%s in %s was refused and changed the loop", r.Action, s.Status)
	}
}

// TestRequestsByStatus is the table of CONTRACT §3: what is not in a row is
// refused with status, action and what would work.
func TestRequestsByStatus(t *testing.T) {
	settled := map[Status]Status{Completed: Completed, Capped: Capped, Stalled: Stalled, Blocked: Blocked, Failed: Failed, Cancelled: Cancelled}
	table := map[Action]map[Status]Status{
		Submit:   {YourTurn: Queued},
		AnswerIt: {question: Queued},
		Approve:  {approval: Queued},
		Deny:     {approval: Queued},
		SteerIt: {Queued: Queued, Running: Running, Waiting: Waiting, YourTurn: YourTurn, question: NeedsInput, approval: NeedsInput,
			Paused: Paused, Stalled: Queued, Blocked: Queued, Failed: Queued},
		ResumeIt: {Paused: Queued, Waiting: Queued, Stalled: Queued, Blocked: Queued, Failed: Queued},
		Reopen:   {Completed: Queued},
		SetLimits: {Queued: Queued, Running: Running, Waiting: Waiting, YourTurn: YourTurn, question: NeedsInput, approval: NeedsInput,
			Paused: Paused, Cancelling: Cancelling, Capped: Queued, Stalled: Stalled, Blocked: Blocked, Failed: Failed},
		PauseIt: {Queued: Paused, Running: Running, Waiting: Paused, YourTurn: Paused, question: Paused, approval: Paused, Paused: Paused},
		CancelIt: {Queued: Cancelled, Running: Cancelling, Waiting: Cancelled, YourTurn: Cancelled, question: Cancelled, approval: Cancelled,
			Paused: Cancelled, Cancelling: Cancelling},
	}
	maps.Copy(table[CancelIt], settled)
	if len(table) != len(allowed) {
		t.Fatalf("%d actions in the table, %d in the rules", len(table), len(allowed))
	}
	for action, row := range table {
		for _, column := range columns {
			t.Run(string(action)+" in "+string(column), func(t *testing.T) {
				s := inStatus(t, column)
				r := Request{Action: action, Message: "the message", Limits: Limits{MaxIterations: 7}}
				if s.Attention != nil {
					r.AttentionID = s.Attention.ID
				}
				want, ok := row[column]
				if !ok {
					refused(t, s, r)
					return
				}
				out := ask(t, s, r, at(10))
				if out.Status != want {
					t.Errorf("became %s, want %s", out.Status, want)
				}
				moved := s.Status.Settled() && !out.Status.Settled()
				if (out.Epoch == s.Epoch+1) != moved {
					t.Errorf("epoch %d → %d, from %s to %s", s.Epoch, out.Epoch, s.Status, out.Status)
				}
				if out.AlreadySettled != (action == CancelIt && s.Status.Settled()) {
					t.Errorf("already settled: %t", out.AlreadySettled)
				}
			})
		}
	}
}

func refused(t *testing.T, s State, r Request) {
	t.Helper()
	_, err := apply(s, r, at(10))
	var no *RefusedError
	if !errors.As(err, &no) || !errors.Is(err, ErrRefused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if r.Action == ResumeIt && s.Status == Capped {
		if no.Code != "cap_not_raised" {
			t.Errorf("code %s", no.Code)
		}
		return
	}
	if no.Code != "wrong_status" || !strings.Contains(no.Problem, string(s.Status)) || !strings.Contains(no.Problem, string(r.Action)) || no.Remedy == "" {
		t.Errorf("refusal %+v", no)
	}
	if s.Stop != nil && !strings.Contains(no.Problem, string(s.Stop.Reason)) {
		t.Errorf("the refusal does not say why the loop is %s: %s", s.Status, no.Problem)
	}
	for word := range strings.SplitSeq(strings.TrimPrefix(no.Remedy, "what works now: "), ", ") {
		if strings.HasPrefix(no.Remedy, "what works now") && !Allowed(Action(word), s.Status) {
			t.Errorf("the remedy names %q, which %s refuses", word, s.Status)
		}
	}
}

func TestSubmitIsBoundToItsAttention(t *testing.T) {
	s := inStatus(t, YourTurn)
	refuse(t, s, Request{Action: Submit}, `attention_id: is missing; the iteration under way is "it-1"`)
	refuse(t, s, Request{Action: Submit, AttentionID: "it-2"}, `stale_attention: attention_id "it-2" is not what rule-aaaa waits for now; use attention_id "it-1"`)
	no := false
	next := ask(t, s, Request{Action: Submit, AttentionID: "it-1", Done: &no}, at(5))
	if next.Status != YourTurn || next.Attention.ID != "it-2" || next.Ledger.Starts != 2 || next.Pass != 1 {
		t.Errorf("after an unfinished iteration: %s, %+v", next.Status, next.Attention)
	}
	refuse(t, stored(next.State), Request{Action: Submit, AttentionID: "it-1"}, "stale_attention")
}

func TestFirstAnswerWins(t *testing.T) {
	s := inStatus(t, question)
	refuse(t, s, Request{Action: AnswerIt, Message: " \n"}, "message: is empty")
	refuse(t, s, Request{Action: AnswerIt, Message: "a", AttentionID: "q-99"}, "stale_attention")
	refuse(t, s, Request{Action: Approve}, "wrong_status")
	next := ask(t, s, Request{Action: AnswerIt, Message: "blue"}, at(5))
	if next.Answer != "blue" {
		t.Errorf("answer %q", next.Answer)
	}
	refuse(t, stored(next.State), Request{Action: AnswerIt, Message: "red"}, "wrong_status")
}

func TestApprovalIsBoundToItsAttention(t *testing.T) {
	s := inStatus(t, approval)
	for _, action := range []Action{Approve, Deny} {
		refuse(t, s, Request{Action: action, AttentionID: "ap-1"}, "stale_attention")
	}
	refuse(t, s, Request{Action: AnswerIt, Message: "yes"}, "what works now: approve, deny, steer")
	if got := ask(t, s, Request{Action: Deny, Message: "too risky", By: "person"}, at(5)).Answer; got != "denied by person: too risky" {
		t.Errorf("the body is told %q", got)
	}
}

func TestRequestIDMakesARequestIdempotent(t *testing.T) {
	s := stored(ask(t, inStatus(t, Queued), Request{Action: SteerIt, Message: "x", RequestID: "r1"}, at(5)).State)
	again := ask(t, s, Request{Action: SteerIt, Message: "x", RequestID: "r1"}, at(6))
	if !again.Reused || len(again.Steers) != 1 || again.Cursor != s.Cursor {
		t.Errorf("reused %t, %d steers", again.Reused, len(again.Steers))
	}
	refuse(t, s, Request{Action: PauseIt, RequestID: "r1"}, `request_id_conflict: request_id "r1" was used for steer on rule-aaaa; use a new request_id`)
	for n := range 40 {
		s = stored(ask(t, s, Request{Action: SetLimits, Limits: Limits{MaxPasses: Count(n + 1)}, RequestID: fmt.Sprint("n", n)}, at(7)).State)
	}
	if len(s.Requests) != 32 {
		t.Errorf("%d request ids are kept", len(s.Requests))
	}
}
