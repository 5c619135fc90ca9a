package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"example.com/loop-mcp/loops"
)

// decision is a person's answer to a request for approval.
type decision struct {
	approved, denied bool
	text             string // the person's words
}

// decisionOf reads the answer that the engine hands out: "approved by client",
// "denied by person: not on a Friday".
func decisionOf(reply string) decision {
	d := decision{approved: strings.HasPrefix(reply, "approved by "), denied: strings.HasPrefix(reply, "denied by ")}
	if _, words, ok := strings.Cut(reply, ": "); ok {
		d.text = words
	}
	return d
}

// refusal is what the model is told about a call that a person denied.
func (d decision) refusal(at string) string {
	text := "Not called: a person did not allow it."
	if at == atAgain {
		text = "The call was cut off and may have happened; its outcome is not known. A person decided not to make it again."
	}
	return joined(text, answerText(d.text))
}

func askAllow(tool Tool, args json.RawMessage) *loops.Ask {
	return &loops.Ask{Approval: true, Prompt: fmt.Sprintf("The agent wants to call %s%s with\n%s\nApprove to let it. Deny to go on without, with a message for the agent.",
		tool.Name, warning(tool), shownArgs(args))}
}

func askAgain(tool Tool, args json.RawMessage) *loops.Ask {
	return &loops.Ask{Approval: true, Prompt: fmt.Sprintf("The call of %s%s was cut off. It may have happened or not, and it is not known to be safe twice. It was called with\n%s\n"+
		"Approve to make it again. Deny to go on without; the agent is told that the outcome is unknown.", tool.Name, warning(tool), shownArgs(args))}
}

func warning(tool Tool) string {
	if tool.Destructive {
		return " (destructive, says its server)"
	}
	return ""
}

// shownArgs is the arguments of a call as a person is shown them.
func shownArgs(args json.RawMessage) string {
	if len(args) == 0 {
		return "{}"
	}
	return shortened(clean(string(args)), 4<<10)
}
