package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"
)

// findings is what asking conditions came to.
type findings struct {
	asked    map[string]Verdict
	tampered []string      // protected files that changed
	cut      error         // the cause that ended the asking; asked holds what was found before
	over     error         // the loop above has ended
	fault    *fault        // why the last condition gave no verdict
	active   time.Duration // how long it took
	elapsed  Duration      // age of the loop when it ended
}

// judge asks conditions that a judgement is still owed and commits what they
// say.
func (r *run) judge(ctx context.Context) error {
	s := r.state()
	whole, err := r.e.Output(ctx, s.ID, s.Output)
	if err != nil {
		return r.unusable(&s, err)
	}
	found := r.ask(ctx, s, whole)
	if errors.Is(found.cut, errLost) {
		return errLost
	}
	for _, v := range found.asked {
		if err := r.reportToday(v.Usage); err != nil {
			r.e.opts.Logger.Error("what a condition spent was not counted for the day", "loop", s.ID, "cause", err)
		}
	}
	if found.over != nil {
		return r.refused(found.over, func(s State) State {
			s.Elapsed = max(s.Elapsed, found.elapsed)
			s.Ledger.ActiveSeconds += found.active.Seconds()
			return s.learn(found.asked).writeOff()
		})
	}
	return r.commit(func(s State) State {
		s = s.judged(found, time.Now())
		r.makeRoom(&s)
		return s
	})
}

// judged is the rule for what the conditions of a judgement came to.
func (s State) judged(found findings, now time.Time) State {
	if found.cut != nil {
		return cutOff(s.learn(found.asked), found.cut, outcome{active: found.active, elapsed: found.elapsed}, now)
	}
	s.Elapsed = max(s.Elapsed, found.elapsed)
	if found.fault != nil {
		return unjudged(s, found.asked, *found.fault, found.active, now)
	}
	return conclude(s, found.asked, found.tampered, found.active, now)
}

// ask evaluates conditions, the cheapest first, until the pass is decided, only
// a person can decide, or a verdict that cost something waits to be stored.
func (r *run) ask(ctx context.Context, s State, whole string) (f findings) {
	began := time.Now()
	defer func() {
		f.active = time.Since(began)
		f.elapsed = s.Elapsed + Duration(f.active)
	}()
	if !s.Owed.First && len(s.Origin.Spec.Protect) > 0 {
		if f.tampered = changedSince(s.Origin); len(f.tampered) > 0 {
			return f
		}
	}
	b := r.bounded(ctx, &s, false)
	defer b.stop()
	ctx = b.ctx
	known := maps.Clone(s.Owed.Results)
	if known == nil {
		known = map[string]Verdict{}
	}
	f.asked = map[string]Verdict{}
	until := s.Origin.Spec.until()
	for {
		l, more := until.next(known, s.Owed.First)
		if !more || l.cond.Kind == StopHuman {
			return f
		}
		v, err := r.askOne(ctx, s, l, whole)
		if errors.Is(err, errParentOver) {
			f.over = err
			return f
		}
		if f.fault = faultOf(l.cond.Kind, err); f.fault != nil {
			f.cut = context.Cause(ctx)
			return f
		}
		if f.cut = context.Cause(ctx); f.cut != nil && (v.Error != "" || !v.Met) {
			return f
		}
		known[l.path], f.asked[l.path] = v, v
		if _, more = until.next(known, s.Owed.First); more && (f.cut != nil || dear(l.cond.Kind)) {
			return f
		}
		f.cut = nil // decided all the same
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
func (r *run) askOne(ctx context.Context, s State, l leaf, whole string) (Verdict, error) {
	if l.cond.Kind == StopClaim {
		return Verdict{Kind: StopClaim, Met: true, Reason: "the worker says it is done", SelfReported: true}, nil
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
	return v.bounded(), err
}

// faultOf tells an error that is no verdict from one that is.
func faultOf(kind string, err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{kind: kind, text: clean(err.Error(), maxErrorText)}
	if capped, ok := errors.AsType[*CapError](err); ok {
		f.capped = capped
		return f
	}
	be, ok := errors.AsType[*bodyError](err)
	switch {
	case ok:
		f.permanent, f.limited, f.after = be.permanent, be.limited, be.after
	case kind == StopJudge: // whatever it is, it says nothing about the work
		f.permanent = len(FieldErrors(err)) > 0
	default:
		return nil
	}
	return f
}

// The sizes of a verdict's texts in bytes; longer ones keep head and tail.
const (
	maxReason   = 4 << 10
	maxFeedback = 64 << 10
	maxExhibits = 64
	maxQuotes   = 16 // for each criterion
)

// bounded makes a verdict fit for a record.
func (v Verdict) bounded() Verdict {
	v.Reason, v.Feedback, v.Error = clean(v.Reason, maxReason), clean(v.Feedback, maxFeedback), clean(v.Error, maxReason)
	v.Criteria = slices.Clone(v.Criteria[:min(len(v.Criteria), maxCriteria)])
	for i, c := range v.Criteria {
		c.Quotes = slices.Clone(c.Quotes[:min(len(c.Quotes), maxQuotes)])
		for j, quote := range c.Quotes {
			c.Quotes[j] = clean(quote, maxReason)
		}
		v.Criteria[i] = Ruling{ID: clean(c.ID, maxReason), Status: clean(c.Status, maxReason), Quotes: c.Quotes, Note: clean(c.Note, maxReason)}
	}
	v.Model, v.Fingerprint, v.PromptHash = clean(v.Model, maxReason), clean(v.Fingerprint, maxReason), clean(v.PromptHash, maxReason)
	v.Evidence = slices.Clone(v.Evidence[:min(len(v.Evidence), maxExhibits)])
	for i, e := range v.Evidence {
		v.Evidence[i] = Exhibit{Source: clean(e.Source, maxReason), Observed: e.Observed, Text: clean(e.Text, maxFeedback), Hash: clean(e.Hash, maxReason)}
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
	evidence, err := r.evidence(ctx, s, l.path, l.cond, whole)
	if err != nil {
		return Verdict{}, err
	}
	return stop.Judge(ctx, evidence)
}

func (r *run) evidence(ctx context.Context, s State, path string, c Condition, whole string) (Evidence, error) {
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
	m := meter{r: r, start: s.Ledger.Starts, path: path}
	return Evidence{
		Models: maps.Clone(s.Origin.Models), Worker: s.Origin.Models[s.Origin.Spec.Body.Model], Meter: m, Saved: slices.Clone(s.Notes[path]),
		Save: func(ctx context.Context, data json.RawMessage) error { return r.saveNote(ctx, m, data) },
		Loop: s.ID, Iteration: s.Iteration, Pass: s.Pass, Config: config,
		Goal: s.Goal(), Output: whole, Score: s.Score, Memory: slices.Clone(s.Memory),
		Ledger: s.Ledger, Limits: s.Limits, Inputs: typedInputs(s.Origin.Spec.Inputs, s.Origin.Inputs), History: earlier,
		Elapsed: time.Duration(s.Elapsed), Source: s.Origin.Source, Dir: s.Origin.Dir, Emit: func(l Live) { r.emit(s.Ledger.Starts, l) },
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
