package loops

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// step is what happens to a loop in a test of the rules.
type step func(t *testing.T, s State, now time.Time) State

func start(o outcome) step {
	return func(t *testing.T, s State, now time.Time) State {
		if s.Status != Running {
			s = claimed(t, s, now)
		}
		return decide(s, o, now)
	}
}

// pass ends an iteration and answers every condition that is asked.
func pass(output string, met bool) step {
	return passWith(output, Verdict{Met: met, Reason: "because", Feedback: "do more"})
}

func passWith(output string, v Verdict) step {
	return func(t *testing.T, s State, now time.Time) State {
		s = start(done(output))(t, s, now)
		if s.Owed == nil {
			t.Fatalf("nothing is owed: %s", dump(s))
		}
		asked := verdicts(s, v.Met)
		for path := range asked {
			asked[path] = v
		}
		return conclude(s, asked, nil, 0, now)
	}
}

func tamper(t *testing.T, s State, now time.Time) State {
	return conclude(start(done("x"))(t, s, now), nil, []string{"a_test.go (changed)"}, 0, now)
}

func wake(t *testing.T, s State, now time.Time) State { return claimed(t, s, now) }

func crash(t *testing.T, s State, now time.Time) State {
	if s.Status != Running {
		s = claimed(t, s, now)
	}
	return claimed(t, s, now) // the worker is gone, another one takes it
}

func requested(r Request) step {
	return func(t *testing.T, s State, now time.Time) State { return ask(t, s, r, now).State }
}

func charge(u Usage) outcome { o := more("x"); o.it.Usage = u; return o }

func permanently(text string) outcome { o := failed(text); o.permanent = true; return o }

func asking(approval bool) outcome {
	o := more("x")
	o.ask = &Ask{Approval: approval, Prompt: "which colour?"}
	return o
}

