package mcpserver

import (
	"fmt"
	"strings"

	"example.com/loop-mcp/loops"
)

// whyItem says in plain words why a loop is where it is.
type whyItem struct {
	Status   loops.Status `json:"status"`
	Reason   string       `json:"reason"`
	Rule     string       `json:"rule"`
	Evidence []string     `json:"evidence,omitempty"`
	Actions  []string     `json:"actions,omitempty"`
}

// why explains a loop. Its journal tells what the conditions found; without one
// only the checkpoint speaks.
func why(l loops.Loop, person bool) whyItem {
	s := l.State
	w := whyItem{Status: s.Status, Rule: statusRules[s.Status], Evidence: evidence(l), Actions: actions(s, person)}
	if s.Stop != nil && s.Status.Settled() {
		w.Reason, w.Rule = string(s.Stop.Reason), stopRules[s.Stop.Reason]
	} else {
		w.Reason = liveReason(s)
	}
	if decisive := decisiveMembers(s); decisive != "" {
		w.Rule += " Decisive: " + decisive + "."
	}
	return w
}

// liveReason says what holds an unsettled loop where it is.
func liveReason(s loops.State) string {
	switch s.Status {
	case loops.Queued:
		return orElse(clip(s.Why, maxLine), "no free worker has taken it yet")
	case loops.Running:
		return orElse(clip(s.Why, maxLine), runningReason(s))
	case loops.Waiting:
		return fmt.Sprintf("waits for %s until %s", waitingWords(s.WaitingFor), stamp(s.WakeAt).Format("2006-01-02 15:04:05 MST"))
	case loops.YourTurn:
		return "the client owes an iteration"
	case loops.NeedsInput:
		return inputReason(s)
	case loops.Paused:
		if s.Pause == nil {
			return "paused"
		}
		return clip(pauseWords(s.Pause), 2*maxLine)
	case loops.Cancelling:
		if s.Why != "" {
			return "cancelling: " + s.Why
		}
		return "a cancel is being carried out"
	default: // settled without a stop: a record of an older program
		return string(s.Status)
	}
}

// goesOn says which process a loop needs to move by itself: without one it only
// seems to.
func goesOn(runsWhile string) []string {
	switch {
	case runsWhile == "":
		return nil
	case strings.HasPrefix(runsWhile, "until "):
		return []string{"it moves " + runsWhile}
	}
	return []string{"it moves while " + runsWhile}
}

func runningReason(s loops.State) string {
	if s.Phase == loops.PhaseConditions {
		return "its stop conditions are being asked"
	}
	return fmt.Sprintf("its body works on iteration %d", s.Iteration+1)
}

func waitingWords(what string) string {
	switch what {
	case "delay":
		return "the delay between iterations"
	case "back_off":
		return "the back-off after a transient fault"
	case "rate_limit":
		return "a rate limit"
	}
	return orElse(what, "its time")
}

func inputReason(s loops.State) string {
	switch {
	case s.Attention == nil:
		return "a person owes an answer"
	case s.Attention.Kind == loops.AttentionQuestion:
		return "a person owes an answer to a question of the worker"
	case s.Attention.Cause == "crash":
		return "a start was cut off by a crash, and a person decides whether it is repeated"
	}
	return "a person owes an approval"
}

func pauseWords(p *loops.Pause) string {
	words, ok := map[string]string{
		loops.PauseClient:           "a client paused it",
		loops.PauseJudgeUnavailable: "a judgement could not be had; it is still owed and the body is not run again before",
		loops.PauseShutdown:         "the process that ran it was stopped",
		loops.PauseStore:            "the store refused a write",
	}[p.Reason]
	if !ok {
		words = p.Reason
	}
	if p.Detail != "" {
		words += ": " + p.Detail
	}
	return words
}
