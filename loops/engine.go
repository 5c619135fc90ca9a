package loops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Engine starts loops, works on them and carries out requests. All methods are
// safe for concurrent use.
type Engine struct {
	store Store
	parts Parts
	opts  Options

	feed   feed    // what the loops of this process say
	teller *teller // who is told about them
	clock  *clock
	entry  entry // of loops that this process creates

	working atomic.Int32  // calls of Run under way
	seats   chan struct{} // taken by the loops that are worked on

	mu      sync.Mutex    // guards what follows; never held while calling out
	running map[ID][]*run // oldest first; a slice is replaced, never changed
	strays  []stray       // claims that may arrive late
}

// Options of an engine. The zero value is useful.
type Options struct {
	Workers   int                  // loops worked on at once, but for those of which only the last commit is on its way; 0: 16
	Defaults  Limits               // for what a spec leaves out; zero fields: DefaultLimits
	Ceilings  Limits               // that no spec exceeds; zero fields: DefaultCeilings
	LiveLoops int                  // live loops at once in the store, see [Engine.Start]; 0: 1000
	DailyCost USD                  // what all loops of the store together may spend on one day, in UTC; 0: no such limit
	Approvals string               // "auto" (default) or "person": whose decision counts
	Parent    ID                   // the loop below whose body this process runs; it and its ancestors are out of reach
	NewID     func(name string) ID // nil: name and four random characters
	Logger    *slog.Logger         // nil: discards

	// RunsWhile says what keeps a loop moving, for snapshots: "this client is
	// connected". Nil says nothing.
	RunsWhile func(State) string
	// Tell is called when a loop has settled or wants a person: it asks, or has
	// paused without a request. It gets the state as it is then. What this
	// process committed is told by this process; what one that is gone left
	// untold by one that works on loops and has a Tell, too. Each piece of news
	// is told once, after a crash perhaps twice; not at all when the loop was
	// moved on before. It is called for several loops at once. An error is
	// logged and concerns no loop. nil: nobody is told.
	Tell func(context.Context, State) error
	// Alive reports whether the process with that [Store].Runner lives; for
	// Tell. nil: no other does.
	Alive func(owner string) bool
	// LiveLog carries live text between processes; nil: it stays in this one.
	LiveLog LiveLog

	// Trouble says why the store takes nothing now, for those who look at live
	// loops; nil, or returning nil: nothing is known to be wrong. It is quick.
	Trouble func() error
	// Uptime says how long the machine has been up, with the time that it slept, so
	// that a clock that was set ahead is told from sleep; nil, or 0: it counts as
	// sleep, which max_duration counts as well.
	Uptime func() time.Duration
	// MayRead says why files below an absolute folder may not be read for a loop
	// of that source; nil allows all. Asked for the folder of protect.
	MayRead func(dir string, s Source) error
	// Accept says why this process does not work on a loop; nil accepts all.
	Accept func(State) error
	// OnIteration is called after each commit of an iteration by this process,
	// for several loops at once. It must not block. A commit whose acknowledgement
	// was lost may go without it; Watch misses none.
	OnIteration func(State, Iteration)
}

