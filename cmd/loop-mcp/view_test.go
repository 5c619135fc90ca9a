package main

import (
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
