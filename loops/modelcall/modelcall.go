// Package modelcall makes one paid call of a model: it sets aside what the call
// may cost, makes it, settles it, and says what a failure means for the loop.
// The agent and the judge both call through it, so that no call goes around the
// ledger.
//
// What goes in is bounded before the call: a text has at most one token for each
// of its bytes, because tokenizers fall back to bytes; what a provider counted
// for an earlier call of the same conversation replaces that bound for the part
// that it covers ([Known]).
package modelcall

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// Book finds the models that loops have pinned.
type Book interface {
	// Open returns the model that a loop has pinned as id under name, followed
	// by what takes its place when its provider is down. The error says why
	// this process has no such model. An empty id means whatever name stands
	// for now.
	Open(name, id string) ([]model.Model, error)
}

// Call is one call to make.
type Call struct {
	Role    string // loops.RoleWorker, …
	Models  []model.Model
	Request model.Request // MaxTok is what is wanted; what is granted may be less

	MinOutput int64            // tokens; 0: 256
	Live      func(loops.Live) // may be nil
	// Known, unless nil, is of an earlier call of the same conversation. When the
	// model answers, it is replaced by what this call counted, its answer
	// included, before Saved is called.
	Known *Known
	// Saved returns what is to be stored in the same step as the call's
	// settlement; nil: nothing.
	Saved func(model.Answer) json.RawMessage
	Soon  bool // the caller's very next step stores something: see [loops.Spent]
}

