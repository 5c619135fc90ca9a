package loops

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestOwedSurvives: a judgement that has begun is not lost by a pause, a crash
// or a cap, and what was found out is not asked again.
func TestOwedSurvives(t *testing.T) {
	spec := func(s *Spec) {
		s.Until = &Until{All: []Condition{{Kind: StopCommand, Run: []string{"a"}}, {Kind: StopCommand, Run: []string{"b"}}}}
		s.Limits.MaxDuration, s.Limits.MaxIterations = Duration(time.Minute), 1
	}
	half := decide(claimed(t, newborn(spec), at(1)), done("x"), at(2))
	half = stored(conclude(half, map[string]Verdict{"all[0]": {Met: true}}, nil, 0, at(3)))
	finish := func(s State) {
		t.Helper()
		if s.Status == Queued {
			s = claimed(t, s, at(70))
		}
		l, more := s.Origin.Spec.until().next(s.Owed.Results, false)
		if !more || l.path != "all[1]" {
			t.Errorf("asks %q next", l.path)
		}
		s = conclude(stored(s), map[string]Verdict{"all[1]": {Met: true}}, nil, 0, at(71))
		checkRules(t, s)
		if s.Status != Completed || s.Ledger.Starts != 1 {
			t.Errorf("%s after %d starts", s.statusText(), s.Ledger.Starts)
		}
	}
	crashed := half
	finish(claimed(t, crashed, at(4)))
	wish := stored(ask(t, half, Request{Action: PauseIt}, at(4)).State)
	paused := stored(conclude(wish, nil, nil, 0, at(5)))
	if paused.Status != Paused {
		t.Fatalf("%s", paused.Status)
	}
	finish(stored(ask(t, paused, Request{Action: ResumeIt}, at(6)).State))
	capped := claimed(t, half, at(60))
	if capped.Status != Capped || capped.Stop.Reason != CapDuration {
		t.Fatalf("%s", capped.statusText())
	}
	refuse(t, capped, Request{Action: ResumeIt}, "raise max_duration above 1m0s")
	finish(stored(ask(t, capped, Request{Action: SetLimits, Limits: Limits{MaxDuration: Duration(time.Hour)}}, at(65)).State))
}

// TestPausedStartIsACrash: resuming a loop whose worker died with the pause
// asked for repeats the start, or asks whether to.
func TestPausedStartIsACrash(t *testing.T) {
	for _, policy := range []string{OnCrashRerun, OnCrashAsk} {
		s := claimed(t, newborn(func(s *Spec) { s.Retry.OnCrash = policy }), at(1))
		s = stored(ask(t, s, Request{Action: PauseIt}, at(2)).State)
		s = claimed(t, s, at(3))
		if s.Status != Paused || !s.Open {
			t.Fatalf("%s, open %t", s.Status, s.Open)
		}
		s = stored(ask(t, s, Request{Action: ResumeIt}, at(4)).State)
		s = claimed(t, s, at(5))
		checkRules(t, s)
		if want := map[string]Status{OnCrashRerun: Running, OnCrashAsk: NeedsInput}[policy]; s.Status != want {
			t.Errorf("%s: %s, want %s", policy, s.Status, want)
		}
	}
}

func TestCancelOfADeadWorkersLoop(t *testing.T) {
	s := stored(ask(t, claimed(t, newborn(nil), at(1)), Request{Action: CancelIt}, at(2)).State)
	if s = claimed(t, s, at(3)); s.Status != Cancelled || s.Stop.Reason != CancelClient {
		t.Errorf("%s", s.statusText())
	}
}

// TestCutOff: what becomes of a start or a judgement that the engine ended.
func TestCutOff(t *testing.T) {
	s := claimed(t, newborn(nil), at(1))
	late := outcome{active: 2 * time.Hour, elapsed: Duration(2*time.Hour + time.Second), it: Iteration{Usage: Usage{CostUSD: 5}}}
	end := cutOff(s, errActiveTime, late, at(2)) // the clock was set back meanwhile
	checkRules(t, end)
	if end.Status != Capped || end.Stop.Reason != CapActive || end.Ledger.CostUSD != 5 || end.Elapsed != late.elapsed {
		t.Errorf("%s", dump(end))
	}
	raised := s
	raised.Limits.MaxActive *= 2
	if end = cutOff(raised, errActiveTime, late, at(2)); end.Status != Queued || !end.Open || end.Ledger.ActiveSeconds != 7200 {
		t.Errorf("with the limit raised meanwhile: %s, %v s", end.Status, end.Ledger.ActiveSeconds)
	}
	if end = cutOff(s, ErrShutdown, outcome{}, at(2)); end.Status != Queued || !end.Open || end.Why == "" {
		t.Errorf("at a shutdown: %s", dump(end))
	}
	checkRules(t, end)
	wish := stored(ask(t, s, Request{Action: PauseIt}, at(2)).State)
	if end = cutOff(wish, ErrShutdown, outcome{}, at(2)); end.Status != Paused || !end.Open {
		t.Errorf("at a shutdown with a pause asked for: %s", end.Status)
	}
	checkRules(t, end)
}

