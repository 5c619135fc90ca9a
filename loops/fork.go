package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ForkRequest asks for a fork. What is zero is as in the original.
type ForkRequest struct {
	Loop      ID
	Iteration *int      // after which the fork begins; 0: as the original was started; nil: the last committed one
	Goal      string    // replaces the goal
	Body      *BodySpec // replaces the whole body; without cwd a command works where the original did
	Until     *Until    // replaces the stop conditions
	Limits    Limits    // those that differ from the original's spec
	Message   string    // guidance for the first start
	RequestID string    // the same id and request give the same fork
	Source    Source    // who asks; empty: library
	SecretID  bool      // as in [StartRequest]; a fork of a loop with such an id has one, too
	Owner     string    // on whose behalf; empty: the original's owner
}

// Forker is implemented by a Body whose memory is not another loop's as it is.
type Forker interface {
	// Fork returns what a fork is given of a memory. pass is the pass that was
	// under way, which the fork goes on with as its first; 0: none was. warning,
	// unless empty, is for whoever forks.
	Fork(body BodySpec, memory json.RawMessage, pass int) (forked json.RawMessage, warning string, err error)
}

// Fork creates a loop that begins where another one was. It is durable when Fork
// returns; the original does not change. Errors are those of Start, and
// ErrNotFound for an original that is not there.
func (e *Engine) Fork(ctx context.Context, r ForkRequest) (Outcome, error) {
	if err := r.check(); err != nil {
		return Outcome{}, err
	}
	l, err := e.History(ctx, r.Loop)
	if errors.Is(err, ErrNotFound) && r.RequestID != "" {
		return e.forkedBefore(ctx, r, err)
	}
	if err != nil {
		return Outcome{}, err
	}
	if l.Stop != nil && l.Stop.Reason == FailQuarantined {
		return Outcome{}, &RefusedError{Code: "damaged", Problem: fmt.Sprintf("%s can't be forked: %s", r.Loop, oneLine(l.Stop.Detail)),
			Remedy: "start a new loop; this one's record can't be trusted"}
	}
	then, err := l.at(r.after(l))
	if err != nil {
		return Outcome{}, err
	}
	origin, err := e.planFork(l, then, r)
	if err != nil {
		return Outcome{}, err
	}
	memory, warning, err := e.forkMemory(l, then, origin)
	if err != nil {
		return Outcome{}, fmt.Errorf("fork %s: %w", r.Loop, err)
	}
	if warning != "" {
		origin.Warnings = append(origin.Warnings, warning)
	}
	origin.Base = then.base(memory)
	if origin.Owner, err = e.ownerBelow(ctx, origin.Owner); err != nil {
		return Outcome{}, err
	}
	out, err := e.found(ctx, origin, e.names(r.SecretID || l.ID.Secret()), func(id ID) State { return branched(id, origin) })
	if err == nil && out.Reused && r.Iteration != nil && *r.Iteration != out.Origin.Forked.Iteration {
		return Outcome{}, requestConflict(out.State)
	}
	return out, err
}

func (r ForkRequest) check() error {
	problems := []error{checkRequestID(r.RequestID)}
	if !ValidID(r.Loop) {
		problems = append(problems, invalidID(r.Loop))
	}
	switch {
	case len(r.Message) > MaxGoalSize:
		problems = append(problems, tooLarge("message", len(r.Message), MaxGoalSize))
	case r.Message != "" && strings.TrimSpace(r.Message) == "":
		problems = append(problems, &FieldError{Field: "message", Problem: "is empty; it is the guidance for the first start, or left out"})
	case textProblem(r.Message) != "":
		problems = append(problems, &FieldError{Field: "message", Problem: textProblem(r.Message)})
	}
	if r.Iteration != nil && *r.Iteration < 0 {
		problems = append(problems, &FieldError{Field: "iteration", Problem: fmt.Sprintf("must be at least 0, got %d", *r.Iteration)})
	}
	return errors.Join(problems...)
}

// after is the iteration that the fork begins after.
func (r ForkRequest) after(l Loop) int {
	if r.Iteration != nil {
		return *r.Iteration
	}
	return l.Iteration
}

// planFork is the origin of a fork.
func (e *Engine) planFork(l Loop, then State, r ForkRequest) (Origin, error) {
	was := l.Origin
	inputs := make(map[string]any, len(was.Inputs))
	for name, text := range was.Inputs {
		inputs[name] = text
	}
	o, err := e.planWith(StartRequest{
		Spec: r.spec(was.Spec), Inputs: inputs, Source: r.source(was.Source), Dir: was.Dir, Labels: was.Labels, Owner: firstOf(r.Owner, was.Owner), RequestID: r.RequestID,
	}, r.Limits)
	o.Forked = &Forked{Loop: l.ID, Iteration: then.Iteration, Message: r.Message}
	o.Pins = append([]ID{l.ID}, was.Pins...)
	o.Warnings = append([]string{"files are not restored: the fork works on them as they are now"}, o.Warnings...)
	return o, err
}