// TestTransitions tells, step by step, a second each, what becomes of a loop.
func TestTransitions(t *testing.T) {
	limits := func(l Limits) func(*Spec) { return func(s *Spec) { s.Limits = l } }
	predicate := func(s *Spec) { s.Until = &Until{All: []Condition{{Kind: StopPredicate, Expression: "false"}}} }
	claim := func(s *Spec) { s.Until = nil }
	stall := func(s *Spec) { s.Stall = &Stall{Passes: 2} }
	same := Verdict{Reason: "because", Fingerprint: "same"}
	broken := Verdict{Reason: "no such key", Error: "no such key"}
	human := func(s *Spec) { s.Until = &Until{All: []Condition{{Kind: StopHuman, Question: "good?"}}} }
	for _, test := range []struct {
		name   string
		spec   func(*Spec)
		steps  []step
		status Status
		reason StopReason
		detail string
		ledger string // starts, iterations, passes, failures
	}{
		{"an iteration that is not done goes on", nil, []step{start(more("a"))}, Running, "", "", "2 1 0 0"},
		{"a pass that is met", nil, []step{pass("a", true)}, Completed, GoalCommand, "because", "1 1 1 0"},
		{"a pass that is not met", nil, []step{pass("a", false)}, Running, "", "", "2 1 1 0"},
		{"met on the last pass and start", limits(Limits{MaxPasses: 1, MaxIterations: 1}), []step{pass("a", true)}, Completed, GoalCommand, "", "1 1 1 0"},
		{"a claim without conditions", claim, []step{pass("a", true)}, Completed, GoalClaimed, "", "1 1 1 0"},

		{"starts used up", limits(Limits{MaxIterations: 2}), []step{start(more("a")), start(more("b"))}, Capped, CapIterations, "max_iterations: 2 of 2 starts used", "2 2 0 0"},
		{"one start left", limits(Limits{MaxIterations: 3}), []step{start(more("a")), start(more("b"))}, Running, "", "", "3 2 0 0"},
		{"passes used up", limits(Limits{MaxPasses: 2}), []step{pass("a", false), pass("b", false)}, Capped, CapPasses, "max_passes: 2 of 2 passes used", "2 2 2 0"},
		{"one pass left", limits(Limits{MaxPasses: 3}), []step{pass("a", false), pass("b", false)}, Running, "", "", "3 2 2 0"},
		{"tokens at the limit", limits(Limits{MaxTotalTokens: 10}), []step{start(charge(Usage{InputTokens: 4, OutputTokens: 6}))}, Capped, CapTokens, "max_total_tokens: 10 of 10 used", "1 1 0 0"},
		{"tokens below the limit", limits(Limits{MaxTotalTokens: 11}), []step{start(charge(Usage{TotalTokens: 10}))}, Running, "", "", "2 1 0 0"},
		{"tokens above the limit", limits(Limits{MaxTotalTokens: 10}), []step{start(charge(Usage{TotalTokens: 12}))}, Capped, CapTokens, "max_total_tokens: 12 of 10 used", "1 1 0 0"},
		{"money at the limit", limits(Limits{MaxCostUSD: 2}), []step{start(charge(Usage{CostUSD: 2}))}, Capped, CapCost, "max_cost_usd: $0.000002 of $0.000002 used", "1 1 0 0"},
		{"money below the limit", limits(Limits{MaxCostUSD: 2}), []step{start(charge(Usage{CostUSD: 1}))}, Running, "", "", "2 1 0 0"},
		{"tool calls at the limit", limits(Limits{MaxToolCalls: 3}), []step{start(charge(Usage{ToolCalls: 3}))}, Capped, CapToolCalls, "", "1 1 0 0"},
		{"tool calls below the limit", limits(Limits{MaxToolCalls: 3}), []step{start(charge(Usage{ToolCalls: 2}))}, Running, "", "", "2 1 0 0"},
		{"duration at the limit", limits(Limits{MaxDuration: Duration(2 * time.Second)}), []step{start(more("a")), start(more("b"))}, Capped, CapDuration, "max_duration: 2s of 2s since the start", "2 2 0 0"},
		{"the age of a capped loop, rounded up", limits(Limits{MaxDuration: Duration(1500 * time.Millisecond)}), []step{start(more("a")), start(more("b"))}, Capped, CapDuration, "max_duration: 2s of 1.5s since the start", "2 2 0 0"},
		{"duration below the limit", limits(Limits{MaxDuration: Duration(2*time.Second + 1)}), []step{start(more("a")), start(more("b"))}, Running, "", "", "3 2 0 0"},
		{"active time at the limit", limits(Limits{MaxActive: Duration(2 * time.Second)}), []step{start(more("a")), start(more("b"))}, Capped, CapActive, "max_active: 2s of 2s used", "2 2 0 0"},
		{"active time below the limit", limits(Limits{MaxActive: Duration(2*time.Second + time.Microsecond)}), []step{start(more("a")), start(more("b"))}, Running, "", "", "3 2 0 0"},

		{"a failure", nil, []step{start(failed("boom"))}, Running, "", "", "2 1 0 1"},
		{"failures in a row", nil, []step{start(failed("a")), start(failed("b")), start(failed("c"))}, Failed, FailFailures, "3 failed iterations in a row (max_failures 3); the last: c", "3 3 0 3"},
		{"failures with a success between", nil, []step{start(failed("a")), start(failed("b")), start(more("ok")), start(failed("c"))}, Running, "", "", "5 4 0 1"},
		{"a permanent error", nil, []step{start(permanently("no such program"))}, Failed, FailBody, "no such program", "1 1 0 1"},
		{"a transient error", nil, []step{start(transient("busy"))}, Waiting, "", "", "1 0 0 0"},
		{"transient errors up to max_attempts", nil, []step{start(transient("busy")), nil, start(transient("busy")), nil, nil, nil, start(transient("busy"))}, Running, "", "", "4 1 0 1"},
		{"a transient error on the last start", limits(Limits{MaxIterations: 1}), []step{start(transient("busy"))}, Capped, CapIterations, "", "1 1 0 1"},
		{"attempts begin anew after an iteration", nil, []step{start(transient("busy")), nil, start(more("a")), start(transient("busy")), nil, start(transient("busy"))}, Waiting, "", "", "4 1 0 0"},

		{"a crash repeats the start", nil, []step{crash}, Running, "", "", "2 0 0 0"},
		{"a crash on the last start", limits(Limits{MaxIterations: 1}), []step{crash}, Capped, CapIterations, "", "1 0 0 0"},
		{"a crash is no attempt", nil, []step{start(transient("busy")), nil, crash, start(transient("busy"))}, Waiting, "", "", "3 0 0 0"},
		{"a crash that asks", func(s *Spec) { s.Retry.OnCrash = OnCrashAsk }, []step{crash}, NeedsInput, "", "", "1 0 0 0"},
		{"a crash that asks, run again", func(s *Spec) { s.Retry.OnCrash = OnCrashAsk }, []step{crash, requested(Request{Action: Approve})}, Queued, "", "", "1 0 0 0"},
		{"a crash that asks, given up", func(s *Spec) { s.Retry.OnCrash = OnCrashAsk }, []step{crash, requested(Request{Action: Deny})}, Queued, "", "", "1 1 0 1"},

		{"a question", nil, []step{start(asking(false))}, NeedsInput, "", "", "1 1 0 0"},
		{"a question that no start could use", limits(Limits{MaxIterations: 1}), []step{start(asking(false))}, Capped, CapIterations, "", "1 1 0 0"},
		{"a question that nobody answers", func(s *Spec) { s.AnswerTimeout = Duration(2 * time.Second) }, []step{start(asking(false)), nil, wake}, Blocked, BlockedNoAnswer, "nobody answered within 2s: which colour?", "1 1 0 0"},
		{"an approval that nobody gives", func(s *Spec) { human(s); s.AnswerTimeout = Duration(time.Second) }, []step{start(done("a")), further, nil, wake}, Blocked, BlockedNoAnswer, "nobody answered within 1s: good?", "1 1 0 0"},
		{"that approval, asked again", func(s *Spec) { human(s); s.AnswerTimeout = Duration(time.Second) }, []step{start(done("a")), further, nil, wake, requested(Request{Action: ResumeIt})}, Queued, "", "", "1 1 0 0"},
		{"approved", human, []step{start(done("a")), further, requested(Request{Action: Approve, By: "person"})}, Completed, GoalHuman, "approved by person", "1 1 1 0"},
		{"denied", human, []step{start(done("a")), further, requested(Request{Action: Deny, Message: "too long"})}, Queued, "", "", "1 1 1 0"},

		{"max_duration on the client's turn", func(s *Spec) { clientBody(s); s.Limits.MaxDuration = Duration(2 * time.Second) }, []step{nil, wake}, Capped, CapDuration, "", "1 0 0 0"},
		{"max_duration while a person is asked", limits(Limits{MaxDuration: Duration(2 * time.Second)}), []step{start(asking(false)), wake}, Capped, CapDuration, "", "1 1 0 0"},
		{"max_duration in a delay", func(s *Spec) { s.Delay, s.Limits.MaxDuration = Duration(time.Hour), Duration(2*time.Second) }, []step{start(more("a")), wake}, Capped, CapDuration, "", "1 1 0 0"},
		{"max_active in a delay", func(s *Spec) { s.Delay, s.Limits.MaxActive = Duration(time.Hour), Duration(2*time.Second) }, []step{start(more("a")), wake}, Capped, CapActive, "max_active: 2s of 2s used", "1 1 0 0"},

		{"the same output, one nudge", stall, []step{pass("a", false), pass("a", false)}, Running, "", "", "3 2 2 0"},
		{"the same output, to the end", stall, []step{pass("a", false), pass("a", false), pass("a", false), pass("a", false)}, Stalled, StallRepeatedOutput, "the same output 4 passes running, one nudge included", "4 4 4 0"},
		{"other output in between", stall, []step{pass("a", false), pass("a", false), pass("a", false), pass("b", false), pass("a", false)}, Running, "", "", "6 5 5 0"},
		{"the same evidence", stall, []step{passWith("a", same), passWith("b", same), passWith("c", same), passWith("d", same)}, Stalled, StallNoProgress, "", "4 4 4 0"},
		{"stall switched off", func(s *Spec) { s.Stall = &Stall{} }, []step{pass("a", false), pass("a", false), pass("a", false), pass("a", false)}, Running, "", "", "5 4 4 0"},
		{"success while repeating", stall, []step{pass("a", false), pass("a", false), pass("a", false), pass("a", true)}, Completed, GoalCommand, "", "4 4 4 0"},

		{"the same predicate error three passes running", predicate, []step{passWith("a", broken), passWith("b", broken), passWith("c", broken)}, Failed, FailPredicate, "the same error 3 passes running: no such key", "3 3 3 0"},
		{"with another one in between", predicate, []step{passWith("a", broken), passWith("b", broken), passWith("c", Verdict{Error: "other"}), passWith("d", broken), passWith("e", broken)}, Running, "", "", "6 5 5 0"},
		{"with a plain no in between", predicate, []step{passWith("a", broken), passWith("b", broken), pass("c", false), passWith("d", broken), passWith("e", broken)}, Running, "", "", "6 5 5 0"},

		{"a protected file changed", nil, []step{tamper}, Running, "", "", "2 1 1 0"},
		{"twice running", nil, []step{tamper, tamper}, Blocked, BlockedProtected, "protected files stayed changed for two passes: a_test.go (changed)", "2 2 2 0"},
		{"restored in between", nil, []step{tamper, pass("a", false), tamper}, Running, "", "", "4 3 3 0"},
		{"changed on the last pass", limits(Limits{MaxPasses: 1}), []step{tamper}, Capped, CapPasses, "", "1 1 1 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newborn(test.spec)
			for n, one := range test.steps {
				if one == nil {
					continue
				}
				before := s.Ledger
				s = one(t, stored(s), at(n+1))
				checkRules(t, s)
				checkLedger(t, before, s.Ledger)
			}
			if s.Status != test.status {
				t.Fatalf("%s, want %s: %s", s.statusText(), test.status, dump(s))
			}
			if s.Stop != nil && (s.Stop.Reason != test.reason || !strings.Contains(s.Stop.Detail, test.detail)) {
				t.Errorf("%s: %s, want %s: %s", s.Stop.Reason, s.Stop.Detail, test.reason, test.detail)
			}
			if s.Stop != nil && (len(s.Stop.Actions) == 0 || s.Stop.SelfDeclared != (test.reason == GoalClaimed) || s.Stop.DecidedBy == "") {
				t.Errorf("stop record %+v", s.Stop)
			}
			l := s.Ledger
			if got := fmt.Sprint(l.Starts, l.Iterations, l.Passes, l.Failures); got != test.ledger {
				t.Errorf("starts, iterations, passes, failures: %s, want %s", got, test.ledger)
			}
		})
	}
}

