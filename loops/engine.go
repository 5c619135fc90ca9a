package loops

import (
	"context"
	"iter"
	"log/slog"
	"time"
)

// Engine starts loops, works on them and carries out requests. All methods are
// safe for concurrent use.
type Engine struct {
	store Store
	parts Parts
	opts  Options
}

// Options of an engine. The zero value is useful.
type Options struct {
	Workers     int                    // loops worked on at once; 0: 16
	Defaults    Limits                 // for what a spec leaves out; zero fields: DefaultLimits
	Ceilings    Limits                 // that no spec exceeds; zero fields: DefaultCeilings
	LiveLoops   int                    // live loops at once in the store; 0: 1000
	Approvals   string                 // "auto" (default) or "person": whose decision counts
	RunsWhile   string                 // what keeps this process, for snapshots: "this client is connected"
	Parent      ID                     // the loop below whose body this process runs; it and its ancestors are out of reach
	NewID       func(name string) ID   // nil: name and four random characters
	Logger      *slog.Logger           // nil: discards
	OnIteration func(State, Iteration) // called after each commit of an iteration by this process; must not block
}

// New returns an engine on store. opts may be nil.
func New(store Store, parts Parts, opts *Options) *Engine { panic("written next") }

// StartRequest asks for a new loop.
type StartRequest struct {
	Spec      Spec
	Inputs    map[string]any    // values for Spec.Inputs, as JSON or Go values
	Source    Source            // empty: library
	Dir       string            // absolute folder that relative paths refer to; empty: the process's
	Labels    map[string]string // at most 8, 63 bytes each
	RequestID string            // the same id and spec give the same loop
}

// Run works on loops until ctx ends, then lets go of what it holds and returns
// nil. It may be called once.
func (e *Engine) Run(ctx context.Context) error { panic("written next") }

// Start creates a loop. It is durable when Start returns. A wrong spec gives
// joined [FieldError]s; what a rule forbids gives a [RefusedError]; in both
// cases nothing is stored.
func (e *Engine) Start(ctx context.Context, r StartRequest) (Outcome, error) { panic("written next") }

// DryRun checks a request as Start does and returns the spec that Start would
// store, with its warnings. Nothing is stored.
func (e *Engine) DryRun(ctx context.Context, r StartRequest) (Spec, []string, error) {
	panic("written next")
}

// Do carries out a request on a loop. What the loop's status does not allow
// gives a [RefusedError] that says what would work.
func (e *Engine) Do(ctx context.Context, id ID, r Request) (Outcome, error) { panic("written next") }

// Get returns the checkpoint of a loop. A damaged one is returned as Failed
// with the reason fail.quarantined.
func (e *Engine) Get(ctx context.Context, id ID) (State, error) { panic("written next") }

// History returns a loop with its journal.
func (e *Engine) History(ctx context.Context, id ID) (Loop, error) { panic("written next") }

// Output returns the whole of a text of loop id.
func (e *Engine) Output(ctx context.Context, id ID, t Text) (string, error) { panic("written next") }

// Filter chooses and pages loops for [Engine.List].
type Filter struct {
	Statuses []Status          // empty: all
	Labels   map[string]string // all must match
	Limit    int               // 0: 20; at most 100
	Page     string            // opaque; from the last answer
}

// List returns heads: those that need attention first, then live ones, then
// settled ones, the newest first in each group. next is the page that follows,
// empty at the end.
func (e *Engine) List(ctx context.Context, f Filter) (heads []Head, next string, err error) {
	panic("written next")
}

// WaitFor says what [Engine.Wait] waits for.
type WaitFor string

// What a wait can be for.
const (
	ForChange    WaitFor = "change"    // any event after the cursor
	ForAttention WaitFor = "attention" // your_turn, needs_input, paused or settled
	ForSettled   WaitFor = "settled"
)

// Wait returns as soon as the loop is as wanted, or with timedOut after d. It is
// level-triggered: a condition that holds already returns at once. onChange,
// when not nil, is called with each newer head that is seen meanwhile.
func (e *Engine) Wait(ctx context.Context, id ID, cursor uint64, f WaitFor, d time.Duration, onChange func(Head)) (s State, timedOut bool, err error) {
	panic("written next")
}

// Watch yields heads as they change; see [Store.Watch].
func (e *Engine) Watch(ctx context.Context, id ID) iter.Seq2[Head, error] { panic("written next") }

// Live returns the newest live text of a loop that this process works on, and
// when the body was last heard of. ok is false when it does not work on it.
func (e *Engine) Live(id ID) (l Live, heard time.Time, ok bool) { panic("written next") }

// Enforcements says how the limits on money, tokens and tool calls hold for s.
func (s State) Enforcements() Enforcements { panic("written next") }

// RunsWhile says what keeps the loop moving, for snapshots.
func (e *Engine) RunsWhile() string { return e.opts.RunsWhile }