// spec is that of the original with what the request replaces.
func (r ForkRequest) spec(s Spec) Spec {
	s.Goal = firstOf(r.Goal, s.Goal)
	if r.Body != nil {
		cwd := s.Body.Cwd
		s.Body = *r.Body
		if s.Body.Kind == BodyCommand && s.Body.Cwd == "" {
			s.Body.Cwd = cwd
		}
	}
	if r.Until != nil {
		s.Until = r.Until
	}
	s.Limits = s.Limits.Merge(r.Limits)
	return s
}

// source says through which door the fork counts as having come in. Programs that
// a person consented to stay consented to where a person or nobody else asks; a
// tool has that consent for a trusted file alone, which it could start anyway.
func (r ForkRequest) source(was Source) Source {
	asks := Source(firstOf(string(r.Source), string(SourceLibrary)))
	same := r.Body == nil && r.Until == nil
	switch {
	case !same, asks == SourceLibrary:
		return asks
	case asks == SourceTool && was != SourceTrustedFile:
		return SourceTool
	}
	return was
}

// forkMemory is what the fork's body is given of the original's memory. Another
// kind of body could not read it.
func (e *Engine) forkMemory(l Loop, then State, o Origin) (memory json.RawMessage, warning string, err error) {
	was, is := l.Origin.Spec.Body, o.Spec.Body
	switch {
	case then.Memory == nil:
		return nil, "", nil
	case was.Kind != is.Kind, was.Name != is.Name:
		return nil, fmt.Sprintf("body: what the %s body of %s kept is not handed to another kind of body", was.Kind, l.ID), nil
	}
	forker, ok := e.body(was).(Forker)
	if !ok {
		return then.Memory, "", nil
	}
	pass := then.Pass
	if it, ok := l.iteration(then.Iteration); ok && it.OK && it.Done {
		pass = 0
	}
	return forker.Fork(was, then.Memory, pass)
}

// base is what a fork has of s.
func (s State) base(memory json.RawMessage) *Base {
	b := &Base{Output: s.Output, Score: s.Score, Memory: memory, Feedback: s.Feedback}
	if s.Best != nil {
		b.Best = &Best{Score: s.Best.Score, Output: s.Best.Output}
	}
	if v := s.Verdict; v != nil && !v.Met { // what it says holds for the first pass
		standing := *v
		standing.Iteration, standing.Pass = 0, 0
		b.Verdict = &standing
	}
	return b
}

// branched is the first checkpoint of a fork.
func branched(id ID, o Origin) State {
	s, now := unborn(id, o), o.CreatedAt
	s.emit(now, EventCreated, fmt.Sprintf("forked from %s after iteration %d: %s", o.Forked.Loop, o.Forked.Iteration, firstWords(s.Goal())))
	if o.Forked.Message != "" {
		s.Steers = []Steer{{Text: o.Forked.Message}}
		s.emit(now, EventSteer, firstWords(o.Forked.Message))
	}
	s.begin(now)
	return s
}

// forkedBefore answers a fork whose original is gone and whose request id was
// used before; otherwise it gives missing.
func (e *Engine) forkedBefore(ctx context.Context, r ForkRequest, missing error) (Outcome, error) {
	name := string(r.Loop)
	if at := strings.LastIndexByte(name, '-'); at > 0 {
		name = name[:at]
	}
	id, err := e.freeID(ctx, name, e.names(r.SecretID || r.Loop.Secret()))
	if err != nil {
		return Outcome{}, err
	}
	bound, err := e.store.Reserve(ctx, requestKey(r.Owner, r.RequestID), id)
	if err != nil {
		return Outcome{}, fmt.Errorf("reserve request_id %q: %w", r.RequestID, err)
	}
	s, err := e.load(ctx, bound)
	switch {
	case errors.Is(err, ErrNotFound):
		return Outcome{}, missing
	case err != nil:
		return Outcome{}, err
	case s.Origin.Forked == nil || s.Origin.Forked.Loop != r.Loop:
		return Outcome{}, requestConflict(s)
	}
	return Outcome{State: s, Reused: true, Warnings: s.Origin.Warnings}, nil
}

// sameFork reports whether two origins are of the same fork, or of none. A fork
// asked for again without an iteration is the same when the original moved on.
func sameFork(was, asked *Forked) bool {
	if was == nil || asked == nil {
		return was == asked
	}
	return was.Loop == asked.Loop && was.Message == asked.Message
}
