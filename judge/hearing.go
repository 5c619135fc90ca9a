package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// hearing is one judgement under way.
type hearing struct {
	loop      loops.ID
	iteration int
	pass      int
	worker    string
	output    string
	meter     loops.Meter
	save      func(ctx context.Context, saved json.RawMessage) error
	emit      func(loops.Live)

	brief  brief
	pack   pack
	claims string // what the worker says beside the evidence; empty: nothing worth showing
	speaks bool   // the output speaks to the judge
	record record
}

func newHearing(e loops.Evidence, b brief, items []item) *hearing {
	h := &hearing{
		loop: e.Loop, iteration: e.Iteration, pass: e.Pass, worker: e.Worker, output: e.Output, meter: e.Meter, emit: e.Emit,
		brief: b, pack: newPack(b, items), record: decodeRecord(e.Saved),
	}
	h.save = func(ctx context.Context, saved json.RawMessage) error {
		if e.Save == nil {
			return nil
		}
		return e.Save(ctx, saved)
	}
	if h.emit == nil {
		h.emit = func(loops.Live) {}
	}
	h.speaks = aboutJudging().MatchString(fold(plain(e.Output)))
	h.claims = h.claimed()
	return h
}

// claimed is the worker's output beside the host's evidence: short, and not at
// all when it says nothing or speaks to the judge.
func (h *hearing) claimed() string {
	for _, it := range h.pack.items {
		if !it.observed {
			return "" // it is an item already
		}
	}
	text := plain(h.output)
	if h.speaks || hollow(text, h.brief) != "" {
		return ""
	}
	if runes := []rune(text); len(runes) > maxClaims {
		return string(runes[:maxClaims]) + "…"
	}
	return text
}

// hollowProduct says why there is nothing to judge; empty: there is.
func (h *hearing) hollowProduct() string {
	if h.pack.observed() {
		return ""
	}
	return hollow(h.output, h.brief)
}

// rejected is the verdict on an output that no model is asked about.
func (h *hearing) rejected(why string) loops.Verdict {
	v := h.verdict()
	v.Reason = why + "; no model was asked"
	v.Feedback = "There was nothing to judge: " + why + ". Hand in the result itself."
	for _, c := range h.brief.Criteria {
		v.Criteria = append(v.Criteria, loops.Ruling{ID: c.ID, Status: statusUnknown, Note: why})
	}
	v.Fingerprint = digest(h.pack.stable + "\x00" + why)
	return v
}

// decide asks until the votes decide, and says what they came to.
func (h *hearing) decide(ctx context.Context, models []model.Model) (loops.Verdict, error) {
	for {
		if h.record.Verdict != nil {
			return h.current(*h.record.Verdict), nil
		}
		if err := h.ask(ctx, models); err != nil {
			return loops.Verdict{}, err
		}
	}
}

// ask makes one paid call: the next vote, or the repair of its answer.
func (h *hearing) ask(ctx context.Context, models []model.Model) error {
	h.emit(loops.Live{Text: fmt.Sprintf("judge: vote %d of at most %d\n", len(h.record.Votes)+1, h.brief.Votes)})
	against := ""
	if n := len(h.record.Votes); n > 0 {
		against = h.record.Votes[n-1].Says
	}
	var by model.Info // of the model that answered
	call := modelcall.Call{
		Role: loops.RoleJudge, Models: noted(h.order(models), &by), Request: h.request(against), MinOutput: leastTokens(len(h.brief.Criteria)),
		Live: func(loops.Live) { h.emit(loops.Live{}) }, // a heartbeat: half a verdict is not for reading
		Soon: true,                                      // another vote is set aside, or the verdict is stored
	}
	repair := h.record.Broken
	if repair != nil {
		call.Request.Messages = append(call.Request.Messages, h.repair(*repair)...)
	}
	var problem error
	call.Saved = func(a model.Answer) json.RawMessage {
		problem = h.take(a, by)
		return h.record.encode()
	}
	_, _, err := modelcall.Do(ctx, h.meter, call)
	refused, ok := errors.AsType[*model.Error](err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ok && refused.Kind == model.Refused:
		return h.refused(ctx, refused)
	case err != nil:
		return err
	case problem != nil && repair != nil:
		return loops.Transient(fmt.Errorf("the judge %s gave no usable answer, asked twice: %w", by.ID, problem), 0)
	}
	return nil
}

// refused takes a call that the provider's policy declined for an answer that
// can't be used: what a worker wrote may have brought it about, and must not
// fail the loop.
func (h *hearing) refused(ctx context.Context, e *model.Error) error {
	again := h.record.Broken != nil
	h.broken(model.Answer{Stop: model.StopRefusal}, errDeclined, e.Model)
	if err := h.save(ctx, h.record.encode()); err != nil {
		return err
	}
	if again {
		return loops.Transient(loops.Provider(e), 0)
	}
	return nil
}

// take adds an answer to the record. The error says why it can't be used.
func (h *hearing) take(a model.Answer, by model.Info) error {
	said, err := usable(a, h.ids())
	if err != nil {
		h.broken(a, err, by.ID)
		return err
	}
	h.record.Broken = nil
	h.record.Votes = append(h.record.Votes, h.vote(said, by.ID))
	h.count()
	return nil
}

// broken notes an answer that can't be used, so that the next call is its
// repair; after a repair it forgets it, so that the vote begins anew.
func (h *hearing) broken(a model.Answer, problem error, by string) {
	if h.record.Broken != nil {
		h.record.Broken = nil
		return
	}
	h.record.Broken = &broken{Text: ends(a.Message.Text(), keptAnswer), Problem: problem.Error(), Model: by, Declined: a.Stop == model.StopRefusal}
}

// repair shows a model its own answer and what is wrong with it.
func (h *hearing) repair(b broken) []model.Message {
	text := b.Text
	if fold(text) == "" {
		text = "(no answer)"
	}
	return []model.Message{
		model.Text(model.Assistant, text),
		model.Text(model.User, fmt.Sprintf(askRepair, b.Problem, joined(h.ids()))),
	}
}

// order puts models that have not voted first: another model errs otherwise. A
// repair goes to the model that is to mend its answer, or to another one when it
// declined.
func (h *hearing) order(models []model.Model) []model.Model {
	place := func(m model.Model) int {
		switch id, b := m.Info().ID, h.record.Broken; {
		case b != nil && b.Model == id && b.Declined:
			return 3
		case b != nil && b.Model == id:
			return 0
		case h.record.voted(id):
			return 2
		}
		return 1
	}
	ordered := slices.Clone(models)
	slices.SortStableFunc(ordered, func(a, b model.Model) int { return place(a) - place(b) })
	return ordered
}

// noted makes models say which of them was asked last.
func noted(models []model.Model, by *model.Info) []model.Model {
	all := make([]model.Model, len(models))
	for i, m := range models {
		all[i] = &noting{Model: m, by: by}
	}
	return all
}

type noting struct {
	model.Model
	by *model.Info
}

// Generate implements [model.Model].
func (n *noting) Generate(ctx context.Context, r model.Request, live func(model.Live)) (model.Answer, error) {
	*n.by = n.Info()
	return n.Model.Generate(ctx, r, live)
}
