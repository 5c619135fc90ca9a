package loops

// Status is where a loop is. Live statuses come first, settled ones after;
// nothing but a request moves a settled loop.
type Status string

// The live statuses.
const (
	Queued     Status = "queued"      // no process that can run it has it
	Running    Status = "running"     // a worker has it; see Phase
	Waiting    Status = "waiting"     // for a delay, a back-off or a rate limit
	YourTurn   Status = "your_turn"   // the client owes an iteration
	NeedsInput Status = "needs_input" // a person owes an answer or an approval
	Paused     Status = "paused"      // never moves by itself
	Cancelling Status = "cancelling"  // a running body is being ended
)

// The settled statuses.
const (
	Completed Status = "completed"
	Capped    Status = "capped"
	Stalled   Status = "stalled"
	Blocked   Status = "blocked"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// Statuses lists every status, live ones first.
func Statuses() []Status {
	return []Status{Queued, Running, Waiting, YourTurn, NeedsInput, Paused, Cancelling,
		Completed, Capped, Stalled, Blocked, Failed, Cancelled}
}

// Settled reports whether only a request can move the loop again.
func (s Status) Settled() bool {
	switch s {
	case Completed, Capped, Stalled, Blocked, Failed, Cancelled:
		return true
	default:
		return false
	}
}

// Phase is what a running loop does.
type Phase string

// The phases of a running loop.
const (
	PhaseBody       Phase = "body"
	PhaseConditions Phase = "conditions"
)

// StopReason says why a loop settled. The set is closed.
type StopReason string

// The stop reasons, with the status that each belongs to.
const (
	GoalPredicate  StopReason = "goal.predicate" // completed
	GoalCommand    StopReason = "goal.command"
	GoalJudge      StopReason = "goal.judge"
	GoalHuman      StopReason = "goal.human"
	GoalClaimed    StopReason = "goal.claimed"
	GoalAlreadyMet StopReason = "goal.already_met"

	CapIterations StopReason = "cap.iterations" // capped
	CapPasses     StopReason = "cap.passes"
	CapDuration   StopReason = "cap.duration"
	CapActive     StopReason = "cap.active"
	CapTokens     StopReason = "cap.tokens"
	CapCost       StopReason = "cap.cost"
	CapToolCalls  StopReason = "cap.tool_calls"
	CapParent     StopReason = "cap.parent"
	CapDailyCost  StopReason = "cap.daily_cost"

	StallRepeatedOutput StopReason = "stall.repeated_output" // stalled
	StallNoProgress     StopReason = "stall.no_progress"

	BlockedImpossible StopReason = "blocked.impossible" // blocked
	BlockedNoAnswer   StopReason = "blocked.no_answer"
	BlockedProtected  StopReason = "blocked.protected"

	FailBody        StopReason = "fail.body" // failed
	FailFailures    StopReason = "fail.failures"
	FailProvider    StopReason = "fail.provider"
	FailJudge       StopReason = "fail.judge"
	FailPredicate   StopReason = "fail.predicate"
	FailQuarantined StopReason = "fail.quarantined"

	CancelClient   StopReason = "cancel.client" // cancelled
	CancelOperator StopReason = "cancel.operator"
	CancelParent   StopReason = "cancel.parent"
)

// Stop is the record of why a loop settled and what would move it.
type Stop struct {
	Reason       StopReason `json:"reason"`
	Detail       string     `json:"detail,omitempty"`
	DecidedBy    string     `json:"decided_by,omitempty"` // a condition kind, "limit", "engine", "client" or "operator"
	SelfDeclared bool       `json:"self_declared"`        // only the worker's word stands behind it
	Resumable    bool       `json:"resumable"`
	Actions      []string   `json:"actions,omitempty"` // sentences: what to do now
}

// Pause is the record of why a loop does not move.
type Pause struct {
	Reason string `json:"reason"` // client, judge_unavailable, shutdown or store
	Detail string `json:"detail,omitempty"`
}

// The reasons of a pause.
const (
	PauseClient           = "client"
	PauseJudgeUnavailable = "judge_unavailable"
	PauseShutdown         = "shutdown"
	PauseStore            = "store"
)
