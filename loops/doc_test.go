package loops

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDiagramKnowsEveryStatus and no other one.
func TestDiagramKnowsEveryStatus(t *testing.T) {
	data, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, diagram, _ := strings.Cut(string(data), "// # How a loop moves\n")
	diagram, _, _ = strings.Cut(diagram, "// # How a commit works")
	known := map[string]bool{}
	for _, s := range Statuses() {
		known[string(s)] = true
		if !regexp.MustCompile(`\b` + string(s) + `\b`).MatchString(diagram) {
			t.Errorf("the diagram does not show %s", s)
		}
	}
	requests := map[string]bool{}
	for action := range allowed {
		requests[string(action)] = true
		if !regexp.MustCompile(`\b`+string(action)+`\b`).MatchString(diagram) && action != PauseIt {
			t.Errorf("the diagram does not show the request %s", action)
		}
	}
	for _, word := range regexp.MustCompile(`\b[a-z]+_[a-z]+\b`).FindAllString(diagram, -1) {
		if !known[word] && !requests[word] && word != "on_crash" {
			t.Errorf("the diagram shows %s, which is no status", word)
		}
	}
}

// TestDiagramIsTrue: each arrow of requests in the diagram is one of the table.
func TestDiagramIsTrue(t *testing.T) {
	for _, arrow := range []struct {
		action Action
		from   []Status
		to     Status
	}{
		{Submit, []Status{YourTurn}, Queued},
		{ResumeIt, []Status{Waiting, Paused, Stalled, Blocked, Failed}, Queued},
		{AnswerIt, []Status{question}, Queued},
		{Approve, []Status{approval}, Queued},
		{Deny, []Status{approval}, Queued},
		{PauseIt, []Status{Queued, Waiting, YourTurn, question, approval}, Paused},
		{CancelIt, []Status{Running}, Cancelling},
		{CancelIt, []Status{Queued, Waiting, YourTurn, question, approval, Paused}, Cancelled},
		{SteerIt, []Status{Stalled, Blocked, Failed}, Queued},
		{SetLimits, []Status{Capped}, Queued},
		{Reopen, []Status{Completed}, Queued},
	} {
		for _, from := range arrow.from {
			s := inStatus(t, from)
			r := Request{Action: arrow.action, Message: "x", Limits: Limits{MaxIterations: 9}}
			if s.Attention != nil {
				r.AttentionID = s.Attention.ID
			}
			if out := ask(t, s, r, at(9)); out.Status != arrow.to {
				t.Errorf("%s in %s leads to %s, the diagram says %s", arrow.action, from, out.Status, arrow.to)
			}
		}
	}
}
