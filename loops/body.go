package loops

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Body does the work of one start. Run may be called for several loops at
// once. It may run again after a crash until its iteration is committed; a
// committed iteration never runs again.
//
// Run must return when ctx ends. ctx ends at the iteration's time limit, at a
// cap in time ([context.Cause] is then a [context.DeadlineExceeded]; its Deadline
// is not set, because limits can be raised meanwhile), on a cancel ([ErrCancelled] or
// [ErrCancelNow]) and at shutdown; the result of such a run is thrown away
// except for its Usage.
//
// A nil error is an iteration. An error is a failed iteration, unless it comes
// from [Permanent] (the loop fails), [Transient] (the start is repeated after a
// back-off, within the spec's retry policy), [RateLimited] or [Unserved] (the
// start goes on later) or [CutOff] (as if the worker had crashed). A panic is a
// failed iteration.
type Body interface {
	Run(ctx context.Context, t Turn) (Result, error)
}

// Ender is implemented by a Body whose runs can outlive their worker, such as a
// program. EndLeftovers ends what dead workers left of a loop, before a start
// that was cut off runs again, is asked about, or is cancelled. It never touches
// the run of a living worker.
type Ender interface {
	EndLeftovers(id ID, dir string)
}

// Warner is implemented by a Body that knows something about its settings that
// does not keep a loop from being started. What it says is shown to whoever
// starts the loop.
type Warner interface {
	Warn(s Setup) []string
}

// Rester is implemented by a Body that keeps something for a loop from start to
// start, such as a process. Rest is called when this process stops working on
// the loop, with the status that it then has.
type Rester interface {
	Rest(id ID, status Status)
}

// BodyFunc makes a function a Body.
type BodyFunc func(ctx context.Context, t Turn) (Result, error)

// Run calls f.
func (f BodyFunc) Run(ctx context.Context, t Turn) (Result, error) { return f(ctx, t) }

// Turn is what a body is given for one start.
type Turn struct {
	Loop      ID
	Iteration int // the one that this start works on, from 1
	Pass      int
	Epoch     uint64
	Attempt   int // 1, or more for a start that repeats one with a transient fault; one that was cut off does not count

	Config json.RawMessage // the body's fields as JSON, templates expanded
	Prompt string          // goal, context, feedback, steering and what is left, in the fixed layout; or the body's own prompt or stdin, expanded

	Goal, Context, Feedback, Steer string
	Answer                         string          // a person's answer to the last Ask
	Output                         string          // of the last iteration
	Memory                         json.RawMessage // what the body kept from its last iteration, or saved in a start that was cut off

	Ledger Ledger // what was spent before this start, the start included
	Limits Limits
	Inputs map[string]any // typed as the spec declares them: string, int64, float64 or bool
	Source Source
	Dir    string            // absolute: what relative paths refer to
	Models map[string]string // models by the name that the spec has for them, pinned when the loop was created

	// Meter accounts for paid calls.
	Meter Meter
	// Keep stores data beside the loop, for good and under the hash of its
	// content; Fetch returns it. Memory that grows from start to start keeps
	// its large parts there and holds the references.
	Keep  func(ctx context.Context, data []byte) (ref string, err error)
	Fetch func(ctx context.Context, ref string) ([]byte, error)

	// Save stores memory durably inside the iteration: a start that is cut off
	// is repeated with it. Safe for concurrent use.
	Save func(ctx context.Context, memory json.RawMessage) error
	// Emit hands out live text; it is the body's heartbeat. It never blocks
	// and drops what nobody reads in time; of more than 4 KiB at once it keeps
	// both ends and says how much is missing. Safe for concurrent use.
	Emit func(Live)
}

// Live is a piece of a running body's text, or the name of a tool it uses.
type Live struct {
	Text string `json:"text,omitempty"`
	Tool string `json:"tool,omitempty"`
}

