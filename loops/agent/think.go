package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// think calls the model once. When it returns, the answer is part of the
// conversation and stored.
func (w *work) think(ctx context.Context) error {
	w.mem.say(status(w.turn))
	if w.crowded() {
		if err := w.compact(ctx, false); err != nil {
			return err
		}
	}
	err := w.generate(ctx)
	if model.KindOf(err) != model.ContextTooLong || !w.canCompact() {
		return err
	}
	if err := w.compact(ctx, true); err != nil {
		return err
	}
	return w.generate(ctx)
}

func (w *work) generate(ctx context.Context) error {
	r := w.request()
	first := w.mem.Base == modelcall.Known{}
	var broken error
	answer, info, err := modelcall.Do(ctx, w.turn.Meter, modelcall.Call{
		Role: loops.RoleWorker, Models: w.models, Request: r, Live: w.turn.Emit, Known: &w.mem.Known, Soon: true, // a tool is set aside, or the iteration ends
		Saved: func(a model.Answer) (saved json.RawMessage) {
			if usable(a) != nil {
				return nil
			}
			if first && w.mem.Known.Tokens > 0 {
				w.mem.Base = modelcall.Known{Model: w.mem.Known.Model, Tokens: a.Usage.AllInput(), Bytes: modelcall.Size(w.fixed())}
			}
			w.accept(a)
			saved, broken = w.mem.encode(ctx, w.keep)
			return saved
		},
	})
	if err == nil {
		err = errors.Join(named(usable(answer), info), broken)
	}
	return err
}

// fixed is the part of a request that is the same in each pass.
func (w *work) fixed() model.Request {
	r := w.prefix
	if w.spec.Prompt != "" {
		r.Messages = nil
	}
	return r
}

// request is the next call's: what stays the same, then the conversation. Two
// places are marked for the cache, because a provider may take no more: the end
// of what is the same in every pass, and the end of what the next call repeats.
func (w *work) request() model.Request {
	r := w.prefix
	r.Messages = slices.Clone(w.prefix.Messages)
	for _, e := range w.mem.entries() {
		r.Messages = append(r.Messages, e.Message)
	}
	r.Messages[len(r.Messages)-1].Cache = true
	r.MaxTok = w.room(r)
	return r
}

// errEmpty is an answer that claims nothing and asks for nothing.
var errEmpty = errors.New("the model gave an empty answer: no text and no tool call")

// usable says why an answer can't be worked with.
func usable(a model.Answer) error {
	if err := refusal(a); err != nil {
		return err
	}
	switch {
	case len(a.Message.Calls()) > 0 || strings.TrimSpace(a.Message.Text()) != "":
		return nil
	case a.Stop == model.StopLength:
		return errors.New("the model used up the limit of its answer before it said anything; give the loop more tokens, or name a model that reasons less")
	}
	return errEmpty
}

// refusal is the error that a declined call ends the loop with.
func refusal(a model.Answer) error {
	if a.Stop != model.StopRefusal {
		return nil
	}
	e := &model.Error{Kind: model.Refused, RequestID: a.RequestID}
	if text := strings.TrimSpace(a.Message.Text()); text != "" {
		e.Err = errors.New(shortened(text, 500))
	}
	return loops.Permanent(loops.Provider(e))
}

// named says in a refusal whose it is.
func named(err error, info model.Info) error {
	if e, ok := errors.AsType[*model.Error](err); ok {
		e.Model = info.ID
	}
	return err
}

// accept puts an answer into the conversation and opens its calls.
func (w *work) accept(a model.Answer) {
	a.Message.Role, a.Message.Cache = model.Assistant, false
	w.mem.Tail = append(w.mem.Tail, entry{Message: a.Message})
	w.mem.Answer = &answer{Iteration: w.turn.Iteration, CutOff: a.Stop == model.StopLength}
	if n := len(a.Message.Calls()); n > 0 {
		w.mem.Answer.Calls, w.mem.Partial = make([]state, n), held{}
	}
}