// further goes on with a judgement in which only a person is left to ask.
func further(_ *testing.T, s State, now time.Time) State { return conclude(s, nil, nil, 0, now) }

func checkLedger(t *testing.T, before, after Ledger) {
	t.Helper()
	if after.Starts < before.Starts || after.Iterations < before.Iterations || after.Passes < before.Passes || after.ActiveSeconds < before.ActiveSeconds ||
		after.TotalTokens < before.TotalTokens || after.InputTokens < before.InputTokens || after.OutputTokens < before.OutputTokens ||
		after.CostUSD < before.CostUSD || after.ToolCalls < before.ToolCalls {
		t.Errorf("the ledger fell from %+v to %+v", before, after)
	}
}

// TestStopReasonNamesTheLastDecisiveCondition: human before judge before
// command before predicate before claim.
func TestStopReasonNamesTheLastDecisiveCondition(t *testing.T) {
	c := func(kind string) Condition { return Condition{Kind: kind} }
	not := func(kind string) Condition { return Condition{Not: &Condition{Kind: kind}} }
	all := func(members ...Condition) Until { return Until{All: members} }
	anyOf := func(members ...Condition) Until { return Until{Any: members} }
	for _, test := range []struct {
		until Until
		met   string // the kinds that are met
		want  StopReason
		asked string
	}{
		{all(c(StopPredicate)), "predicate", GoalPredicate, "predicate"},
		{all(c(StopCommand)), "command", GoalCommand, "command"},
		{all(c(StopJudge)), "judge", GoalJudge, "judge"},
		{all(c(StopHuman)), "human", GoalHuman, "human"},
		{all(c(StopClaim)), "claim", GoalClaimed, "claim"},
		{all(c("my-own")), "my-own", GoalPredicate, "my-own"},
		{all(c(StopHuman), c(StopJudge), c(StopCommand), c(StopPredicate), c(StopClaim)), "human judge command predicate claim", GoalHuman, "predicate command judge claim human"},
		{all(c(StopClaim), c(StopPredicate)), "predicate claim", GoalPredicate, "predicate claim"},
		{all(c(StopJudge), c(StopCommand)), "judge", "", "command"},
		{anyOf(c(StopJudge), c(StopPredicate)), "predicate judge", GoalPredicate, "predicate"},
		{anyOf(c(StopJudge), c(StopPredicate)), "judge", GoalJudge, "predicate judge"},
		{anyOf(c(StopHuman), c(StopCommand)), "", "", "command human"},
		{all(not(StopPredicate)), "", GoalPredicate, "predicate"},
		{all(not(StopPredicate)), "predicate", "", "predicate"},
		{anyOf(not(StopCommand), c(StopClaim)), "command claim", GoalClaimed, "command claim"},
		{all(c(StopPredicate), Condition{Any: []Condition{c(StopCommand), c(StopJudge)}}), "predicate judge", GoalJudge, "predicate command judge"},
		{all(c(StopPredicate), Condition{Any: []Condition{c(StopCommand), c(StopJudge)}}), "predicate command", GoalCommand, "predicate command"},
		{anyOf(c(StopPredicate), Condition{All: []Condition{c(StopCommand), c(StopHuman)}}), "human", "", "predicate command"},
		{anyOf(c(StopClaim), Condition{All: []Condition{c(StopCommand), c(StopHuman)}}), "command human claim", GoalClaimed, "command claim"},
	} {
		t.Run(fmt.Sprintf("%v with %q met", test.until, test.met), func(t *testing.T) {
			s := decide(claimed(t, newborn(func(s *Spec) { s.Until = &test.until }), at(1)), done("x"), at(2))
			var asked []string
			for {
				l, more := test.until.next(s.Owed.Results, false)
				if !more {
					t.Fatalf("nothing more to ask: %s", dump(s))
				}
				asked = append(asked, l.cond.Kind)
				met := strings.Contains(" "+test.met+" ", " "+l.cond.Kind+" ")
				s = conclude(stored(s), map[string]Verdict{l.path: {Met: met, Reason: l.cond.Kind}}, nil, 0, at(3))
				if s.Owed == nil {
					break
				}
			}
			if got := strings.Join(asked, " "); got != test.asked {
				t.Errorf("asked %s, want %s", got, test.asked)
			}
			switch {
			case test.want == "" && s.Status != Running && s.Status != Queued:
				t.Errorf("%s, want another pass", s.statusText())
			case test.want != "" && (s.Stop == nil || s.Stop.Reason != test.want):
				t.Errorf("%s, want %s", s.statusText(), test.want)
			}
		})
	}
}

