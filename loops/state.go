package loops

import (
	"encoding/json"
	"time"
)

// ID names a loop: "<name>-<4 of a-z2-7>", or 26 random characters over HTTP.
// An id is never a path.
type ID string

// Source says through which door a loop came in; it decides what its commands
// may do.
type Source string

// The sources of a loop.
const (
	SourceTool        Source = "tool"         // a spec in a tool call: programs need the operator's allow list
	SourceTrustedFile Source = "trusted_file" // a trusted loop file, named in a tool call: its own commands are consented to, inputs are not
	SourceCommandLine Source = "command_line" // named by a person on their own command line: that is consent
	SourceLibrary     Source = "library"      // a Go program
)

// Origin is the part of a loop that never changes after its creation.
type Origin struct {
	Spec      Spec              `json:"spec"`             // normalized: defaults filled in, limits clamped
	Inputs    map[string]string `json:"inputs,omitempty"` // values of Spec.Inputs as text
	Source    Source            `json:"source"`
	Dir       string            `json:"dir,omitempty"` // absolute: what relative paths refer to
	Labels    map[string]string `json:"labels,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Owner     string            `json:"owner,omitempty"`  // on whose behalf it was started; empty: nobody's in particular
	Parent    ID                `json:"parent,omitempty"` // the loop below whose body this one was started
	Forked    *Forked           `json:"forked_from,omitempty"`
	Base      *Base             `json:"base,omitempty"`      // of a fork: what it began with
	Pins      []ID              `json:"pins,omitempty"`      // loops whose blobs this one reads, too: they stay as long as it does
	Protected map[string]string `json:"protected,omitempty"` // file below Dir → SHA-256 at the start
	Models    map[string]string `json:"models,omitempty"`    // name in the spec → provider and model, pinned
	Unpriced  []string          `json:"unpriced,omitempty"`  // pinned models whose price is unknown
	Warnings  []string          `json:"warnings,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
}

// Forked says where a fork comes from. The original may be gone.
type Forked struct {
	Loop      ID     `json:"loop_id"`
	Iteration int    `json:"iteration"`         // 0: as it was started
	Message   string `json:"message,omitempty"` // guidance for the first start
}

// Base is what a fork has of the original as it was.
type Base struct {
	Output   Text            `json:"output,omitzero"`
	Score    *float64        `json:"score,omitempty"`
	Best     *Best           `json:"best,omitempty"` // its Iteration is 0
	Memory   json.RawMessage `json:"memory,omitempty"`
	Verdict  *Verdict        `json:"verdict,omitempty"` // not met; its Iteration is 0
	Feedback string          `json:"feedback,omitempty"`
}

// State is the checkpoint of a loop: all that the next iteration needs. It is
// changed only through [Store.Commit]. The functions of this package that take
// and return a State are pure.
type State struct {
	ID     ID     `json:"id"`
	Origin Origin `json:"-"` // stored once, not in every commit

	Status       Status    `json:"status"`
	Phase        Phase     `json:"phase,omitempty"`
	Why          string    `json:"why,omitempty"`         // queued: what is missing; running: what is about to happen
	WaitingFor   string    `json:"waiting_for,omitempty"` // delay, back_off or rate_limit
	WaitingSince time.Time `json:"waiting_since,omitzero"`
	WaitingUntil time.Time `json:"waiting_until,omitzero"` // when the wait is over, unless a limit ends it before
	WakeAt       time.Time `json:"wake_at,omitzero"`       // the next moment at which the rules must be asked again

	Limits    Limits `json:"limits"`
	Ledger    Ledger `json:"usage"`
	Iteration int    `json:"iteration"`         // committed iterations
	Pass      int    `json:"pass"`              // the pass under way, or the last one of a settled loop
	Epoch     uint64 `json:"epoch"`             // goes up when a settled loop is moved again
	Attempt   int    `json:"attempt,omitempty"` // starts charged for the iteration under way
	Open      bool   `json:"open,omitempty"`    // a charged start has neither ended nor been written off
	Held      bool   `json:"held,omitempty"`    // the open start waits for a provider or a limit and goes on uncharged

	Output   Text            `json:"output"`
	Score    *float64        `json:"score,omitempty"` // of Output
	Best     *Best           `json:"best,omitempty"`
	Memory   json.RawMessage `json:"memory,omitempty"` // what the body kept, or saved inside the start that was cut off
	Unkept   bool            `json:"unkept,omitempty"` // Memory changed since the last iteration, whose record does not have it
	Feedback string          `json:"feedback,omitempty"`
	Answer   string          `json:"answer,omitempty"` // a person's answer for the next start
	Steers   []Steer         `json:"steers,omitempty"` // that no finished iteration had

	Verdict   *Verdict   `json:"verdict,omitempty"`   // the last one
	Owed      *Judgement `json:"owed,omitempty"`      // a judgement that has begun and not ended
	Checked   bool       `json:"checked,omitempty"`   // check_first has been asked
	Attention *Attention `json:"attention,omitempty"` // what the client or a person owes
	Stop      *Stop      `json:"stop,omitempty"`
	Pause     *Pause     `json:"pause,omitempty"`
	Intent    Intent     `json:"intent,omitzero"`

	Reserved []Reserved                 `json:"reserved,omitempty"` // for calls under way
	Grants   int                        `json:"grants,omitempty"`   // calls that something was ever set aside for
	Metered  Usage                      `json:"metered,omitzero"`   // settled calls that no committed iteration shows yet
	ByModel  []ModelUsage               `json:"by_model,omitempty"` // what the ledger's usage is made of
	Children map[ID]Drawn               `json:"children,omitempty"` // what loops below this one have drawn
	Changes  uint64                     `json:"changes,omitempty"`  // commits, of a loop below another: they number what it hands up
	Short    *Shortage                  `json:"short,omitempty"`    // a limit that left no room for a call
	Notes    map[string]json.RawMessage `json:"notes,omitempty"`    // what conditions saved, by their place in the spec
	Waits    int                        `json:"waits,omitempty"`    // waits for a provider in a row

	Progress Progress  `json:"progress,omitzero"` // stall, error and protection streaks
	Claim    Claim     `json:"claim,omitzero"`
	Taken    []string  `json:"taken,omitempty"` // tokens of claims that ended without a commit of their worker, newest last
	Cursor   uint64    `json:"cursor"`          // number of the loop's last event
	Requests []Handled `json:"requests,omitempty"`
	Elapsed  Duration  `json:"elapsed,omitempty"` // since the start, by a clock that nobody sets where one process has seen it; never falls

	Tell string `json:"tell,omitempty"` // the process that still has to tell somebody what the loop came to

	UpdatedAt time.Time `json:"updated_at"`

	Rev uint64 `json:"-"` // set by the Store, checked by Commit
	New Delta  `json:"-"` // what this change adds to the journal; Commit stores and empties it
}

