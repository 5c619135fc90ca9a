package loops

import (
	"errors"
	"strings"
	"testing"
	"time"
)

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
