package loopstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/loop-mcp/loops/model"
)

var _ model.Model = (*Model)(nil)

// Reply is what a [Model] does in one call, in the order of the fields: it
// waits, takes its time, streams Live, calls Do, or returns Answer and Err.
type Reply struct {
	Wait   <-chan struct{} // the call blocks until it closes; nil: at once
	Takes  time.Duration   // then it takes this long; ended by its context meanwhile, it is billed for its input
	Live   []model.Live
	Do     func(ctx context.Context, r model.Request) (model.Answer, error)
	Answer model.Answer
	Err    error // billed for Answer.Usage, unless it is a *model.Error with Unbilled
}

// Says is a reply of one text without tool calls.
func Says(text string) Reply {
	return Reply{Answer: model.Answer{Message: model.Text(model.Assistant, text), Stop: model.StopEnd}}
}

// Uses is a reply that asks for tools. Calls without an id get one.
func Uses(calls ...model.ToolCall) Reply {
	m := model.Message{Role: model.Assistant}
	for _, c := range calls {
		m.Blocks = append(m.Blocks, model.Block{Call: &c})
	}
	return Reply{Answer: model.Answer{Message: m, Stop: model.StopTools}}
}

// Use is a call of a tool with arguments as JSON. What is not JSON becomes a
// JSON string, as providers' packages do it.
func Use(tool, args string) model.ToolCall {
	raw := json.RawMessage(args)
	if !json.Valid(raw) {
		raw, _ = json.Marshal(args) // a string: can't fail
	}
	return model.ToolCall{Name: tool, Args: raw}
}

// Breaks is a reply that fails with an error of that kind. The refused ones are
// not billed, those whose outcome nobody knows are.
func Breaks(kind model.Kind) Reply {
	unbilled := !slices.Contains([]model.Kind{model.ServerError, model.Network, model.Incomplete, model.Malformed}, kind)
	return Reply{Err: &model.Error{Kind: kind, Unbilled: unbilled}}
}

// Model gives one reply a call and remembers what it was asked and what it
// billed. It is safe for concurrent use.
//
// An answer without Usage is counted: one token for each four bytes. An answer
// longer than MaxTok is cut as a provider would: its text ends, its tool calls
// are gone, its Stop is [model.StopLength], and no more than MaxTok is billed.
type Model struct {
	info    model.Info
	replies []Reply

	mu       sync.Mutex
	requests []model.Request
	usage    model.Usage
	cost     int64
}

// NewModel returns a model that gives the replies in order and then repeats the
// last one. Without replies it says "ok". An empty ID is "test/model", an empty
// Wire "test".
func NewModel(info model.Info, replies ...Reply) *Model {
	if info.ID == "" {
		info.ID = "test/model"
	}
	if info.Wire == "" {
		info.Wire = "test"
	}
	if len(replies) == 0 {
		replies = []Reply{Says("ok")}
	}
	return &Model{info: info, replies: replies}
}

// Info implements [model.Model].
func (m *Model) Info() model.Info { return m.info }

// Requests returns what the model was asked so far, in order.
func (m *Model) Requests() []model.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requests)
}

// Billed returns what the calls so far cost: tokens and micro-dollars, by
// Answer.Cost, else by the price in Info.
func (m *Model) Billed() (model.Usage, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage, m.cost
}

// Generate implements [model.Model].
func (m *Model) Generate(ctx context.Context, r model.Request, live func(model.Live)) (model.Answer, error) {
	reply, n := m.next(r)
	if err := (Step{Wait: reply.Wait, Takes: reply.Takes}).pass(ctx); err != nil {
		m.bill(model.Answer{Usage: model.Usage{Input: tokens(r)}})
		return model.Answer{}, &model.Error{Kind: model.Network, Model: m.info.ID, Err: err}
	}
	for _, l := range reply.Live {
		if live != nil {
			live(l)
		}
	}
	answer, err := reply.Answer, reply.Err
	if reply.Do != nil {
		answer, err = reply.Do(ctx, r)
	}
	if err != nil {
		return model.Answer{}, m.broken(answer, err)
	}
	answer = m.complete(answer, r, n)
	m.bill(answer)
	return answer, nil
}

func (m *Model) next(r model.Request) (Reply, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	reply := m.replies[min(len(m.requests), len(m.replies)-1)]
	m.requests = append(m.requests, clone(r))
	return reply, len(m.requests)
}

// broken bills a call that failed and names the model in its error.
func (m *Model) broken(a model.Answer, err error) error {
	e, ok := errors.AsType[*model.Error](err)
	if !ok || !e.Unbilled {
		m.bill(a)
	}
	if ok && e.Model == "" {
		named := *e
		named.Model = m.info.ID
		return &named
	}
	return err
}

func (m *Model) bill(a model.Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.usage.Input += a.Usage.Input
	m.usage.CacheRead += a.Usage.CacheRead
	m.usage.CacheWrite += a.Usage.CacheWrite
	m.usage.CacheWrite1h += a.Usage.CacheWrite1h
	m.usage.Output += a.Usage.Output
	m.usage.Reasoning += a.Usage.Reasoning
	switch {
	case a.Cost != nil:
		m.cost += *a.Cost
	case m.info.Price != nil && a.Usage != (model.Usage{}):
		m.cost += m.info.Price.Cost(a.Usage)
	}
}

// complete fills in what the script left out of the answer to call number n and
// cuts what is longer than allowed.
func (m *Model) complete(a model.Answer, r model.Request, n int) model.Answer {
	a = clone(a)
	a.Message.Role = model.Assistant
	if a.Model == "" {
		a.Model = m.info.Model
	}
	for i, b := range a.Message.Blocks {
		if b.Call != nil && b.Call.ID == "" {
			b.Call.ID = fmt.Sprintf("call-%d-%d", n, i+1)
		}
	}
	if a.Usage == (model.Usage{}) {
		a.Usage = model.Usage{Input: tokens(r), Output: tokens(a.Message)}
	}
	if r.MaxTok > 0 && a.Usage.Output > r.MaxTok {
		a.Usage.Output, a.Stop = r.MaxTok, model.StopLength
		a.Message = model.Text(model.Assistant, a.Message.Text()[:min(len(a.Message.Text()), int(4*r.MaxTok))])
	}
	return a
}

// tokens counts one for each four bytes of v.
func tokens(v any) int64 {
	data, _ := encode(v) // plain data: can't fail
	return int64(len(data)+3) / 4
}