// Delta is what one commit adds to the journal of a loop.
type Delta struct {
	Iteration *Iteration `json:"iteration,omitempty"`
	Verdicts  []Verdict  `json:"verdicts,omitempty"` // of the conditions asked, one each
	Decision  *Verdict   `json:"decision,omitempty"` // what they came to; belongs to Decision.Iteration
	Events    []Event    `json:"events,omitempty"`
}

// Ledger is what a loop has spent. It never falls. Active time is what
// max_active counts: bodies, conditions, delays and back-off.
type Ledger struct {
	Starts        int     `json:"starts"`
	Iterations    int     `json:"iterations"`
	Passes        int     `json:"passes"`
	ActiveSeconds float64 `json:"active_seconds"`
	Usage
	Failures int `json:"failures"` // failed iterations in a row
}

// Usage is what one run of a body or a condition reports to have spent.
type Usage struct {
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
	CostUSD      USD   `json:"cost_usd"`
	ToolCalls    int64 `json:"tool_calls"`
}

// Text is a text of any size. When it is large, Text holds head and tail
// around a marker and Blob names the whole in the store.
type Text struct {
	Text string `json:"text,omitempty"`
	Size int64  `json:"size,omitempty"` // bytes of the whole
	Blob string `json:"blob,omitempty"`
}

// Best is the committed iteration with the highest score so far.
type Best struct {
	Iteration int     `json:"iteration"`
	Score     float64 `json:"score"`
	Output    Text    `json:"output"`
}

// Steer is guidance from outside for the next start.
type Steer struct {
	Text string `json:"text"`
	Seen bool   `json:"seen,omitempty"` // a start had it
}

