package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
)

// start runs the body once and commits what it came to.
func (r *run) start(ctx context.Context) error {
	var s State
	r.copyTo(&s)
	turn, err := r.turn(ctx, &s)
	if err != nil {
		return r.unusable(&s, err)
	}
	if err := r.mayStart(ctx, &s); err != nil {
		return r.refused(err, func(s State) State { return s }) // the body has not run
	}
	began := time.Now()
	r.emitStart(began)
	// gofail: var beforeBody struct{}
	b := r.bounded(ctx, &s, true)
	result, err := runBody(b.ctx, r.e.body(s.Origin.Spec.Body), turn)
	cause := context.Cause(b.ctx)
	b.stop()
	// gofail: var afterBody struct{}
	o := outcome{it: Iteration{StartedAt: began, Usage: result.Usage}, ask: result.Ask, active: time.Since(began)}
	o.elapsed = s.Elapsed + Duration(o.active)
	if o.it.Usage.Validate() != nil {
		o.it.Usage = Usage{}
	}
	if err := r.reportToday(o.it.Usage); err != nil {
		r.e.opts.Logger.Error("what a start spent was not counted for the day", "loop", s.ID, "cause", err)
	}
	if checkMemory(result.Memory) == nil { // also of a start that failed: it may hold a running total
		o.it.Memory = slices.Clone(result.Memory)
	}
	capped, isCap := errors.AsType[*CapError](err)
	switch {
	case errors.Is(cause, errLost):
		err = errLost
	case errors.Is(err, errParentOver):
		err = r.refused(err, func(s State) State {
			s.Elapsed = max(s.Elapsed, o.elapsed)
			s.account(&o)
			return s
		})
	case isCap:
		o.capped = capped
		err = r.finish(ctx, o, "")
	case errors.Is(cause, ErrCancelled), errors.Is(cause, ErrCancelNow), cause != nil && err != nil && !errors.Is(cause, errIterationTime):
		err = r.cutOff(cause, o)
	default:
		if err != nil && cause != nil {
			late := fmt.Errorf("start %d took longer than iteration_timeout %s", s.Ledger.Starts, s.Limits.IterationTimeout)
			if !errors.Is(err, context.DeadlineExceeded) { // else it says the same
				late = fmt.Errorf("%w: %w", late, err)
			}
			err = Transient(late, 0)
		}
		err = r.finish(ctx, o, r.read(ctx, &o, result, err))
	}
	if errors.Is(err, errLost) {
		r.account(o.it.Usage)
	}
	return err
}

// unusable ends a loop whose next start can't even be described: a template or
// a record is wrong. A store in trouble is no reason to.
func (r *run) unusable(s *State, cause error) error {
	var template *FieldError
	damaged := errors.Is(cause, ErrDamaged) || errors.Is(cause, ErrNotFound)
	switch {
	case damaged:
		return r.commit(func(s State) State { return s.settle(Failed, FailQuarantined, "engine", cause.Error(), time.Now()) })
	case errors.As(cause, &template):
		return r.finish(r.ctx, outcome{it: Iteration{Error: cause.Error(), StartedAt: s.UpdatedAt}, permanent: true}, "")
	}
	return cause
}

func (r *run) emitStart(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live, r.heard = Live{}, now
}

// read turns a body's result or error into an iteration. It returns the whole
// output.
func (r *run) read(ctx context.Context, o *outcome, result Result, err error) string {
	f := FaultOf(err)
	o.permanent, o.limited, o.transient = f.Kind == FaultPermanent, f.Kind == FaultRateLimited, f.Kind == FaultTransient
	o.cut, o.unserved = f.Kind == FaultCutOff, f.Kind == FaultUnserved
	o.after, o.provider = f.After, f.Provider
	if err == nil {
		err = checkResult(result)
	}
	if err == nil {
		var text Text
		err = untilRoom(ctx, func() error {
			text, err = r.e.text(ctx, r.state().ID, result.Output)
			return err
		})
		o.it.Output = text
		// The store did not take the output: another start may be luckier.
		o.transient = err != nil
	}
	if o.ask != nil {
		o.ask = &Ask{Approval: o.ask.Approval, Prompt: clean(o.ask.Prompt, MaxGoalSize)}
	}
	if err != nil {
		o.it.OK, o.it.Error, o.ask = false, clean(firstOf(err.Error(), "the body gave an error without a text"), maxErrorText), nil
		o.it.Output = Text{}
		return ""
	}
	o.it.OK, o.it.Done, o.it.Score = true, result.Done, result.Score
	if o.it.Score == nil {
		o.it.Score = scoreOf(result.Output)
	}
	return result.Output
}

// checkResult refuses what can't be stored or counted.
func checkResult(r Result) error {
	switch {
	case len(r.Output) > MaxOutputSize:
		return tooLarge("output", len(r.Output), MaxOutputSize)
	case checkMemory(r.Memory) != nil:
		return checkMemory(r.Memory)
	case r.Score != nil && (math.IsNaN(*r.Score) || math.IsInf(*r.Score, 0)):
		return &FieldError{Field: "score", Problem: "must be a finite number"}
	}
	return r.Usage.Validate()
}

// checkMemory refuses what can't be kept from one iteration to the next.
func checkMemory(memory json.RawMessage) error {
	switch {
	case len(memory) > MaxMemorySize:
		return tooLarge("memory", len(memory), MaxMemorySize)
	case memory != nil && !ValidJSON(memory):
		return &FieldError{Field: "memory", Problem: "is not JSON"}
	}
	return nil
}

// maxErrorText bounds the text of a failed iteration.
const maxErrorText = 64 << 10

