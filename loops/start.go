package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// StartRequest asks for a new loop.
type StartRequest struct {
	Spec      Spec
	Inputs    map[string]any    // values for Spec.Inputs, as JSON or Go values
	Source    Source            // empty: library
	Dir       string            // absolute folder that relative paths refer to; empty: the process's
	Labels    map[string]string // at most 8, 63 bytes each
	RequestID string            // the same id and spec give the same loop
	Owner     string            // on whose behalf, at most 64 bytes; empty: whoever runs the process
	SecretID  bool              // 26 random characters in the id instead of four: nobody can guess it
}

// Start creates a loop. It is durable when Start returns. A wrong spec gives
// joined [FieldError]s; what a rule forbids gives a [RefusedError]; in both
// cases nothing is stored.
//
// It is refused when Options.LiveLoops loops are live, whichever process started
// them. Starts of one process never exceed that together; those of several that are
// under way at the same moment may, by one for each that another process has under
// way. A settled loop that a request moves again counts, and is not refused.
func (e *Engine) Start(ctx context.Context, r StartRequest) (Outcome, error) {
	origin, err := e.plan(r)
	if err != nil {
		return Outcome{}, err
	}
	if origin.Owner, err = e.ownerBelow(ctx, r.Owner); err != nil {
		return Outcome{}, err
	}
	return e.found(ctx, origin, e.names(r.SecretID), func(id ID) State { return born(id, origin) })
}

// names returns what makes ids, of which nobody can guess the secret ones.
func (e *Engine) names(secret bool) func(name string) ID {
	if secret {
		return func(name string) ID { return randomID(name, secretSize) }
	}
	return e.opts.NewID
}

// found stores the first checkpoint of a loop, under an id that nobody has.
func (e *Engine) found(ctx context.Context, origin Origin, newID func(string) ID, first func(ID) State) (Outcome, error) {
	id, before, err := e.nameLoop(ctx, origin, newID)
	if err != nil || before.Reused {
		return before, err
	}
	if err := e.mayNest(ctx); err != nil {
		return Outcome{}, err
	}
	if err := e.enter(ctx); err != nil {
		return Outcome{}, err
	}
	defer e.entry.leave()
	// gofail: var beforeCreate struct{}
	for {
		s, err := e.create(ctx, first(id))
		switch {
		case errors.Is(err, ErrExists) && origin.RequestID != "":
			return e.reuse(ctx, id, origin)
		case errors.Is(err, ErrExists):
			id = newID(origin.Spec.Name)
			continue
		case err != nil:
			return Outcome{}, err
		}
		// gofail: var afterCreate struct{}
		return Outcome{State: s, Warnings: origin.Warnings}, e.draw(ctx, s) // the parent knows its child
	}
}

// requestKey keeps the request ids of owners apart. No request id has the zero
// byte, so none of a process without an owner looks like one.
func requestKey(owner, requestID string) string {
	if owner == "" {
		return requestID
	}
	return owner + "\x00" + requestID
}

// nameLoop returns the id of a loop that is to be created, or the loop that the
// request id was used for before.
func (e *Engine) nameLoop(ctx context.Context, o Origin, newID func(string) ID) (ID, Outcome, error) {
	if o.RequestID == "" {
		return newID(o.Spec.Name), Outcome{}, nil
	}
	id, err := e.freeID(ctx, o.Spec.Name, newID)
	if err != nil {
		return "", Outcome{}, err
	}
	bound, err := e.store.Reserve(ctx, requestKey(o.Owner, o.RequestID), id)
	if err != nil {
		return "", Outcome{}, fmt.Errorf("reserve request_id %q: %w", o.RequestID, err)
	}
	if bound != id {
		if out, err := e.reuse(ctx, bound, o); !errors.Is(err, ErrNotFound) {
			return "", out, err
		}
	}
	return bound, Outcome{}, nil // or reserved by a process that died before it created the loop
}

// freeID returns an id that no loop has: what a request id is bound to must not
// turn out to be another loop.
func (e *Engine) freeID(ctx context.Context, name string, newID func(string) ID) (ID, error) {
	for {
		id := newID(name)
		switch _, err := e.store.Load(ctx, id); {
		case errors.Is(err, ErrNotFound):
			return id, nil
		case err != nil && !errors.Is(err, ErrDamaged):
			return "", fmt.Errorf("look for a free id: %w", err)
		}
	}
}

// born is the first checkpoint of a loop.
func born(id ID, o Origin) State {
	s, now := unborn(id, o), o.CreatedAt
	s.emit(now, EventCreated, firstOf(o.Spec.Description, firstWords(s.Goal())))
	s.begin(now)
	return s
}

// unborn is a loop to which nothing has happened yet.
func unborn(id ID, o Origin) State {
	b := o.base()
	return State{ID: id, Origin: o, Status: Queued, Limits: o.Spec.Limits, Pass: 1, Epoch: 1, UpdatedAt: o.CreatedAt,
		Output: b.Output, Score: b.Score, Best: b.Best, Memory: b.Memory, Verdict: b.Verdict, Feedback: b.Feedback}
}

