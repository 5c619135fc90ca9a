package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// EvalOptions are the settings of [Evaluate]. The zero value is ready.
type EvalOptions struct {
	MaxCost  loops.USD     // all calls together never cost more; 0: one dollar
	Parallel int           // cases judged at once; 0: 4
	Votes    int           // as in a condition; 0: 2
	Progress func(Outcome) // told of each case when it is judged, one at a time; may be nil
}

const (
	usualEvalCost = loops.USD(1_000_000)
	usualParallel = 4
	evalTries     = 4 // of a case whose provider asks to wait or is down
	evalBackOff   = 2 * time.Second
	evalWaitMost  = 5 * time.Minute
)

// Evaluate measures a model as a judge: each case goes through the same prompt,
// rules and votes as in a loop. name is a model's name in book. The error says
// why nothing could be measured; a report that ended early says so itself.
func Evaluate(ctx context.Context, book modelcall.Book, name string, cases []Case, o *EvalOptions) (Report, error) {
	if o == nil {
		o = &EvalOptions{}
	}
	models, err := book.Open(name, "")
	if err != nil {
		return Report{}, err
	}
	r := Report{Model: name, PromptHash: promptHash(), Outcomes: make([]Outcome, len(cases))}
	for _, m := range models {
		if m.Info().Price == nil {
			return Report{}, fmt.Errorf("nobody knows what %s costs, so the limit of %s can't hold: give it a price in the configuration", m.Info().ID, o.maxCost())
		}
		r.IDs = append(r.IDs, m.Info().ID)
	}
	trial := &trial{models: models, options: o, purse: &purse{left: o.maxCost()}}
	if cause := trial.all(ctx, cases, r.Outcomes); cause != nil {
		r.Stopped = cause.Error()
		_, r.Capped = errors.AsType[*loops.CapError](cause)
	}
	r.sum(trial.purse)
	return r, nil
}

func (o *EvalOptions) maxCost() loops.USD {
	if o.MaxCost > 0 {
		return o.MaxCost
	}
	return usualEvalCost
}

// trial is an evaluation under way.
type trial struct {
	models  []model.Model
	options *EvalOptions
	purse   *purse
}

// all judges cases, several at once. It returns why it ended early.
func (t *trial) all(ctx context.Context, cases []Case, outcomes []Outcome) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan int)
	var work sync.WaitGroup
	var mu sync.Mutex
	parallel := t.options.Parallel
	if parallel <= 0 {
		parallel = usualParallel
	}
	for range min(parallel, max(1, len(cases))) {
		work.Go(func() {
			for i := range next {
				got, err := t.one(ctx, cases[i])
				if err != nil {
					stop(err)
				}
				mu.Lock()
				outcomes[i] = got
				if t.options.Progress != nil && got.Got != "" {
					t.options.Progress(got)
				}
				mu.Unlock()
			}
		})
	}
	for i, c := range cases {
		outcomes[i] = Outcome{Name: c.Name, Theme: c.Theme, Truth: c.Truth}
	}
	for i := range cases {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	work.Wait()
	return context.Cause(ctx)
}

// one judges a case. An error ends the evaluation; one of the judge is the
// case's outcome.
func (t *trial) one(ctx context.Context, c Case) (Outcome, error) {
	got := Outcome{Name: c.Name, Theme: c.Theme, Truth: c.Truth}
	b, err := c.brief("", t.options.Votes)
	if err != nil {
		return got, fmt.Errorf("the case %s: %w", c.Name, err)
	}
	account := &account{purse: t.purse}
	m := &Model{Book: single(t.models)}
	var v loops.Verdict
	for try := 1; ; try++ {
		v, err = m.hear(ctx, loops.Evidence{
			Loop: "judge-eval", Iteration: 1, Pass: 1, Goal: c.Goal, Output: string(c.Output), Meter: account, Saved: account.saved, Save: account.save,
		}, b, c.items())
		if err == nil || try == evalTries || !t.pauses(ctx, err, try) {
			break
		}
	}
	got.Calls, got.Usage = account.calls, account.spent
	capped, isCap := errors.AsType[*loops.CapError](err)
	switch {
	case isCap:
		return got, capped
	case ctx.Err() != nil:
		return got, context.Cause(ctx)
	case err != nil:
		got.Got, got.Reason = gotError, err.Error()
		return got, t.hopeless(err)
	}
	got.Got, got.Reason = verdictWord(v), v.Reason
	return got, nil
}

