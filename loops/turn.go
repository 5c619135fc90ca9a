package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"
)

// The causes with which the engine itself ends a body.
var (
	errIterationTime = errors.New("iteration_timeout")
	errActiveTime    = errors.New("max_active")
	errDurationTime  = errors.New("max_duration")
)

// abandonAfter is how long a body may ignore the end of its context before the
// worker goes on without it.
const abandonAfter = 5 * time.Second

// bounded limits ctx to the time that the limits leave. Bodies also have the
// iteration's own limit.
func bounded(ctx context.Context, s State, body bool) (context.Context, context.CancelFunc) {
	duration := time.Duration(s.Limits.MaxDuration - s.Elapsed)
	active := time.Duration(s.Limits.MaxActive) - time.Duration(s.Ledger.ActiveSeconds*float64(time.Second))
	limit, cause := duration, errDurationTime
	if active < limit {
		limit, cause = active, errActiveTime
	}
	if t := time.Duration(s.Limits.IterationTimeout); body && t < limit {
		limit, cause = t, errIterationTime
	}
	return context.WithTimeoutCause(ctx, limit, cause)
}

// start runs the body once and commits what it came to.
func (r *run) start(ctx context.Context, s State) error {
	turn, err := r.turn(ctx, s)
	if err != nil {
		return r.finish(ctx, s, outcome{it: Iteration{Error: err.Error(), StartedAt: s.UpdatedAt}, permanent: true}, "")
	}
	began := time.Now()
	r.emitStart(began)
	bodyCtx, cancel := bounded(ctx, s, true)
	result, err := runBody(bodyCtx, r.e.body(s.Origin.Spec.Body), turn)
	cause := context.Cause(bodyCtx)
	cancel()
	active := time.Since(began)
	if cause != nil && !errors.Is(cause, errIterationTime) && (err != nil || errors.Is(cause, ErrCancelled) || errors.Is(cause, ErrCancelNow)) {
		return r.cutOff(ctx, cause, result.Usage, active)
	}
	if err != nil && errors.Is(cause, errIterationTime) {
		err = Transient(fmt.Errorf("start %d took longer than iteration_timeout %s", s.Ledger.Starts, s.Limits.IterationTimeout), 0)
	}
	o := outcome{it: Iteration{StartedAt: began, Usage: result.Usage}, active: active, ask: result.Ask}
	whole := r.read(ctx, &o, result, err)
	return r.finish(ctx, s, o, whole)
}

func (r *run) emitStart(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live, r.heard = Live{}, now
}

// read turns a body's result or error into an iteration. It returns the whole
// output.
func (r *run) read(ctx context.Context, o *outcome, result Result, err error) string {
	var be *bodyError
	if errors.As(err, &be) {
		o.permanent, o.transient, o.after = be.permanent, !be.permanent, be.after
	}
	if err == nil {
		err = checkResult(result)
	}
	if err == nil {
		var text Text
		text, err = r.e.text(ctx, r.s.ID, result.Output)
		o.it.Output = text
		// The store did not take the output: another start may be luckier.
		o.transient = err != nil
	}
	if usageErr := result.Usage.Validate(); usageErr != nil {
		o.it.Usage = Usage{}
	}
	if err != nil {
		o.it.OK, o.it.Error, o.ask = false, firstOf(err.Error(), "the body gave an error without a text"), nil
		o.it.Output = Text{}
		return ""
	}
	o.it.OK, o.it.Done, o.it.Memory, o.it.Score = true, result.Done, result.Memory, result.Score
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
	case r.Memory != nil && !json.Valid(r.Memory):
		return &FieldError{Field: "memory", Problem: "is not JSON"}
	case r.Score != nil && (math.IsNaN(*r.Score) || math.IsInf(*r.Score, 0)):
		return &FieldError{Field: "score", Problem: "must be a finite number"}
	}
	return r.Usage.Validate()
}

// scoreOf returns the number "score" of a JSON output.
func scoreOf(output string) *float64 {
	if len(output) == 0 || len(output) > inlineText {
		return nil
	}
	var object struct {
		Score *float64 `json:"score"`
	}
	if json.Unmarshal([]byte(output), &object) != nil {
		return nil
	}
	return object.Score
}

// runBody calls the body, turns a panic into an error and does not wait for
// ever for one that ignores its context.
func runBody(ctx context.Context, b Body, t Turn) (Result, error) {
	type answer struct {
		result Result
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("the body panicked: %v\n%s", p, clip(string(debug.Stack()), 4<<10))
			}
			done <- a
		}()
		a.result, a.err = b.Run(ctx, t)
	}()
	select {
	case a := <-done:
		return a.result, a.err
	case <-ctx.Done():
	}
	late := time.NewTimer(abandonAfter)
	defer late.Stop()
	select {
	case a := <-done:
		return a.result, a.err
	case <-late.C:
		return Result{}, fmt.Errorf("the body did not stop within %s after its time was over; it was left behind", abandonAfter)
	}
}