// Attention is what the loop waits for: an iteration from the client, an
// answer or an approval from a person.
type Attention struct {
	Kind   string    `json:"kind"` // iteration, question or approval
	ID     string    `json:"id"`
	Prompt string    `json:"prompt,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Cause  string    `json:"cause,omitempty"` // approval: "human" (a condition), "crash" (a cut-off start) or "body"
	Path   string    `json:"path,omitempty"`  // the condition that asks, as in Judgement.Results
}

// The kinds of attention.
const (
	AttentionIteration = "iteration"
	AttentionQuestion  = "question"
	AttentionApproval  = "approval"
)

// Judgement is what has been found out about the end of a pass. Results is
// keyed by the place of a condition in the spec, for example "all[0]".
type Judgement struct {
	First   bool               `json:"first,omitempty"` // check_first: before the first pass
	Results map[string]Verdict `json:"results,omitempty"`
	Metered map[string]Usage   `json:"metered,omitempty"` // settled calls of conditions whose verdict is not there yet
	Tries   int                `json:"tries,omitempty"`   // in a row that did not reach a condition
}

// Intent is a request written while a worker has the loop. It is obeyed at the
// worker's next commit.
type Intent struct {
	Pause  *Pause      `json:"pause,omitempty"`
	Cancel *CancelWish `json:"cancel,omitempty"`
}

// CancelWish is a cancel that has been asked for and is not finished.
type CancelWish struct {
	Reason StopReason `json:"reason"`
	Detail string     `json:"detail,omitempty"`
	Now    bool       `json:"now,omitempty"` // skip the grace period
}

// Claim says which worker may write a loop's iterations. Token is private to
// that worker and differs from claim to claim. Commit numbers the worker's own
// commits: after an error it tells whether one of them landed, whatever others
// wrote since.
type Claim struct {
	Owner  string `json:"owner,omitempty"`
	Token  string `json:"token,omitempty"`
	Commit int    `json:"commit,omitempty"`
}

// Progress counts repetitions, so that a loop that goes in circles is noticed.
type Progress struct {
	OutputHash    string `json:"output_hash,omitempty"`
	SameOutput    int    `json:"same_output,omitempty"`
	EvidenceHash  string `json:"evidence_hash,omitempty"`
	SameEvidence  int    `json:"same_evidence,omitempty"`
	Error         string `json:"error,omitempty"` // of a predicate
	SameError     int    `json:"same_error,omitempty"`
	ProtectedPass int    `json:"protected_pass,omitempty"` // passes in a row with a changed protected file
}

// Handled is a request that has been carried out, for idempotency.
type Handled struct {
	ID     string `json:"id"`
	Action Action `json:"action"`
}

// Verdict is the answer of a stop condition, or of all of them together.
type Verdict struct {
	Iteration    int       `json:"iteration"`
	Pass         int       `json:"pass"`
	Kind         string    `json:"kind"`              // the condition's kind; for the whole: the kind that decided
	Members      []string  `json:"members,omitempty"` // the condition's place in until, such as all[0]; for the whole: of those that decided
	Met          bool      `json:"met"`
	Reason       string    `json:"reason,omitempty"`
	Impossible   bool      `json:"impossible,omitempty"` // no work can meet it: blocked.impossible
	Feedback     string    `json:"feedback,omitempty"`   // for the next pass
	Criteria     []Ruling  `json:"criteria,omitempty"`   // judge: one each
	Evidence     []Exhibit `json:"evidence,omitempty"`
	Model        string    `json:"model,omitempty"`
	PromptHash   string    `json:"prompt_hash,omitempty"` // of the fixed text that a model was asked with
	Usage        Usage     `json:"usage,omitzero"`
	SelfReported bool      `json:"self_reported"` // rests on the worker's own words alone
	Error        string    `json:"error,omitempty"`
	Fingerprint  string    `json:"fingerprint,omitempty"` // of the evidence without times and addresses; see stall detection
}

// Ruling is a verdict on one criterion of a judge.
type Ruling struct {
	ID     string   `json:"id"`
	Status string   `json:"status"` // met, not_met or unknown
	Quotes []string `json:"quotes,omitempty"`
	Note   string   `json:"note,omitempty"` // what the host found wrong with it, or what is missing
}

// Exhibit is one piece of evidence behind a verdict.
type Exhibit struct {
	Source   string `json:"source"`   // "output", a command line, a file
	Observed bool   `json:"observed"` // collected by the host, not told by the worker
	Text     string `json:"text,omitempty"`
	Hash     string `json:"hash,omitempty"`
}

// Iteration is the record of one committed turn of the body.
type Iteration struct {
	Iteration int             `json:"iteration"`
	Pass      int             `json:"pass"`
	Epoch     uint64          `json:"epoch"`
	OK        bool            `json:"ok"`
	Done      bool            `json:"done"`
	Output    Text            `json:"output"`
	Error     string          `json:"error,omitempty"`
	Score     *float64        `json:"score,omitempty"`
	Memory    json.RawMessage `json:"memory,omitempty"`
	Usage     Usage           `json:"usage"`
	Verdict   *Verdict        `json:"verdict,omitempty"` // joined by Store.History
	StartedAt time.Time       `json:"started_at"`
	EndedAt   time.Time       `json:"ended_at"`
}

// Event is one line of a loop's journal.
type Event struct {
	Cursor uint64    `json:"cursor"`
	At     time.Time `json:"at"`
	Type   EventType `json:"type"`
	Text   string    `json:"text,omitempty"`
}

// EventType is the closed set of things that happen to a loop.
type EventType string

// The event types.
const (
	EventCreated         EventType = "created"
	EventStarted         EventType = "started"
	EventIteration       EventType = "iteration"
	EventFailed          EventType = "failed" // an iteration or an attempt
	EventVerdict         EventType = "verdict"
	EventNudge           EventType = "nudge"
	EventWaiting         EventType = "waiting"
	EventAttention       EventType = "attention"
	EventSteer           EventType = "steer"
	EventSteerApplied    EventType = "steer_applied"
	EventLimits          EventType = "limits"
	EventPaused          EventType = "paused"
	EventResumed         EventType = "resumed"
	EventCancelRequested EventType = "cancel_requested"
	EventSettled         EventType = "settled"
)

// Loop is a loop with its journal, as [Store.History] returns it.
type Loop struct {
	State
	Iterations    []Iteration
	Verdicts      []Verdict // one for each condition asked, oldest first
	Events        []Event   // oldest first
	EventsDropped uint64    // older events that the store no longer has
}
