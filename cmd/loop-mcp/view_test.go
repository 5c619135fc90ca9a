package main

import (
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

func TestVerdictSaysNothingTwice(t *testing.T) {
	tests := map[string]loops.Verdict{
		"not met, command: exit 1 (--- FAIL: TestX)":   {Kind: "command", Reason: "exit 1", Feedback: "--- FAIL: TestX\nmore"},
		"not met, human: denied by person: too long":   {Kind: "human", Reason: "denied by person: too long", Feedback: "too long"},
		"not met, predicate: pass == 3 is false":       {Kind: "predicate", Reason: "pass == 3 is false", Feedback: "Not there yet: pass == 3 is false"},
		"met, command: exit 0":                         {Kind: "command", Met: true, Reason: "exit 0", Feedback: "ok"},
		"not met, command: exit 2 (two, then nothing)": {Kind: "command", Reason: "exit 2", Feedback: "\n two, then nothing"},
	}
	for want, v := range tests {
		if got := verdictText(v); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestIterationHandedInIsToldWithItsVerdict: a client's iteration was shown
// before a worker had judged it, and its verdict never.
func TestIterationHandedInIsToldWithItsVerdict(t *testing.T) {
	var r reporter
	handedIn := loops.Loop{State: loops.State{ID: "frog-aaaa", Status: loops.Queued, Owed: &loops.Judgement{}},
		Iterations: []loops.Iteration{{Iteration: 1, Pass: 1, OK: true, Done: true}}}
	if got := r.lines(handedIn); len(got) != 1 {
		t.Errorf("before the verdict: %q", got)
	}
	judged := handedIn
	judged.Status, judged.Owed = loops.YourTurn, nil
	judged.Iterations = []loops.Iteration{{Iteration: 1, Pass: 1, OK: true, Done: true, Verdict: &loops.Verdict{Kind: "predicate", Reason: "no frog"}}}
	if got := r.lines(judged); len(got) != 1 || !strings.Contains(got[0], "not met") {
		t.Errorf("after the verdict: %q", got)
	}
}