// New returns an engine on store. opts may be nil.
func New(store Store, parts Parts, opts *Options) *Engine {
	e := &Engine{store: store, parts: parts, running: map[ID][]*run{}, teller: newTeller()}
	if opts != nil {
		e.opts = *opts
	}
	e.clock = newClock(e.opts.Uptime)
	if e.opts.Workers <= 0 {
		e.opts.Workers = 16
	}
	e.seats = make(chan struct{}, e.opts.Workers)
	if e.opts.LiveLoops <= 0 {
		e.opts.LiveLoops = 1000
	}
	if e.opts.NewID == nil {
		e.opts.NewID = newID
	}
	if e.opts.Logger == nil {
		e.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return e
}

// RunsWhile says what keeps a loop moving, for snapshots; empty for a settled
// one, which nothing but a request moves.
func (e *Engine) RunsWhile(s State) string {
	if e.opts.RunsWhile == nil || s.Status.Settled() {
		return ""
	}
	return e.opts.RunsWhile(s)
}

// Serves says why this process can't work on a loop: what it lacks, or what
// [Options].Accept refuses. Nil: it can.
func (e *Engine) Serves(s State) error { return e.canServe(s) }

// Workers is how many loops this engine works on at once, see [Options].
func (e *Engine) Workers() int { return e.opts.Workers }

// Do carries out a request on a loop. What the loop's status does not allow
// gives a [RefusedError] that says what would work.
func (e *Engine) Do(ctx context.Context, id ID, r Request) (Outcome, error) {
	if err := e.checkRequest(ctx, id, r); err != nil {
		return Outcome{}, err
	}
	return e.do(ctx, id, r)
}

// do carries out a request that has been checked.
func (e *Engine) do(ctx context.Context, id ID, r Request) (Outcome, error) {
	r.Message, r.Output = strings.ToValidUTF8(r.Message, "\uFFFD"), strings.ToValidUTF8(r.Output, "\uFFFD")
	var warnings []string
	if r.Action == SetLimits {
		r.Limits, warnings = r.Limits.Clamp(e.opts.Ceilings)
	}
	for {
		s, err := e.load(ctx, id)
		if err != nil {
			return Outcome{}, err
		}
		if r.Action == Submit && s.Status == YourTurn && r.text == (Text{}) {
			if r.text, err = e.text(ctx, id, r.Output); err != nil {
				return Outcome{}, err
			}
			r.score = scoreOf(r.Output)
		}
		s, now := e.clock.present(s)
		out, err := apply(s, r, now)
		out.Warnings = warnings
		if err != nil || out.Reused || out.AlreadySettled {
			return out, err
		}
		err = e.put(ctx, &s, &out.State)
		if errors.Is(err, ErrConflict) {
			continue // somebody was faster: the request is judged against what is there now
		}
		if err != nil {
			return Outcome{}, fmt.Errorf("%s %s: %w", r.Action, id, err)
		}
		e.signal(out.State.Head())
		out.State = e.obey(ctx, out.State)
		return out, e.after(ctx, out.State, r)
	}
}

// after hands up what a request spent, and ends what stood below a loop that it
// settled.
func (e *Engine) after(ctx context.Context, s State, r Request) error {
	var problems []error
	problems = append(problems, e.draw(ctx, s))
	if r.Action == Submit && r.Usage != nil {
		problems = append(problems, e.spendToday(ctx, r.Usage.CostUSD))
	}
	if err := errors.Join(append(problems, e.endChildren(ctx, s))...); err != nil {
		e.opts.Logger.Error("what follows a request was not finished", "loop", s.ID, "request", r.Action, "cause", err)
	}
	return nil
}

// checkRequest checks what does not depend on the loop's state.
func (e *Engine) checkRequest(ctx context.Context, id ID, r Request) error {
	problems := []error{checkRequestID(r.RequestID), checkMemory(r.Memory)}
	if _, known := allowed[r.Action]; !known {
		return &FieldError{Field: "action", Problem: fmt.Sprintf("unknown action %q", r.Action)}
	}
	if len(r.Message) > MaxGoalSize {
		problems = append(problems, tooLarge("message", len(r.Message), MaxGoalSize))
	}
	if len(r.Output) > MaxOutputSize {
		problems = append(problems, tooLarge("output", len(r.Output), MaxOutputSize))
	}
	if r.Usage != nil {
		problems = append(problems, r.Usage.Validate())
	}
	if r.Action == SetLimits && r.Limits == (Limits{}) {
		problems = append(problems, &FieldError{Field: "limits", Problem: `is empty; name at least one, for example {"max_passes": 20}`})
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if err := e.outOfReach(ctx, id); err != nil {
		return err
	}
	if (r.Action == Approve || r.Action == Deny) && e.opts.Approvals == "person" && r.By != "person" {
		return &RefusedError{Code: "person_only", Problem: "approvals here need a person",
			Remedy: fmt.Sprintf("ask the user to run: loop-mcp approve %s", id)}
	}
	return nil
}

func tooLarge(field string, size, limit int) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf("is %d bytes, at most %d are allowed", size, limit)}
}

// outOfReach refuses to touch the loop that this process runs below, and its
// ancestors.
func (e *Engine) outOfReach(ctx context.Context, id ID) error {
	for up, n := e.opts.Parent, 0; up != "" && n < 100; n++ {
		if up == id {
			return &RefusedError{Code: "own_loop", Problem: fmt.Sprintf("%s runs this process; a worker can't touch the loop that it works for", id),
				Remedy: "hand in the work and let the loop decide"}
		}
		s, err := e.store.Load(ctx, up)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			return nil // the parent lives in another store
		}
		if err != nil {
			return fmt.Errorf("the ancestors of this process: %w", err)
		}
		up = s.Origin.Parent
	}
	return nil
}