// Result is what a start came to.
type Result struct {
	Output string
	Memory json.RawMessage // nil keeps what was there
	Done   bool            // the body claims that this attempt is finished
	Score  *float64        // nil: the number "score" of a JSON output, if there is one
	Usage  Usage
	Ask    *Ask // the loop waits for a person; the answer is in the next Turn
}

// Ask is a question to a person, or a request for approval.
type Ask struct {
	Approval bool // approve or deny, instead of an answer in words
	Prompt   string
}

// Permanent marks an error that no repetition mends: the loop fails (fail.body).
// A nil err gives nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &bodyError{err: err, permanent: true}
}

// Transient marks an error that may pass. The start is repeated not before
// after has passed (and not before the back-off), up to retry.max_attempts
// starts; then the iteration has failed. A nil err gives nil.
func Transient(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return &bodyError{err: err, after: after}
}

// RateLimited marks an error after which the same start goes on when after, at
// least a back-off, has passed: the provider asked to wait. It costs no start
// and no failure; only max_duration bounds it. A condition that returns it is
// asked again. A nil err gives nil.
func RateLimited(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return &bodyError{err: err, after: after, limited: true}
}

// CutOff marks an error of a body that does not know how far the work of its
// start went, because whoever did it is gone. It is treated as a crash of the
// worker: the start stays charged and is repeated, or a person is asked
// (retry.on_crash); it counts to no failures. A nil err gives nil.
func CutOff(err error) error {
	if err == nil {
		return nil
	}
	return &bodyError{err: err, cut: true}
}

// Unserved marks an error of a body whose start has not begun, because nobody
// was there to do it. The loop goes back to the queue, and the same start goes
// on, uncharged, when a process takes it; [Checker] decides which and when. A nil
// err gives nil.
func Unserved(err error) error {
	if err == nil {
		return nil
	}
	return &bodyError{err: err, unserved: true}
}

// The values of [Fault.Kind].
const (
	FaultFailed      = "failed" // no mark: a failed iteration
	FaultPermanent   = "permanent"
	FaultTransient   = "transient"
	FaultRateLimited = "rate_limited"
	FaultCutOff      = "cut_off"
	FaultUnserved    = "unserved"
)

// Fault is what the mark of a body's error says.
type Fault struct {
	Kind     string
	After    time.Duration // of FaultTransient and FaultRateLimited
	Provider bool          // it is the error of a model's provider
}

// FaultOf reads the mark of an error, for a body that hands on those of another.
func FaultOf(err error) Fault {
	f := Fault{Kind: FaultFailed}
	_, f.Provider = errors.AsType[*providerError](err)
	be, marked := errors.AsType[*bodyError](err)
	switch {
	case !marked:
		return f
	case be.permanent:
		f.Kind = FaultPermanent
	case be.limited:
		f.Kind = FaultRateLimited
	case be.cut:
		f.Kind = FaultCutOff
	case be.unserved:
		f.Kind = FaultUnserved
	default:
		f.Kind = FaultTransient
	}
	f.After = be.after
	return f
}

// Provider marks an error as that of a model's provider: a loop that it ends
// has failed with fail.provider instead of fail.body or fail.failures. It is
// the innermost mark: Permanent(Provider(err)). A nil err gives nil.
func Provider(err error) error {
	if err == nil {
		return nil
	}
	return &providerError{err}
}

type providerError struct{ error }

func (e *providerError) Unwrap() error { return e.error }

type bodyError struct {
	err       error
	permanent bool
	limited   bool // by rate: neither a failure nor a new start
	cut       bool // nobody knows what the start did
	unserved  bool // the start has not begun
	after     time.Duration
}

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// The causes of a body's context when something else than a limit ended it.
var (
	ErrCancelled = errors.New("the loop is being cancelled")
	ErrCancelNow = errors.New("the loop is being cancelled at once")
	ErrShutdown  = errors.New("the process is shutting down")
	ErrUnleased  = errors.New("this worker was cut off from the others, and one of them may go on") // see [Leased]
)
