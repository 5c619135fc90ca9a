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

func TestSetLimits(t *testing.T) {
	capped := inStatus(t, Capped)
	t.Run("the same limit, raised", func(t *testing.T) {
		next := ask(t, capped, Request{Action: SetLimits, Limits: Limits{MaxIterations: 2}}, at(5))
		if next.Status != Queued || next.Stop != nil || next.Epoch != 2 || next.Ledger.Starts != 1 {
			t.Errorf("%s, epoch %d, %d starts", next.Status, next.Epoch, next.Ledger.Starts)
		}
	})
	t.Run("the same limit, not above what is used", func(t *testing.T) {
		next := ask(t, capped, Request{Action: SetLimits, Limits: Limits{MaxIterations: 1}}, at(5))
		if next.Status != Capped || next.Stop.Reason != CapIterations {
			t.Errorf("%s, %+v", next.Status, next.Stop)
		}
	})
	t.Run("another limit", func(t *testing.T) {
		next := ask(t, capped, Request{Action: SetLimits, Limits: Limits{MaxPasses: 99}}, at(5))
		if next.Status != Capped || next.Stop.Reason != CapIterations || len(next.Stop.Actions) == 0 || next.Limits.MaxPasses != 99 {
			t.Errorf("%s, %+v", next.Status, next.Stop)
		}
	})
	t.Run("one of two that are used up", func(t *testing.T) {
		s := capped
		s.Ledger.ToolCalls = int64(s.Limits.MaxToolCalls)
		next := ask(t, s, Request{Action: SetLimits, Limits: Limits{MaxIterations: 9}}, at(5))
		if next.Status != Capped || next.Stop.Reason != CapToolCalls || !strings.Contains(next.Stop.Actions[0], "raise max_tool_calls above 200") {
			t.Errorf("%s, %+v", next.Status, next.Stop)
		}
	})
	t.Run("lowered below what is used", func(t *testing.T) {
		s := inStatus(t, Running)
		next := stored(ask(t, s, Request{Action: SetLimits, Limits: Limits{MaxIterations: 1}}, at(5)).State)
		if next.Status != Running {
			t.Fatalf("%s: the start under way was paid for", next.Status)
		}
		if end := decide(next, more("a"), at(6)); end.Status != Capped || end.Stop.Reason != CapIterations || end.Output.Text != "a" {
			t.Errorf("%s", dump(end))
		}
	})
	t.Run("what changed is in the journal", func(t *testing.T) {
		next := ask(t, capped, Request{Action: SetLimits, Limits: Limits{MaxPasses: 12, MaxCostUSD: 3 * Dollar}}, at(5))
		if got := next.New.Events[0].Text; got != "max_passes 10000 → 12, max_cost_usd $2.00 → $3.00" {
			t.Errorf("event %q", got)
		}
	})
}

// TestWakeTimesFollowLimits: a limit that moves changes when time moves the
// loop, and never how long a delay is.
func TestWakeTimesFollowLimits(t *testing.T) {
	waiting := decide(claimed(t, newborn(func(s *Spec) { s.Delay, s.Limits.MaxDuration = Duration(time.Hour), Duration(10*time.Minute) }), at(1)), more("a"), at(2))
	if want := at(600); !waiting.WakeAt.Equal(want) {
		t.Fatalf("wakes at %s, want the end of max_duration", waiting.WakeAt)
	}
	raised := stored(ask(t, stored(waiting), Request{Action: SetLimits, Limits: Limits{MaxDuration: Duration(24 * time.Hour)}}, at(5)).State)
	if want := at(2 + 3600); !raised.WakeAt.Equal(want) {
		t.Fatalf("wakes at %s, want the end of the delay", raised.WakeAt)
	}
	if _, ok := claim(raised, mine, at(601)); ok {
		t.Error("a worker took the loop in the middle of its delay")
	}
	lowered := stored(ask(t, raised, Request{Action: SetLimits, Limits: Limits{MaxActive: Duration(time.Minute)}}, at(5)).State)
	if want := at(2 + 59); !lowered.WakeAt.Equal(want) { // one second was the body's
		t.Fatalf("wakes at %s, want the end of max_active", lowered.WakeAt)
	}
	end := claimed(t, lowered, at(61))
	if end.Status != Capped || end.Stop.Reason != CapActive || end.Ledger.ActiveSeconds != 60 {
		t.Errorf("%s after %v s: %+v", end.Status, end.Ledger.ActiveSeconds, end.Stop)
	}
	for _, column := range []Status{YourTurn, question} {
		s := ask(t, inStatus(t, column), Request{Action: SetLimits, Limits: Limits{MaxDuration: Duration(time.Hour)}}, at(5))
		if !s.WakeAt.Equal(at(3600)) {
			t.Errorf("%s wakes at %s", column, s.WakeAt)
		}
	}
}

