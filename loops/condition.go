package loops

import (
	"context"
	"encoding/json"
	"time"
)

// StopCondition decides from evidence whether the goal is met. Judge may be
// called for several loops at once and must return when ctx ends.
//
// An error means that the condition could not be asked: it counts as not met,
// with the error as reason and feedback. Three kinds of error are no verdict:
// one from [Transient] or [RateLimited] has the condition asked again later,
// and after retry.max_attempts tries in a row pauses the loop
// (judge_unavailable); one from [Permanent] fails it (fail.judge); a [*CapError]
// caps it. In all three the judgement stays owed and the body does not run again.
// Of the kind judge no error is a verdict: a [FieldError] is permanent, any other
// one is as if from Transient.
type StopCondition interface {
	Judge(ctx context.Context, e Evidence) (Verdict, error)
}

// StopFunc makes a function a StopCondition.
type StopFunc func(ctx context.Context, e Evidence) (Verdict, error)

// Judge calls f.
func (f StopFunc) Judge(ctx context.Context, e Evidence) (Verdict, error) { return f(ctx, e) }

// Evidence is what a stop condition may look at.
type Evidence struct {
	Loop      ID
	Iteration int
	Pass      int
	Config    json.RawMessage // the condition's fields as JSON, templates expanded

	Goal    string
	Output  string // whole
	Score   *float64
	Memory  json.RawMessage
	Ledger  Ledger
	Limits  Limits
	Inputs  map[string]any // typed as the spec declares them: string, int64, float64 or bool
	History []string       // earlier outputs, newest last; at most 50
	Elapsed time.Duration  // wall clock since the start

	Source Source
	Dir    string            // absolute: what relative paths refer to
	Models map[string]string // models by the name that the spec has for them, pinned when the loop was created
	Worker string            // the model of the body, pinned; empty: it has none
	Emit   func(Live)

	// Meter accounts for paid calls.
	Meter Meter
	// Saved is what this condition stored last through Save, in this judgement
	// or an earlier one of the loop. Save stores up to 1 MiB durably.
	Saved json.RawMessage
	Save  func(ctx context.Context, saved json.RawMessage) error
}

// Parts is the menu of an engine: what it can run, by kind. A plain value made
// by the program; there is no registry.
type Parts struct {
	Bodies   map[string]Body // by BodySpec.Kind; "client" needs none
	Handlers map[string]Body // by BodySpec.Name, for the kind "handler"
	// Elsewhere returns the Body for a handler that Handlers has not, such as one
	// that another process serves; nil, or its answer: there is none. Its Body
	// refuses in [Checker] what nobody serves now. Safe for concurrent use.
	Elsewhere func(name string) Body
	Stops     map[string]StopCondition // by Condition.Kind; "human" and "claim" need none
	Models    Models                   // nil: this program has no models
}

// Models tells what the names of models in specs stand for. Safe for concurrent
// use.
type Models interface {
	// Resolve returns the model behind a name; an empty name asks for the usual
	// one of the role (RoleWorker or RoleJudge). The error says what is known
	// instead and how a model is configured.
	Resolve(name, role string) (ModelRef, error)
}

// ModelRef is a model as a loop pins it when it is created.
type ModelRef struct {
	Name   string // as specs name it: "smart"
	ID     string // provider and model: "anthropic/claude-sonnet-4-5"
	Priced bool   // what it costs is known
}

// Checker is implemented by a Body or a StopCondition that can refuse settings
// before anything runs: at the start of a loop, where all problems are reported
// together, and before a process claims it. Problems are [FieldError]s, joined,
// with fields relative to the part ("run").
type Checker interface {
	Check(s Setup) error
}

// Setup is what a [Checker] looks at.
type Setup struct {
	Config json.RawMessage // the part's fields as JSON, templates expanded for the first iteration
	Source Source
	Dir    string
	Inputs map[string]any    // typed, as in [Evidence]
	Models map[string]string // pinned models by name; empty before the loop is created
	Claim  bool              // asked by a process that is about to claim the loop
}