// reuse answers a start whose request id was used before.
func (e *Engine) reuse(ctx context.Context, id ID, o Origin) (Outcome, error) {
	s, err := e.load(ctx, id)
	if err != nil {
		return Outcome{}, err
	}
	if !sameRequest(s.Origin, o) {
		return Outcome{}, requestConflict(s)
	}
	return Outcome{State: s, Reused: true, Warnings: s.Origin.Warnings}, nil
}

func requestConflict(s State) error {
	return &RefusedError{Code: "request_id_conflict", Problem: fmt.Sprintf("request_id %q started %s with another spec", s.Origin.RequestID, s.ID),
		Remedy: "use a new request_id for a new loop"}
}

func sameRequest(a, b Origin) bool {
	text := func(o Origin) string {
		// No inputs are an empty map in a request and none at all in a store.
		data, _ := json.Marshal(Origin{Spec: o.Spec, Inputs: o.Inputs, Labels: o.Labels}) // plain data: can't fail
		return string(data)
	}
	return text(a) == text(b) && sameFork(a.Forked, b.Forked)
}

// DryRun checks a request as Start does and returns the spec that Start would
// store, with its warnings. Nothing is stored.
func (e *Engine) DryRun(_ context.Context, r StartRequest) (Spec, []string, error) {
	origin, err := e.plan(r)
	return origin.Spec, origin.Warnings, err
}

// plan turns a request into what is stored, or says all that is wrong with it.
func (e *Engine) plan(r StartRequest) (Origin, error) { return e.planWith(r, r.Spec.Limits) }

// planWith is plan where the request itself names only the limits explicit.
func (e *Engine) planWith(r StartRequest, explicit Limits) (Origin, error) {
	o := Origin{Source: r.Source, Labels: r.Labels, Owner: r.Owner, RequestID: r.RequestID, Parent: e.opts.Parent, CreatedAt: time.Now()}
	if o.Source == "" {
		o.Source = SourceLibrary
	}
	inputs, inputErr := resolveInputs(r.Spec, r.Inputs)
	problems := []error{r.Spec.validateKinds(sortedKeys(e.parts.Bodies), sortedKeys(e.parts.Stops)), inputErr, checkLabels(r.Labels), checkRequestID(r.RequestID), checkOwner(r.Owner)}
	var dirErr error
	if o.Dir, dirErr = absolute(r.Dir); dirErr != nil {
		problems = append(problems, dirErr)
	}
	if err := errors.Join(problems...); err != nil {
		return Origin{}, err
	}
	o.Inputs = inputs
	o.Spec, o.Warnings = r.Spec.Normalize(e.opts.Defaults, e.opts.Ceilings)
	o.Spec = o.Spec.inDir(o.Dir)
	if err := errors.Join(e.pinModels(&o, explicit), e.checkParts(o)); err != nil {
		return Origin{}, err
	}
	o.Warnings = append(o.Warnings, notMetered(o.Spec, explicit)...)
	o.Warnings = append(o.Warnings, e.warned(o)...)
	if b := o.Spec.Body; b.Kind == BodyAgent && len(b.Tools) > 0 && e.opts.MayRead != nil {
		if err := e.opts.MayRead(o.Dir, o.Source); err != nil { // its tools work in that folder
			return Origin{}, &FieldError{Field: "body.tools", Problem: err.Error()}
		}
	}
	if len(o.Spec.Protect) > 0 {
		if e.opts.MayRead != nil {
			if err := e.opts.MayRead(o.workDir(), o.Source); err != nil {
				return Origin{}, &FieldError{Field: "protect", Problem: err.Error()}
			}
		}
		hashes, err := protectedFiles(o.workDir(), o.Spec.Protect)
		if err != nil {
			return Origin{}, &FieldError{Field: "protect", Problem: err.Error()}
		}
		if len(hashes) == 0 {
			o.Warnings = append(o.Warnings, fmt.Sprintf("protect: no file below %s matches; a file that appears later counts as changed", o.workDir()))
		}
		o.Protected = hashes
	}
	return o, nil
}

// checkParts asks the body and the conditions whether they accept their
// settings, and refuses a loop that nothing can end.
func (e *Engine) checkParts(o Origin) error {
	if o.Spec.Until == nil && (o.Spec.Body.Kind == BodyClient || o.Spec.Body.Kind == BodyCommand) {
		return noStopCondition(o.Spec)
	}
	var problems []error
	if o.Source == SourceTool || o.Source == SourceTrustedFile {
		problems = append(problems, toolInputProblem(o.Spec, o.Inputs))
	}
	s := born("check-aaaa", o)
	if b := o.Spec.Body; b.Kind == BodyHandler {
		if e.body(b) == nil {
			problems = append(problems, &FieldError{Field: "body.name", Problem: fmt.Sprintf("no handler %q is registered here; registered are: %s", b.Name, firstOf(join(sortedKeys(e.parts.Handlers)), "none"))})
		}
	}
	problems = append(problems, e.check(s, false))
	return errors.Join(problems...)
}

