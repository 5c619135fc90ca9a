package mcpserver

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestActionsAreExactCalls: each of them is a call that its tool takes as it stands.
func TestActionsAreExactCalls(t *testing.T) {
	arguments := map[string]func() checker{
		"loop_wait": func() checker { return &waitArgs{} }, "loop_inspect": func() checker { return &inspectArgs{} },
		"loop_continue": func() checker { return &continueArgs{} }, "loop_approve": func() checker { return &approveArgs{} },
		"loop_fork": func() checker { return &forkArgs{} },
	}
	for _, status := range loops.Statuses() {
		for _, reason := range stopReasons(status) {
			for _, person := range []bool{false, true} {
				s := fullState(status, "text")
				s.ID, s.Ledger.Passes, s.Limits = "fix-aaaa", 10, loops.DefaultLimits()
				if s.Stop.Reason = reason; !status.Settled() {
					s.Stop = nil
				}
				for _, action := range actions(s, person) {
					tool, rest, _ := strings.Cut(action, " ")
					args, purpose, ok := strings.Cut(rest, "}: ")
					if !ok {
						if !strings.Contains(action, "loop-mcp ") && !strings.HasPrefix(action, "loop_start") {
							t.Errorf("%s %s: %q is no call", status, reason, action)
						}
						continue
					}
					into := arguments[tool]
					if into == nil || purpose == "" {
						t.Errorf("%s %s: %q", status, reason, action)
						continue
					}
					if err := decode([]byte(args+"}"), into()); err != nil {
						t.Errorf("%s %s: %q is refused: %v", status, reason, action, err)
					}
				}
				if all := strings.Join(actions(s, person), "; "); person && strings.Contains(all, "loop_approve {") {
					t.Errorf("%s %s: only a person's decision counts, and it advises %s", status, reason, all)
				}
			}
		}
	}
}

func TestWhyOfALoopThatALimitEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loopstest.Script(loopstest.Done("no"), loopstest.Done("nope"), loopstest.Done("ok")), nil)
		id := w.startHandler(`,"limits":{"max_passes":2},"wait_seconds":50`)
		r := w.ok("loop_inspect", args("loop_id", id, "view", "why"))
		call := fmt.Sprintf(`{"loop_id":"%s","decision":"set_limits","limits":{"max_passes":4}}`, id)
		r.want(t, "items.0.status", "capped", "items.0.reason", "cap.passes", "items.0.rule", stopRules[loops.CapPasses],
			"items.0.evidence.0", "max_passes: 2 of 2 passes used", "items.0.evidence.1", `last verdict, pass 2: not met, decided by contains: output has "ok": false`,
			"items.0.evidence.2", `until.all[0] (contains): not met: output has "ok": false`, "items.0.actions.0", "loop_approve "+call+": when the user agrees; it then goes on")
		w.ok("loop_approve", call) // word for word
		w.ok("loop_wait", args("loop_id", id, "wait_seconds", 50, "for", "settled")).want(t, "status", "completed")
		w.ok("loop_inspect", args("loop_id", id, "view", "why")).want(t, "items.0.rule", stopRules[loops.GoalPredicate]+" Decisive: until.all[0] (contains).")
	})
}

// TestWhyQuotesTheJudge: the criteria with what they rest on, and the member of
// until in its own words.
func TestWhyQuotesTheJudge(t *testing.T) {
	spec := loops.Spec{Until: &loops.Until{All: []loops.Condition{{Kind: loops.StopCommand, Run: []string{"go", "test", "./..."}}, {Kind: loops.StopJudge, Question: "Is it clear?"}}}}
	whole := loops.Verdict{Iteration: 4, Pass: 2, Kind: loops.StopJudge, Reason: "c2 is not met", Members: []string{"all[1]"}}
	l := loops.Loop{State: loops.State{ID: "doc-aaaa", Status: loops.Running, Phase: loops.PhaseBody, Verdict: &whole, Limits: loops.DefaultLimits(), Origin: loops.Origin{Spec: spec}},
		Verdicts: []loops.Verdict{
			{Iteration: 2, Pass: 1, Kind: loops.StopCommand, Members: []string{"all[0]"}, Reason: "of the pass before"},
			{Iteration: 4, Pass: 2, Kind: loops.StopCommand, Met: true, Members: []string{"all[0]"}, Reason: "exit 0", Evidence: []loops.Exhibit{{Source: "go test ./...", Observed: true, Text: "ok example"}}},
			{Iteration: 4, Pass: 2, Kind: loops.StopJudge, Members: []string{"all[1]"}, Reason: "c2 is not met", Criteria: []loops.Ruling{
				{ID: "c1", Status: "met", Quotes: []string{"It loops."}}, {ID: "c2", Status: "not_met", Note: "no example"}}},
		}}
	got := why(l, false)
	if !strings.HasSuffix(got.Rule, " Decisive: until.all[1] (judge: Is it clear?).") {
		t.Errorf("rule %q", got.Rule)
	}
	all := strings.Join(got.Evidence, "\n")
	for _, want := range []string{"until.all[0] (command: go test ./...): met: exit 0", "go test ./... says: ok example", "until.all[1] (judge: Is it clear?): not met: c2 is not met",
		`criterion c1: met, from "It loops."`, "criterion c2: not met (no example)"} {
		if !strings.Contains(all, want) {
			t.Errorf("the evidence lacks %q:\n%s", want, all)
		}
	}
	if strings.Contains(all, "of the pass before") {
		t.Errorf("the evidence has an earlier judgement:\n%s", all)
	}
}
