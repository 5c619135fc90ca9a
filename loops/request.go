package loops

import "encoding/json"

// Action is what a request asks of a loop. Which action is allowed in which
// status is one table: see [Allowed].
type Action string

// The actions.
const (
	Submit    Action = "submit"
	AnswerIt  Action = "answer"
	Approve   Action = "approve"
	Deny      Action = "deny"
	SteerIt   Action = "steer"
	ResumeIt  Action = "resume"
	Reopen    Action = "reopen"
	SetLimits Action = "set_limits"
	PauseIt   Action = "pause"
	CancelIt  Action = "cancel"
)

// Request asks something of an existing loop.
type Request struct {
	Action      Action
	AttentionID string // submit, answer, approve, deny: what is answered
	RequestID   string // the same id again changes nothing; empty: no protection
	By          string // "client", "person" or "operator"; empty: client

	Output string          // submit
	Done   *bool           // submit; nil: true
	Memory json.RawMessage // submit; nil keeps what was there
	Usage  *Usage          // submit

	Message string // answer, deny, steer, reopen; a note for the others
	Limits  Limits // set_limits: the ones to change, zero ones stay
	Now     bool   // cancel: without the grace period

	text  Text     // Output as it is stored
	score *float64 // the number "score" of Output
}

// Outcome is what a request came to.
type Outcome struct {
	State
	Reused         bool     // start or request with a known request id: nothing new happened
	AlreadySettled bool     // cancel of a settled loop
	Warnings       []string // limits that were clamped, settings that do not hold
}