// clean makes text fit for a record: valid UTF-8 of at most limit bytes, and
// without what steers a terminal.
func clean(text string, limit int) string {
	return clipEnds(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD")), limit)
}

// scoreOf returns the number "score" of a JSON output.
func scoreOf(output string) *float64 {
	if len(output) > inlineText || !strings.HasPrefix(strings.TrimLeft(output, " \t\r\n"), "{") {
		return nil // no object
	}
	var object struct {
		Score *float64 `json:"score"`
	}
	if json.Unmarshal([]byte(output), &object) != nil {
		return nil
	}
	return object.Score
}

// turn is what the body of the start under way is given.
func (r *run) turn(ctx context.Context, s *State) (Turn, error) {
	b, err := expandBody(*s)
	if err != nil {
		return Turn{}, err
	}
	config := b.With
	if b.Kind != BodyHandler {
		if config, err = json.Marshal(b); err != nil {
			return Turn{}, err
		}
	}
	output, err := r.e.Output(ctx, s.ID, s.Output)
	if err != nil {
		return Turn{}, err
	}
	id, start := s.ID, s.Ledger.Starts // so that what follows keeps no copy of all of s
	return Turn{
		Loop: id, Iteration: s.Iteration + 1, Pass: s.Pass, Epoch: s.Epoch, Attempt: s.Attempt,
		Config: config, Prompt: s.prompt(), Goal: s.Goal(), Context: s.expandedContext(), Feedback: s.Feedback,
		Steer: s.joinedSteers(), Answer: s.Answer, Output: output, Memory: slices.Clone(s.Memory),
		Ledger: s.Ledger, Limits: s.Limits, Inputs: typedInputs(s.Origin.Spec.Inputs, s.Origin.Inputs), Source: s.Origin.Source, Dir: s.Origin.Dir, Models: maps.Clone(s.Origin.Models),
		Meter: meter{r: r, start: start},
		Keep:  func(ctx context.Context, data []byte) (string, error) { return r.e.keep(ctx, id, data) },
		Fetch: func(ctx context.Context, ref string) ([]byte, error) { return r.e.store.Blob(ctx, id, ref) },
		Save:  func(ctx context.Context, memory json.RawMessage) error { return r.save(ctx, start, memory) },
		Emit:  func(l Live) { r.emit(start, l) },
	}, nil
}

// save stores memory inside start number n.
func (r *run) save(ctx context.Context, n int, memory json.RawMessage) error {
	if memory == nil {
		memory = json.RawMessage("null")
	}
	if err := checkMemory(memory); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	memory = slices.Clone(memory)
	return r.commitWith(ctx, false, func(s State) (State, error) {
		if s.Ledger.Starts != n || !s.Open {
			return s, fmt.Errorf("save memory of %s: start %d is over", s.ID, n)
		}
		s.Memory, s.Unkept = memory, true
		return s, nil
	})
}

// cutOff commits the end of a run whose context the engine ended.
func (r *run) cutOff(cause error, o outcome) error {
	return r.commit(func(s State) State { return cutOff(s, cause, o, time.Now()) })
}

// finish commits what a start came to. Conditions that cost nothing to ask
// again are asked before, so that the whole iteration is one commit.
func (r *run) finish(ctx context.Context, o outcome, whole string) error {
	var found findings
	quick, iteration := false, 0
	if o.it.OK && o.it.Done { // else no conditions are asked
		found, quick = r.askQuick(ctx, &o, whole)
	}
	err := r.commitNext(func(s *State) {
		now := time.Now()
		s.decide(&o, now)
		iteration = s.Iteration
		if s.Owed != nil && (quick || s.Intent.Pause != nil) {
			s.ended(quick, &found, now)
		}
		r.makeRoom(s)
	})
	if err == nil && o.it.OK {
		r.remember(iteration, whole)
	}
	return err
}

// makeRoom leaves the place of a loop that is about to rest, so that the next one is
// claimed while this commit is on its way. What a loop below another one has spent is
// handed up first. next may turn out not to be the next state, and the loop to go on.
func (r *run) makeRoom(next *State) {
	if !r.holds(next) && !r.nested {
		r.seat.leave()
	}
}

// askQuick asks the conditions of the pass that o ends, when all of them are
// cheap. ok is false when they were not asked, or not to the end.
func (r *run) askQuick(ctx context.Context, o *outcome, whole string) (found findings, ok bool) {
	s, now := r.e.clock.present(r.state())
	s.decide(o, now)
	if s.Owed == nil || !cheap(s.Origin.Spec.until()) {
		return findings{}, false
	}
	found = r.ask(ctx, s, whole)
	return found, found.cut == nil
}

// ended is the end of a pass whose conditions were asked, if quick, or wait for
// a loop that pauses.
//
//go:noinline
func (s *State) ended(quick bool, found *findings, now time.Time) {
	if quick {
		*s = conclude(*s, found.asked, found.tampered, found.active, now)
		return
	}
	*s = s.pause(*s.Intent.Pause, now)
}

// cheap reports whether asking again after a crash costs nothing that matters.
func cheap(u Until) bool {
	return !slices.ContainsFunc(u.leaves(), func(l leaf) bool { return dear(l.cond.Kind) })
}

// dear reports whether asking a condition costs time or money. Its verdict is
// stored before another one is asked.
func dear(kind string) bool {
	return kind != StopPredicate && kind != StopClaim && kind != StopHuman
}

// past is the output of an earlier iteration.
type past struct {
	iteration int
	output    string
}

func (r *run) remember(iteration int, output string) {
	if !r.hasHistory {
		return
	}
	r.history = append(r.history, past{iteration, output})
	r.history = r.history[max(0, len(r.history)-maxHistory):]
}

// maxHistory bounds Evidence.History.
const maxHistory = 50