// turn is what the body of the start under way is given.
func (r *run) turn(ctx context.Context, s State) (Turn, error) {
	b, err := expandBody(s)
	if err != nil {
		return Turn{}, err
	}
	config, err := json.Marshal(b)
	if err != nil {
		return Turn{}, err
	}
	if b.Kind == BodyHandler {
		config = b.With
	}
	output, err := r.e.Output(ctx, s.ID, s.Output)
	if err != nil {
		return Turn{}, err
	}
	return Turn{
		Loop: s.ID, Iteration: s.Iteration + 1, Pass: s.Pass, Epoch: s.Epoch, Attempt: s.Attempt,
		Config: config, Prompt: s.prompt(), Goal: s.expandedGoal(), Context: s.expandedContext(), Feedback: s.Feedback,
		Steer: s.joinedSteers(), Answer: s.Answer, Output: output, Memory: s.Memory,
		Ledger: s.Ledger, Limits: s.Limits, Source: s.Origin.Source, Dir: s.Origin.Dir,
		Save: r.save, Emit: r.emit,
	}, nil
}

// save stores memory inside an iteration.
func (r *run) save(ctx context.Context, memory json.RawMessage) error {
	if !json.Valid(memory) {
		return &FieldError{Field: "memory", Problem: "is not JSON"}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return r.commit(ctx, func(s State) State { s.Memory = slices.Clone(memory); return s })
}

// cutOff ends a run whose context the engine ended: on a cancel, at a cap in
// time, or because the process stops.
func (r *run) cutOff(ctx context.Context, cause error, u Usage, active time.Duration) error {
	if u.Validate() != nil {
		u = Usage{}
	}
	return r.commit(ctx, func(s State) State {
		return cutOff(s, cause, u, active, time.Now())
	})
}

// cutOff is the rule for a start or a judgement that did not get to its end.
func cutOff(s State, cause error, u Usage, active time.Duration, now time.Time) State {
	s.touch(now)
	s.Ledger.spend(u, active)
	owed := s.Owed
	switch {
	case s.Intent.Cancel != nil:
		return s.cancelled(now)
	case errors.Is(cause, errActiveTime):
		s.Ledger.ActiveSeconds = max(s.Ledger.ActiveSeconds, time.Duration(s.Limits.MaxActive).Seconds())
		_, detail, _ := s.capHit()
		s = s.settle(Capped, CapActive, "limit", detail, now)
		s.Owed = owed
	case errors.Is(cause, errDurationTime):
		s.Elapsed = max(s.Elapsed, s.Limits.MaxDuration)
		s = s.settle(Capped, CapDuration, "limit", s.durationDetail(), now)
		s.Owed = owed
	default: // shutdown: Open stays set, so that the next worker treats the start as cut off
		s.Status, s.Phase, s.Claim = Queued, "", Claim{}
		s.Why = "the process that ran it ended"
	}
	return s
}

// finish commits what a start came to. Conditions that cost nothing to ask
// again are asked before, so that the whole iteration is one commit.
func (r *run) finish(ctx context.Context, s State, o outcome, whole string) error {
	var asked map[string]Verdict
	var tampered []string
	var active time.Duration
	after := decide(s, o, time.Now())
	quick := after.Owed != nil && cheap(after.Origin.Spec.until())
	if quick {
		began := time.Now()
		var err error
		if asked, tampered, err = r.ask(ctx, after, whole); err != nil {
			quick = false
		}
		active = time.Since(began)
	}
	err := r.commit(ctx, func(s State) State {
		now := time.Now()
		next := decide(s, o, now)
		switch {
		case next.Owed == nil:
			return next
		case quick:
			return conclude(next, asked, tampered, active, now)
		case next.Intent.Pause != nil:
			return next.pause(*next.Intent.Pause, now)
		}
		next.Status, next.Phase = Running, PhaseConditions
		return next
	})
	if err == nil && o.it.OK {
		r.remember(after.Iteration, whole)
	}
	return err
}

// cheap reports whether asking again after a crash costs nothing that matters.
func cheap(u Until) bool {
	return !slices.ContainsFunc(u.leaves(), func(l leaf) bool {
		return l.cond.Kind != StopPredicate && l.cond.Kind != StopClaim && l.cond.Kind != StopHuman
	})
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