// Known is what a provider counted: at most Tokens for the first Bytes, by
// [Size], of a conversation with Model. Valid while the conversation only grows.
type Known struct {
	Model  string `json:"model,omitempty"` // model.Info.ID; another one counts otherwise
	Tokens int64  `json:"tokens,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
}

// The bounds of a call.
const (
	minOutput     = 256
	usualOutput   = 16 << 10 // wanted of a model that does not say how much it can
	callOverhead  = 1024     // what providers add: the system text for tools, markers
	partOverhead  = 64       // for each message, block and tool
	longestWanted = 32 << 10 // output wanted when nobody asks for a number
)

// Size is the size of a request in bytes, everything that becomes tokens counted.
func Size(r model.Request) int64 {
	n := len(r.System) + len(r.Schema) + callOverhead
	for _, t := range r.Tools {
		n += len(t.Name) + len(t.Description) + len(t.Schema) + partOverhead
	}
	for _, m := range r.Messages {
		n += max(len(m.Native), sizeOf(m)) + partOverhead
	}
	return int64(n)
}

func sizeOf(m model.Message) int {
	n := 0
	for _, b := range m.Blocks {
		n += len(b.Text) + len(b.Reasoning) + partOverhead
		if b.Call != nil {
			n += len(b.Call.ID) + len(b.Call.Name) + len(b.Call.Args)
		}
		if b.Result != nil {
			n += len(b.Result.ID) + len(b.Result.Name) + len(b.Result.Text)
		}
	}
	return n
}

// bound is the most tokens that a request to the model id can have.
func bound(r model.Request, k *Known, id string) int64 {
	size := Size(r)
	if k != nil && k.Model == id && k.Bytes > 0 && k.Bytes <= size {
		return min(size, k.Tokens+size-k.Bytes+partOverhead)
	}
	return size
}

// counted is what is known after an answer: what came out goes in again with the
// next call.
func counted(r model.Request, a model.Answer, id string) Known {
	if a.Usage.AllInput() <= 0 {
		return Known{} // this provider does not count
	}
	r.Messages = append(slices.Clip(r.Messages), a.Message)
	return Known{Model: id, Tokens: a.Usage.Total(), Bytes: Size(r)}
}

// Do makes the call with the first model that answers. It returns the model
// that did. Errors are ready for a body or a condition to return: a
// [*loops.CapError] when the limits leave no room; else a [*model.Error] marked
// as [loops.Permanent], [loops.Transient] or [loops.RateLimited], and as
// [loops.Provider].
func Do(ctx context.Context, meter loops.Meter, c Call) (model.Answer, model.Info, error) {
	var first error
	for i, m := range c.Models {
		answer, err := one(ctx, meter, c, m)
		if err == nil {
			return answer, m.Info(), nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil || i == len(c.Models)-1 || !replaceable(err) {
			break
		}
	}
	if first == nil {
		first = errors.New("no model to call")
	}
	return model.Answer{}, model.Info{}, meaning(first)
}

// replaceable reports whether another model may do better.
func replaceable(err error) bool {
	switch model.KindOf(err) {
	case model.RateLimited, model.Overloaded, model.ServerError, model.Network, model.NoCredit, model.Incomplete, model.Malformed, model.UnknownModel, model.BadKey:
		return true
	}
	return false
}

func one(ctx context.Context, meter loops.Meter, c Call, m model.Model) (model.Answer, error) {
	info := m.Info()
	call := loops.Call{Role: c.Role, Model: info.ID, Input: bound(c.Request, c.Known, info.ID), Output: wanted(c.Request, info), MinOutput: c.MinOutput}
	if call.MinOutput <= 0 {
		call.MinOutput = minOutput
	}
	if info.Price != nil {
		in, out := info.Price.Worst(call.Input)
		call.InputRate, call.OutputRate, call.Fixed = loops.USD(in), loops.USD(out), loops.USD(info.Price.PerRun)
	}
	grant, err := meter.Reserve(ctx, call)
	if err != nil {
		return model.Answer{}, err
	}
	r := c.Request
	r.MaxTok = grant.Output
	answer, err := m.Generate(ctx, r, liveTo(c.Live))
	if err != nil {
		e, ok := errors.AsType[*model.Error](err)
		unbilled := ok && e.Unbilled
		return model.Answer{}, errors.Join(err, meter.Settle(ctx, grant, loops.Spent{Unknown: !unbilled}, nil))
	}
	if c.Known != nil {
		*c.Known = counted(r, answer, info.ID)
	}
	var saved json.RawMessage
	if c.Saved != nil {
		saved = c.Saved(answer)
	}
	answer.Usage = atMost(answer, call.Input, grant.Output)
	return answer, meter.Settle(ctx, grant, loops.Spent{Usage: Usage(answer, info), Soon: c.Soon}, saved)
}

// atMost is the usage of an answer with what was not reported, or with a number
// that can't be, at the most that it may have been: no request is empty, and no
// text comes of no tokens.
func atMost(a model.Answer, input, output int64) model.Usage {
	u := a.Usage
	silent := u.AllInput() <= 0
	if silent {
		u.Input, u.CacheRead, u.CacheWrite, u.CacheWrite1h = input, 0, 0, 0
	}
	if u.Output <= 0 && (silent || len(a.Message.Blocks) > 0) {
		u.Output = min(output, int64(max(len(a.Message.Native), sizeOf(a.Message))))
	}
	return u
}

// wanted is the output to ask for.
func wanted(r model.Request, info model.Info) int64 {
	most := info.MaxOutput
	if most <= 0 {
		most = usualOutput
	}
	if r.MaxTok > 0 {
		return min(r.MaxTok, most)
	}
	return min(most, longestWanted)
}

// Usage is what an answer cost, in the words of the ledger.
func Usage(a model.Answer, info model.Info) loops.Usage {
	u := loops.Usage{InputTokens: a.Usage.AllInput(), OutputTokens: a.Usage.Output, TotalTokens: a.Usage.Total()}
	switch {
	case a.Cost != nil:
		u.CostUSD = loops.USD(max(0, *a.Cost))
	case info.Price != nil:
		u.CostUSD = loops.USD(info.Price.Cost(a.Usage))
	}
	return u
}

func liveTo(emit func(loops.Live)) func(model.Live) {
	if emit == nil {
		return nil
	}
	return func(l model.Live) {
		if !l.Reasoning || l.Tool != "" {
			emit(loops.Live{Text: l.Text, Tool: l.Tool})
			return
		}
		emit(loops.Live{}) // a heartbeat: reasoning is not shown
	}
}

// meaning marks a failed call with what it means for the loop.
func meaning(err error) error {
	e, ok := errors.AsType[*model.Error](err)
	if !ok {
		return err
	}
	err = loops.Provider(err)
	switch e.Kind {
	case model.RateLimited, model.Overloaded:
		return loops.RateLimited(err, e.RetryAfter)
	case model.ServerError, model.Network, model.Incomplete, model.Malformed:
		return loops.Transient(err, e.RetryAfter)
	}
	return loops.Permanent(err)
}