func TestCheckFirst(t *testing.T) {
	check := func(s *Spec) {
		s.Until = &Until{CheckFirst: true, All: []Condition{{Kind: StopCommand, Run: []string{"true"}}, {Kind: StopClaim}}}
	}
	one := func(met bool) map[string]Verdict {
		return map[string]Verdict{"all[0]": {Met: met, Reason: "exit", Feedback: "2 tests fail"}}
	}
	alone := func(s *Spec) { check(s); s.Until.All = s.Until.All[:1] }
	for _, body := range []string{BodyHandler, BodyClient} {
		t.Run(body, func(t *testing.T) {
			with := func(change func(*Spec)) State {
				s := newborn(func(s *Spec) { change(s); s.Body.Kind = body })
				if s.Status != Queued || s.Ledger.Starts != 0 {
					t.Fatalf("before the check: %s, %d starts", s.Status, s.Ledger.Starts)
				}
				return s
			}
			met := conclude(claimed(t, with(alone), at(1)), one(true), nil, time.Second, at(2))
			checkRules(t, met)
			if met.Stop == nil || met.Stop.Reason != GoalAlreadyMet || met.Ledger.Starts != 0 || met.Ledger.Passes != 0 || met.Stop.DecidedBy != StopCommand {
				t.Errorf("%s", dump(met))
			}
			not := conclude(claimed(t, with(check), at(1)), one(false), nil, time.Second, at(2))
			checkRules(t, not)
			if not.Ledger.Starts != 1 || not.Feedback != "2 tests fail" || not.Verdict.Kind != StopCommand {
				t.Errorf("%s", dump(not))
			}
			open := conclude(claimed(t, with(check), at(1)), one(true), nil, time.Second, at(2)) // the claim is not asked: nothing was done yet
			if open.Ledger.Starts != 1 || open.Verdict.Met || open.Verdict.Kind != StopCommand {
				t.Errorf("%s", dump(open))
			}
			paused := stored(ask(t, with(check), Request{Action: PauseIt}, at(1)).State)
			if back := ask(t, paused, Request{Action: ResumeIt}, at(2)); back.Status != Queued || back.Ledger.Starts != 0 {
				t.Errorf("a pause skipped the check: %s, %d starts", back.Status, back.Ledger.Starts)
			}
		})
	}
}

