package mcpserver

import (
	"time"

	"example.com/loop-mcp/loops"
)

// Answer is what every tool that concerns a loop answers, and what the command
// line prints with --json: the snapshot of the loop, then what that one tool
// adds. Numbers and booleans of the snapshot are always there; empty texts,
// lists and objects are left out.
type Answer struct {
	LoopID          loops.ID            `json:"loop_id,omitempty"` // empty only after a dry run
	Name            string              `json:"name"`
	Status          loops.Status        `json:"status,omitempty"` // empty only after a dry run
	Phase           loops.Phase         `json:"phase,omitempty"`
	Iteration       int                 `json:"iteration"`
	Pass            int                 `json:"pass"`
	Epoch           uint64              `json:"epoch"`
	Cursor          uint64              `json:"cursor"`
	Summary         string              `json:"summary,omitempty"`
	Output          string              `json:"output,omitempty"`
	OutputTruncated bool                `json:"output_truncated"`
	Usage           loops.Ledger        `json:"usage"`
	Limits          *loops.Limits       `json:"limits,omitempty"`
	Enforcement     *loops.Enforcements `json:"enforcement,omitempty"`
	Warnings        []string            `json:"warnings,omitempty"`
	Verdict         *Verdict            `json:"verdict,omitempty"`
	Attention       *Attention          `json:"attention,omitempty"`
	Stop            *loops.Stop         `json:"stop,omitempty"`
	Pause           *loops.Pause        `json:"pause,omitempty"`
	WaitingUntil    time.Time           `json:"waiting_until,omitzero"` // waiting: when it goes on
	Why             string              `json:"why,omitempty"`          // queued: what is missing; live: what is about to happen
	RunsWhile       string              `json:"runs_while,omitempty"`
	ForkedFrom      *ForkedFrom         `json:"forked_from,omitempty"` // with limits
	CreatedAt       time.Time           `json:"created_at,omitzero"`
	UpdatedAt       time.Time           `json:"updated_at,omitzero"`

	DryRun         bool   `json:"dry_run,omitempty"`                        // loop_start: nothing was stored
	Spec           any    `json:"spec,omitempty" jsonschema:"type=object"`  // dry run: what would be stored
	Reused         *bool  `json:"reused,omitempty"`                         // loop_start, loop_continue: a known request_id, nothing new happened
	AlreadySettled *bool  `json:"already_settled,omitempty"`                // loop_cancel: there was nothing to cancel
	TimedOut       *bool  `json:"timed_out,omitempty"`                      // calls that waited: what they waited for has not come
	Events         any    `json:"events,omitempty" jsonschema:"type=array"` // loop_wait: the newest after the cursor, oldest first
	EventsDropped  *int   `json:"events_dropped,omitempty"`                 // loop_wait: how many after the cursor are not in events
	Items          any    `json:"items,omitempty" jsonschema:"type=array"`  // loop_inspect
	NextPage       string `json:"next_page,omitempty"`                      // loop_inspect: empty at the end

	Next string `json:"next"`
}

// ForkedFrom says where a fork began: after that iteration of a loop, which may be
// gone; 0 is before its first one.
type ForkedFrom struct {
	LoopID    loops.ID `json:"loop_id"`
	Iteration int      `json:"iteration"`
}

// Verdict is the last verdict of the loop's stop conditions together.
type Verdict struct {
	Met               bool   `json:"met"`
	DecidedBy         string `json:"decided_by"`
	Reason            string `json:"reason,omitempty"`
	Feedback          string `json:"feedback,omitempty"`
	FeedbackTruncated bool   `json:"feedback_truncated,omitempty"`
	SelfReported      bool   `json:"self_reported"`
}

// Attention is what the client (kind iteration) or a person (question,
// approval) owes the loop.
type Attention struct {
	Kind            string `json:"kind"`
	ID              string `json:"id"`
	Prompt          string `json:"prompt,omitempty"`
	PromptTruncated bool   `json:"prompt_truncated,omitempty"`
}

// Event is one line of a loop's journal.
type Event struct {
	Cursor uint64          `json:"cursor"`
	At     time.Time       `json:"at"`
	Type   loops.EventType `json:"type"`
	Text   string          `json:"text,omitempty"`
}