func TestResumeSkipsAWaitAndCountsIt(t *testing.T) {
	s := inStatus(t, Waiting) // since second 2, after one second of work
	next := ask(t, s, Request{Action: ResumeIt}, at(32))
	if next.Status != Queued || next.Ledger.ActiveSeconds != 31 || next.Ledger.Starts != 1 {
		t.Errorf("%s, %v s active, %d starts", next.Status, next.Ledger.ActiveSeconds, next.Ledger.Starts)
	}
	paused := stored(ask(t, s, Request{Action: PauseIt}, at(32)).State)
	if paused.Ledger.ActiveSeconds != 31 {
		t.Errorf("paused: %v s active", paused.Ledger.ActiveSeconds)
	}
	if again := ask(t, paused, Request{Action: ResumeIt}, at(3000)); again.Status != Queued || again.Ledger.ActiveSeconds != 31 {
		t.Errorf("resumed: %s, %v s active", again.Status, again.Ledger.ActiveSeconds)
	}
}

func TestCapNotRaisedTellsTheNumbers(t *testing.T) {
	for _, test := range []struct {
		reason StopReason
		full   func(*State)
		want   string
	}{
		{CapIterations, func(s *State) { s.Limits.MaxIterations = 1 }, "max_iterations: 1 of 1 starts used; raise max_iterations above 1 with"},
		{CapPasses, func(s *State) { s.Ledger.Passes = 10; s.Limits.MaxPasses = 10 }, "max_passes: 10 of 10 passes used; raise max_passes above 10 with"},
		{CapDuration, func(s *State) { s.Limits.MaxDuration = Duration(8 * time.Second) }, "max_duration: 10s of 8s since the start; raise max_duration above 10s with"},
		{CapActive, func(s *State) { s.Ledger.ActiveSeconds = 7200 }, "max_active: 2h0m0s of 2h0m0s used; raise max_active above 2h0m0s with"},
		{CapTokens, func(s *State) { s.Ledger.TotalTokens = 400_001 }, "max_total_tokens: 400001 of 400000 used; raise max_total_tokens above 400001 with"},
		{CapCost, func(s *State) { s.Ledger.CostUSD = 2_500_000 }, "max_cost_usd: $2.50 of $2.00 used; raise max_cost_usd above 2.50 with"},
		{CapToolCalls, func(s *State) { s.Ledger.ToolCalls = 200 }, "max_tool_calls: 200 of 200 used; raise max_tool_calls above 200 with"},
	} {
		t.Run(string(test.reason), func(t *testing.T) {
			for _, column := range []Status{Capped, Stalled, Blocked, Failed} {
				s := inStatus(t, column)
				s.Limits.MaxIterations = 50
				test.full(&s)
				refuse(t, s, Request{Action: ResumeIt}, "cap_not_raised: rule-aaaa has no room for another start: "+test.want)
			}
		})
	}
}