// TestFeedbackHolds: what a pass was told stands until the next verdict, also
// across iterations, failures and back-off.
func TestFeedbackHolds(t *testing.T) {
	s := pass("a", false)(t, newborn(nil), at(1))
	for n, test := range []struct {
		o    outcome
		want string
	}{{more("b"), "do more"}, {failed("boom"), "boom\n\ndo more"}, {more("c"), "do more"}, {transient("busy"), "do more"}} {
		if s = decide(stored(s), test.o, at(n+2)); s.Feedback != test.want {
			t.Errorf("after step %d: feedback %q, want %q", n, s.Feedback, test.want)
		}
	}
	if first := decide(claimed(t, newborn(nil), at(1)), transient("busy"), at(2)); first.Feedback != "busy" {
		t.Errorf("feedback of a repeated first start: %q", first.Feedback)
	}
	nudged := newborn(func(s *Spec) { s.Stall = &Stall{Passes: 2} })
	for n := range 2 {
		nudged = pass("a", false)(t, stored(nudged), at(n+1))
	}
	nudged = decide(stored(nudged), more("b"), at(4))
	if want := "The last 2 passes handed in the same output. Try a different approach: say what you assumed, check it, and change something else.\n\ndo more"; nudged.Feedback != want {
		t.Errorf("feedback after the nudge: %q", nudged.Feedback)
	}
}