// hopeless returns an error that every other case would meet too.
func (t *trial) hopeless(err error) error {
	switch model.KindOf(err) {
	case model.BadKey, model.NoCredit, model.UnknownModel:
		return err
	}
	return nil
}

func verdictWord(v loops.Verdict) string {
	switch {
	case v.Met:
		return saysDone
	case v.Impossible:
		return saysImpossible
	}
	return saysContinue
}

// pauses waits before another try; false: there is no use in one.
func (t *trial) pauses(ctx context.Context, err error, try int) bool {
	e, ok := errors.AsType[*model.Error](err)
	if !ok {
		return false
	}
	switch e.Kind {
	case model.RateLimited, model.Overloaded, model.ServerError, model.Network, model.Incomplete, model.Malformed:
	default:
		return false
	}
	timer := time.NewTimer(min(max(e.RetryAfter, evalBackOff<<try), evalWaitMost))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// single is a book of one entry.
type single []model.Model

// Open implements [modelcall.Book].
func (s single) Open(string, string) ([]model.Model, error) { return s, nil }

// purse bounds what all cases together cost.
type purse struct {
	mu       sync.Mutex
	left     loops.USD // neither spent nor set aside
	spent    loops.Usage
	calls    int
	reserved int
}

// account is the meter of one case, on a common purse. A case is judged by one
// goroutine.
type account struct {
	purse *purse
	saved json.RawMessage
	calls int
	spent loops.Usage
	aside map[string]loops.USD
}

// Reserve implements [loops.Meter].
func (a *account) Reserve(_ context.Context, c loops.Call) (loops.Grant, error) {
	p := a.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	input := plus(priceOf(c.Input, c.InputRate), c.Fixed)
	if plus(input, priceOf(min(c.Output, c.MinOutput), c.OutputRate)) > p.left {
		return loops.Grant{}, &loops.CapError{Reason: loops.CapCost,
			Detail: fmt.Sprintf("%s are spent, %s are left, and the next call of %s may cost more: raise max-cost-usd", p.spent.CostUSD, p.left, c.Model)}
	}
	output := min(c.Output, tokensFor(p.left-input, c.OutputRate))
	cost := plus(input, priceOf(output, c.OutputRate))
	p.left -= cost
	p.reserved++
	if a.aside == nil {
		a.aside = map[string]loops.USD{}
	}
	g := loops.Grant{ID: fmt.Sprintf("g%d", p.reserved), Output: output}
	a.aside[g.ID] = cost
	return g, nil
}

// Settle implements [loops.Meter].
func (a *account) Settle(_ context.Context, g loops.Grant, s loops.Spent, saved json.RawMessage) error {
	p := a.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Unknown {
		s.Usage = loops.Usage{CostUSD: a.aside[g.ID]}
	}
	p.left += a.aside[g.ID] - s.CostUSD
	p.calls, p.spent = p.calls+1, p.spent.Plus(s.Usage)
	a.calls, a.spent = a.calls+1, a.spent.Plus(s.Usage)
	if saved != nil {
		a.saved = saved
	}
	return nil
}

func (a *account) save(_ context.Context, saved json.RawMessage) error {
	a.saved = saved
	return nil
}

// priceOf is tokens at a rate for a million of them, rounded up.
func priceOf(tokens int64, rate loops.USD) loops.USD {
	switch {
	case tokens <= 0 || rate <= 0:
		return 0
	case tokens > (math.MaxInt64-999_999)/int64(rate):
		return math.MaxInt64
	}
	return loops.USD((tokens*int64(rate) + 999_999) / 1_000_000)
}

// tokensFor is how many tokens an amount buys at a rate for a million of them.
func tokensFor(amount, rate loops.USD) int64 {
	switch {
	case rate <= 0:
		return math.MaxInt64
	case amount > math.MaxInt64/1_000_000:
		return int64(amount/rate) * 1_000_000
	}
	return int64(amount*1_000_000) / int64(rate)
}

func plus(a, b loops.USD) loops.USD {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
