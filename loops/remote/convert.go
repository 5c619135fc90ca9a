package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// CallOf is the call for a turn of the handler with a name. now is when it begins.
func CallOf(name string, t loops.Turn, now time.Time) Call {
	left := min(time.Duration(t.Limits.IterationTimeout), time.Duration(t.Limits.MaxActive)-time.Duration(t.Ledger.ActiveSeconds*float64(time.Second)))
	return Call{
		V: Version, Key: keyOf(t), Handler: name, Loop: t.Loop, Start: t.Ledger.Starts, Iteration: t.Iteration, Pass: t.Pass, Epoch: t.Epoch, Attempt: t.Attempt,
		Goal: Text(t.Goal), Context: Text(t.Context), Prompt: Text(t.Prompt), Feedback: Text(t.Feedback), Steer: Text(t.Steer), Answer: Text(t.Answer),
		Output: Text(t.Output), Memory: Any(t.Memory), With: Any(t.Config), Inputs: t.Inputs, Usage: t.Ledger, Limits: t.Limits, Deadline: now.Add(max(left, 0)).UTC(),
		Source: t.Source, Dir: t.Dir, Models: t.Models,
	}
}

// turn is what a handler in Go is given.
func (c Call) turn() loops.Turn {
	absent := func(what string) error {
		return fmt.Errorf("%s is not there for a handler elsewhere: report usage with the result, keep data in the memory", what)
	}
	return loops.Turn{
		Loop: c.Loop, Iteration: c.Iteration, Pass: c.Pass, Epoch: c.Epoch, Attempt: c.Attempt,
		Config: json.RawMessage(c.With), Prompt: string(c.Prompt), Goal: string(c.Goal), Context: string(c.Context), Feedback: string(c.Feedback), Steer: string(c.Steer),
		Answer: string(c.Answer), Output: string(c.Output), Memory: json.RawMessage(c.Memory), Ledger: c.Usage, Limits: c.Limits, Inputs: c.Inputs,
		Source: c.Source, Dir: c.Dir, Models: c.Models,
		Meter: noMeter{absent("Turn.Meter")},
		Keep:  func(context.Context, []byte) (string, error) { return "", absent("Turn.Keep") },
		Fetch: func(context.Context, string) ([]byte, error) { return nil, absent("Turn.Fetch") },
	}
}

// noMeter refuses what can't be set aside from elsewhere.
type noMeter struct{ err error }

func (m noMeter) Reserve(context.Context, loops.Call) (loops.Grant, error) {
	return loops.Grant{}, loops.Permanent(m.err)
}

func (m noMeter) Settle(context.Context, loops.Grant, loops.Spent, json.RawMessage) error {
	return m.err
}

// resultMessage is what a body returned.
func resultMessage(r loops.Result, err error) Message {
	m := Message{V: Version, Type: TypeResult}
	if r.Usage != (loops.Usage{}) {
		m.Usage = &Usage{InputTokens: r.Usage.InputTokens, OutputTokens: r.Usage.OutputTokens, TotalTokens: r.Usage.TotalTokens, CostUSD: r.Usage.CostUSD, ToolCalls: r.Usage.ToolCalls}
	}
	m.Memory = Any(r.Memory)
	if err == nil {
		m.Output, m.Score = Text(strings.ToValidUTF8(r.Output, "\uFFFD")), r.Score
		m.Done = &r.Done
		if r.Ask != nil {
			m.Ask = &Ask{Approval: r.Ask.Approval, Prompt: Text(r.Ask.Prompt)}
		}
		return m
	}
	f := loops.FaultOf(err)
	if f.Kind == loops.FaultUnserved { // it was begun
		f.Kind = loops.FaultFailed
	}
	text := err.Error()
	if text == "" {
		text = "the handler gave an error without a text"
	}
	m.Error = &Failure{Message: Text(clip(strings.ToValidUTF8(text, "\uFFFD"), 64<<10)), Kind: f.Kind, RetryAfter: min(f.After.Seconds(), maxRetryAfter), Provider: f.Provider}
	return m
}

// Result is what a start came to: what a body returns for a message of the type
// result.
func (m Message) Result() (loops.Result, error) {
	var r loops.Result
	if u := m.Usage; u != nil {
		r.Usage = loops.Usage{InputTokens: u.InputTokens, OutputTokens: u.OutputTokens, TotalTokens: u.TotalTokens, CostUSD: u.CostUSD, ToolCalls: u.ToolCalls}
		r.Usage.TotalTokens = r.Usage.Total()
	}
	r.Memory = json.RawMessage(m.Memory)
	if m.Error != nil {
		return r, m.Error.err()
	}
	r.Output, r.Score, r.Done = string(m.Output), m.Score, m.Done == nil || *m.Done
	if m.Ask != nil {
		r.Ask = &loops.Ask{Approval: m.Ask.Approval, Prompt: string(m.Ask.Prompt)}
	}
	return r, nil
}

func (f Failure) err() error {
	err := errors.New(string(f.Message))
	if f.Provider {
		err = loops.Provider(err)
	}
	after := time.Duration(f.RetryAfter * float64(time.Second))
	switch f.Kind {
	case loops.FaultPermanent:
		return loops.Permanent(err)
	case loops.FaultTransient:
		return loops.Transient(err, after)
	case loops.FaultRateLimited:
		return loops.RateLimited(err, after)
	case loops.FaultCutOff:
		return loops.CutOff(err)
	}
	return err
}