func TestApprovalOfProtectedWorkIsCheckedByAWorker(t *testing.T) {
	s := start(done("a"))(t, newborn(func(s *Spec) {
		s.Until = &Until{All: []Condition{{Kind: StopHuman, Question: "good?"}}}
		s.Protect = []string{"*_test.go"}
	}), at(1))
	s = ask(t, stored(conclude(s, nil, nil, 0, at(1))), Request{Action: Approve}, at(2)).State
	if s.Status != Queued || !s.Owed.Results["all[0]"].Met || len(s.New.Verdicts) != 1 {
		t.Fatalf("%s", dump(s))
	}
	s = claimed(t, s, at(3))
	if end := conclude(s, nil, []string{"a_test.go (changed)"}, 0, at(4)); end.Status != Running || end.Verdict.Met {
		t.Errorf("with a changed file: %s", end.statusText())
	}
	if end := conclude(s, nil, nil, 0, at(4)); end.Status != Completed || end.Stop.Reason != GoalHuman {
		t.Errorf("with the files as they were: %s", end.statusText())
	}
}

// TestEventsAreReadable: what a person sees in the journal of a loop.
func TestEventsAreReadable(t *testing.T) {
	var seen []string
	s := newborn(func(s *Spec) { s.Delay, s.Limits.MaxPasses = Duration(2*time.Second), 1 })
	keep := func(next State) {
		for _, e := range next.New.Events {
			seen = append(seen, fmt.Sprintf("%s: %s", e.Type, e.Text))
		}
		s = stored(next)
	}
	keep(s)
	s, _ = claim(s, mine, at(1))
	keep(s)
	keep(decide(s, more("looked  around\nand thought"), at(2)))
	s, _ = claim(s, mine, at(4))
	keep(s)
	keep(decide(s, transient("exit 75"), at(5)))
	s, _ = claim(s, mine, at(6))
	keep(s)
	keep(pass("fixed", false)(t, s, at(7)))
	want := []string{
		"created: the goal", "started: start 1: iteration 1, pass 1", "iteration: iteration 1, pass 1: looked around and thought", "waiting: delay of 2s",
		"started: start 2: iteration 2, pass 1", "failed: start 1 of iteration 2: exit 75", "waiting: back-off of 1s", "started: start 3: iteration 2, pass 1",
		"iteration: iteration 2, pass 1: fixed", "verdict: pass 1: not met by command: because", "settled: capped (cap.passes): max_passes: 1 of 1 passes used",
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// TestConditionThatCouldNotBeAskedIsNotMetBelowNotEither: a misspelt predicate
// below not completed a loop.
func TestConditionThatCouldNotBeAskedIsNotMetBelowNotEither(t *testing.T) {
	u := Until{All: []Condition{{Not: &Condition{Kind: StopPredicate, Expression: "x"}}}}
	for name, test := range map[string]struct {
		v    Verdict
		want tri
	}{"met": {Verdict{Met: true}, no}, "not met": {Verdict{}, yes}, "an error": {Verdict{Error: "no such key"}, no}} {
		if got, _ := u.answer(map[string]Verdict{"all[0].not": test.v}); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestPauseHoldsWhenALimitWasRaised: both came while a call was being refused.
// No worker has the loop afterwards, so the pause must not wait for one.
func TestPauseHoldsWhenALimitWasRaised(t *testing.T) {
	s := claimed(t, newborn(nil), at(0))
	refused := outcome{capped: &CapError{Reason: CapCost, limit: int64(s.Limits.MaxCostUSD)}}
	for _, r := range []Request{{Action: SetLimits, Limits: Limits{MaxCostUSD: 2 * s.Limits.MaxCostUSD}}, {Action: PauseIt}} {
		out, err := apply(s, r, at(1))
		if err != nil {
			t.Fatal(err)
		}
		s = stored(out.State)
	}
	s = decide(s, refused, at(2))
	checkRules(t, s)
	if s.Status != Paused || !s.Open || !s.Held {
		t.Errorf("%s, open %t, held %t", s.Status, s.Open, s.Held)
	}
}