// check asks every part that can refuse its settings.
func (e *Engine) check(s State, claiming bool) error {
	setup := s.Origin.setup(claiming)
	var problems []error
	if c, ok := e.body(s.Origin.Spec.Body).(Checker); ok {
		b, err := expandBody(s)
		if err == nil {
			setup.Config, _ = json.Marshal(b)
			err = c.Check(setup)
		}
		problems = append(problems, below("body", err))
	}
	for _, l := range s.Origin.Spec.until().leaves() {
		c, ok := e.parts.Stops[l.cond.Kind].(Checker)
		if !ok {
			continue
		}
		cond, err := expandCondition(l.cond, s)
		if err == nil {
			setup.Config, _ = json.Marshal(cond)
			err = c.Check(setup)
		}
		problems = append(problems, below("until."+l.path, err))
	}
	return errors.Join(problems...)
}

// CanRun returns why this process can't work on a loop: it lacks a model, a key,
// a handler or an allowed program. Nil: it can, once a worker is free.
func (e *Engine) CanRun(s State) error { return e.canServe(s) }

// canServe says why this process can't work on s.
func (e *Engine) canServe(s State) error {
	if e.opts.Accept != nil {
		if err := e.opts.Accept(s); err != nil {
			return err
		}
	}
	b := s.Origin.Spec.Body
	if b.Kind != BodyClient && e.body(b) == nil {
		if b.Kind == BodyHandler {
			return fmt.Errorf("no process here serves the handler %q", b.Name)
		}
		return fmt.Errorf("no process here serves bodies of the kind %q", b.Kind)
	}
	for _, l := range s.Origin.Spec.until().leaves() {
		if l.cond.Kind != StopHuman && l.cond.Kind != StopClaim && e.parts.Stops[l.cond.Kind] == nil {
			return fmt.Errorf("no process here serves conditions of the kind %q", l.cond.Kind)
		}
	}
	return e.check(s, true)
}

func noStopCondition(s Spec) error {
	example := `"until": {"all": [{"kind": "command", "run": ["go", "test", "./..."]}]}`
	if s.Body.Kind == BodyClient {
		example += ` or "until": {"all": [{"kind": "human", "question": "Is it good enough?"}]}`
	}
	return &RefusedError{Code: "no_stop_condition", Problem: fmt.Sprintf("a loop with a %s body needs until: its own word is no proof", s.Body.Kind),
		Remedy: "add for example " + example}
}

// notMetered warns about limits that were asked for and that this body's
// reports can't uphold.
func notMetered(s Spec, asked Limits) []string {
	e := State{Origin: Origin{Spec: s}}.Enforcements()
	var warnings []string
	for _, l := range []struct {
		name  string
		given bool
		how   Enforcement
	}{{"max_cost_usd", asked.MaxCostUSD != 0, e.MaxCostUSD}, {"max_total_tokens", asked.MaxTotalTokens != 0, e.MaxTotalTokens}, {"max_tool_calls", asked.MaxToolCalls != 0, e.MaxToolCalls}} {
		if l.given && l.how == NotMetered {
			warnings = append(warnings, fmt.Sprintf("limits.%s: not metered, this %s body does not report it; max_iterations, max_passes and the time limits hold", l.name, s.Body.Kind))
		}
	}
	return warnings
}

func checkLabels(labels map[string]string) error {
	var problems []error
	if len(labels) > 8 {
		problems = append(problems, &FieldError{Field: "labels", Problem: fmt.Sprintf("at most 8, got %d", len(labels))})
	}
	size := 0
	for k, v := range labels {
		size += len(jsonText(k)) + len(jsonText(v)) + 6
		if k == "" || len(k) > 63 || len(v) > 63 || !utf8.ValidString(k+v) {
			problems = append(problems, &FieldError{Field: fieldPath("labels", clip(k, 63)), Problem: "key and value must be texts of 1 to 63 bytes"})
		}
	}
	if len(problems) == 0 && size > maxLabelsSize {
		problems = append(problems, &FieldError{Field: "labels", Problem: fmt.Sprintf("take %d bytes as JSON, at most %d are allowed", size, maxLabelsSize)})
	}
	return errors.Join(problems...)
}

// maxLabelsSize bounds all labels together, so that a head stays small.
const maxLabelsSize = 1536

func checkRequestID(id string) error {
	if len(id) > 128 {
		return tooLarge("request_id", len(id), 128)
	}
	if problem := textProblem(id); problem != "" {
		return &FieldError{Field: "request_id", Problem: problem}
	}
	return nil
}

func checkOwner(owner string) error {
	if len(owner) > maxOwner {
		return tooLarge("owner", len(owner), maxOwner)
	}
	if problem := textProblem(owner); problem != "" {
		return &FieldError{Field: "owner", Problem: problem}
	}
	return nil
}

// maxOwner bounds an owner's name, so that a head stays small.
const maxOwner = 64

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