// TestAFailedStartKeepsAnswerAndSteering for the next one.
func TestAFailedStartKeepsAnswerAndSteering(t *testing.T) {
	s := start(asking(false))(t, newborn(nil), at(1))
	s = ask(t, stored(s), Request{Action: AnswerIt, Message: "blue"}, at(2)).State
	s = ask(t, stored(s), Request{Action: SteerIt, Message: "be brief"}, at(2)).State
	s = claimed(t, stored(s), at(3))
	s = stored(ask(t, s, Request{Action: SteerIt, Message: "no jokes"}, at(3)).State)
	s = stored(decide(s, failed("boom"), at(4)))
	if s.Answer != "blue" || s.joinedSteers() != "be brief\n\nno jokes" {
		t.Errorf("after a failure: answer %q, steering %q", s.Answer, s.joinedSteers())
	}
	if s = decide(s, more("ok"), at(5)); s.Answer != "" || len(s.Steers) != 0 {
		t.Errorf("after a success: answer %q, steering %q", s.Answer, s.joinedSteers())
	}
}

func TestBackOffDoubles(t *testing.T) {
	r := Retry{Initial: Duration(time.Second), Max: Duration(5 * time.Second)}
	for done, want := range []time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 5 * time.Second, 1000: 5 * time.Second} {
		if want != 0 && r.delay(done) != want {
			t.Errorf("after %d starts: %s, want %s", done, r.delay(done), want)
		}
	}
	o := transient("busy")
	o.after = time.Hour
	if s := decide(claimed(t, newborn(nil), at(0)), o, at(1)); !s.WakeAt.Equal(at(3601)) {
		t.Errorf("wakes at %s", s.WakeAt)
	}
}

func TestBestResult(t *testing.T) {
	s := newborn(func(s *Spec) { s.Result, s.Limits.MaxIterations = ResultBest, 3 })
	for n, score := range []float64{30, 90, 60} {
		o := more(fmt.Sprint("draft ", score))
		o.it.Score = &score
		s = start(o)(t, stored(s), at(n))
	}
	if s.Status != Capped || s.Output.Text != "draft 90" || *s.Score != 90 || s.Best.Iteration != 2 {
		t.Errorf("%s", dump(s))
	}
}