func TestReopenKeepsTheLedger(t *testing.T) {
	s := inStatus(t, Completed)
	refuse(t, s, Request{Action: Reopen}, "message: is empty")
	next := ask(t, s, Request{Action: Reopen, Message: "also the README"}, at(9))
	if next.Epoch != 2 || next.Pass != 2 || next.Stop != nil || next.Ledger.Starts != 1 || next.Steers[0].Text != "also the README" {
		t.Errorf("%s", dump(next.State))
	}
	if turn := claimed(t, stored(next.State), at(9)); turn.joinedSteers() != "also the README" || turn.Feedback != "" {
		t.Errorf("the next start is told %q, feedback %q", turn.joinedSteers(), turn.Feedback)
	}
	full := s
	full.Limits.MaxIterations = 1
	if next := ask(t, full, Request{Action: Reopen, Message: "more"}, at(9)); next.Status != Capped || !next.Stop.Resumable {
		t.Errorf("without room it is %s; set_limits must be possible", next.Status)
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

// TestIntentsWhileAWorkerHasTheLoop: they never cost the result and are obeyed
// at the next commit.
func TestIntentsWhileAWorkerHasTheLoop(t *testing.T) {
	for _, test := range []struct {
		request Request
		then    outcome
		want    Status
	}{
		{Request{Action: PauseIt}, more("a"), Paused},
		{Request{Action: PauseIt}, transient("busy"), Paused},
		{Request{Action: PauseIt}, failed("boom"), Paused},
		{Request{Action: CancelIt}, more("a"), Cancelled},
		{Request{Action: CancelIt}, done("a"), Cancelled},
		{Request{Action: CancelIt}, transient("busy"), Cancelled},
		{Request{Action: SteerIt, Message: "x"}, more("a"), Running},
		{Request{Action: SetLimits, Limits: Limits{MaxIterations: 5}}, more("a"), Running},
	} {
		t.Run(string(test.request.Action)+" "+string(test.want), func(t *testing.T) {
			s := stored(ask(t, inStatus(t, Running), test.request, at(5)).State)
			end := decide(s, test.then, at(6))
			checkRules(t, end)
			if end.Status != test.want || test.then.it.OK && end.Output.Text != "a" {
				t.Errorf("%s, output %q", end.Status, end.Output.Text)
			}
			if test.request.Action == SteerIt && (len(end.Steers) != 1 || !end.Steers[0].Seen) {
				t.Errorf("steers %+v", end.Steers)
			}
		})
	}
	broken := failed("boom")
	broken.permanent = true
	s := stored(ask(t, inStatus(t, Running), Request{Action: CancelIt, By: "person", Message: "enough"}, at(5)).State)
	if end := decide(s, broken, at(6)); end.Status != Cancelled || end.Stop.Reason != CancelOperator || end.Stop.Detail != "enough" {
		t.Errorf("a body that breaks while it is cancelled: %+v", end.Stop)
	}
	now := ask(t, s, Request{Action: CancelIt, Now: true}, at(6))
	if !now.Intent.Cancel.Now || s.Intent.Cancel.Now {
		t.Error("a second cancel does not hasten the first, or changes what it was given")
	}
}

func TestQuarantinedLoopIsNotMoved(t *testing.T) {
	s := quarantined("rule-aaaa", errors.New("checksum"))
	for action := range allowed {
		if action != CancelIt {
			refuse(t, s, Request{Action: action, Message: "x"}, "quarantined: rule-aaaa can't be moved: checksum; start a new loop")
		}
	}
}

func TestTooManySteers(t *testing.T) {
	s := inStatus(t, Queued)
	for range maxSteers {
		s = stored(ask(t, s, Request{Action: SteerIt, Message: "x"}, at(2)).State)
	}
	refuse(t, s, Request{Action: SteerIt, Message: "x"}, "too_many_steers")
	s = claimed(t, s, at(3))
	ask(t, s, Request{Action: SteerIt, Message: "x"}, at(4))
}
