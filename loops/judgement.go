package loops

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"
)

// judge asks the conditions that a judgement is still owed and commits what
// they say.
func (r *run) judge(ctx context.Context, s State) error {
	whole, err := r.e.Output(ctx, s.ID, s.Output)
	if err != nil {
		return err
	}
	began := time.Now()
	asked, tampered, err := r.ask(ctx, s, whole)
	active := time.Since(began)
	if err != nil {
		return r.cutOff(ctx, err, Usage{}, active)
	}
	return r.commit(ctx, func(s State) State {
		if s.Intent.Cancel != nil {
			return cutOff(s, ErrCancelled, Usage{}, active, time.Now())
		}
		return conclude(s, asked, tampered, active, time.Now())
	})
}

// ask evaluates conditions, the cheapest first, until the pass is decided or
// only a person can decide. The error is the cause that ended ctx.
func (r *run) ask(ctx context.Context, s State, whole string) (asked map[string]Verdict, tampered []string, err error) {
	if !s.Owed.First && len(s.Origin.Spec.Protect) > 0 {
		if tampered = changedSince(s.Origin); len(tampered) > 0 {
			return nil, tampered, nil
		}
	}
	ctx, cancel := bounded(ctx, s, false)
	defer cancel()
	known := map[string]Verdict{}
	for path, v := range s.Owed.Results {
		known[path] = v
	}
	asked = map[string]Verdict{}
	until := s.Origin.Spec.until()
	for {
		l, more := until.next(known, s.Owed.First)
		if !more || l.cond.Kind == StopHuman {
			return asked, nil, nil
		}
		v := r.askOne(ctx, s, l, whole)
		if cause := context.Cause(ctx); cause != nil {
			return nil, nil, cause
		}
		known[l.path], asked[l.path] = v, v
	}
}

func changedSince(o Origin) []string {
	now, err := protectedFiles(o.workDir(), o.Spec.Protect)
	if err != nil {
		return []string{err.Error()}
	}
	return changedFiles(o.Protected, now)
}

// askOne asks one condition. An error is a verdict too: not met.
func (r *run) askOne(ctx context.Context, s State, l leaf, whole string) Verdict {
	if l.cond.Kind == StopClaim {
		return Verdict{Kind: StopClaim, Met: true, Reason: "the worker says it is done", SelfReported: true}
	}
	v, err := r.consult(ctx, s, l, whole)
	v.Kind = l.cond.Kind
	if err != nil {
		v.Met, v.Error = false, err.Error()
		v.Reason = firstOf(v.Reason, err.Error())
		v.Feedback = firstOf(v.Feedback, "The check could not be asked: "+err.Error())
	}
	if v.Usage.Validate() != nil {
		v.Usage = Usage{}
	}
	return v
}

func (r *run) consult(ctx context.Context, s State, l leaf, whole string) (v Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the condition panicked: %v\n%s", p, clip(string(debug.Stack()), 2<<10))
		}
	}()
	stop := r.e.parts.Stops[l.cond.Kind]
	if stop == nil {
		return Verdict{}, fmt.Errorf("this process has no condition of the kind %q", l.cond.Kind)
	}
	evidence, err := r.evidence(ctx, s, l.cond, whole)
	if err != nil {
		return Verdict{}, err
	}
	return stop.Judge(ctx, evidence)
}

func (r *run) evidence(ctx context.Context, s State, c Condition, whole string) (Evidence, error) {
	judged := s // templates speak of the iteration that is judged, not of the next
	judged.Iteration = max(0, s.Iteration-1)
	c, err := expandCondition(c, judged)
	if err != nil {
		return Evidence{}, err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return Evidence{}, err
	}
	var earlier []string
	if c.Kind != StopCommand {
		if earlier, err = r.pastOutputs(ctx, s); err != nil {
			return Evidence{}, err
		}
	}
	return Evidence{
		Loop: s.ID, Iteration: s.Iteration, Pass: s.Pass, Config: config,
		Goal: s.expandedGoal(), Output: whole, Score: s.Score, Memory: s.Memory,
		Ledger: s.Ledger, Limits: s.Limits, Inputs: typedInputs(s.Origin.Spec, s.Origin.Inputs), History: earlier,
		Elapsed: time.Duration(s.Elapsed), Source: s.Origin.Source, Dir: s.Origin.Dir, Emit: r.emit,
	}, nil
}

// pastOutputs returns the outputs before the one that is judged. They are read
// from the store once per claim and kept up from then on.
func (r *run) pastOutputs(ctx context.Context, s State) ([]string, error) {
	if !r.hasHistory {
		l, err := r.e.store.History(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		for _, it := range l.Iterations {
			if it.OK {
				r.history = append(r.history, past{it.Iteration, it.Output.Text})
			}
		}
		r.history = r.history[max(0, len(r.history)-maxHistory):]
		r.hasHistory = true
	}
	var outputs []string
	for _, p := range r.history {
		if p.iteration < s.Iteration {
			outputs = append(outputs, p.output)
		}
	}
	return outputs, nil
}
