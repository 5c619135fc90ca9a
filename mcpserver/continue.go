package mcpserver

import (
	"context"
	"time"

	"example.com/loop-mcp/loops"
)

func (a *continueArgs) check() error {
	var p problems
	p.loopID(a.LoopID)
	p.oneOf("action", a.Action, string(loops.Submit), string(loops.AnswerIt), string(loops.SteerIt), string(loops.ResumeIt), string(loops.Reopen))
	p.notBelow("wait_seconds", a.WaitSeconds, 0)
	p.short("attention_id", a.AttentionID)
	if a.submits() {
		a.checkSubmit(&p)
	} else {
		a.checkOther(&p)
	}
	return p.err()
}

// submits reports whether the call hands in an iteration: by its action, or
// without one by its output.
func (a *continueArgs) submits() bool {
	return a.Action == string(loops.Submit) || a.Action == "" && a.Output != nil
}

func (a *continueArgs) checkSubmit(p *problems) {
	if a.Output == nil {
		p.add("output", "is missing: the result of your work for this iteration")
	}
	if a.Usage != nil && a.Usage.TotalTokens > 0 && a.Usage.TotalTokens < a.Usage.InputTokens+a.Usage.OutputTokens {
		p.add("usage.total_tokens", "must not be below input_tokens and output_tokens together, got %d", a.Usage.TotalTokens)
	}
}

func (a *continueArgs) checkOther(p *problems) {
	for _, f := range []struct {
		name string
		set  bool
	}{{"output", a.Output != nil}, {"done", a.Done != nil}, {"memory", a.Memory != nil}, {"usage", a.Usage != nil}} {
		if f.set {
			p.add(f.name, "belongs to a submit, which needs output and no other action")
		}
	}
	switch loops.Action(a.Action) {
	case loops.AnswerIt:
		p.needed("message", a.Message, "the user's answer")
	case loops.SteerIt:
		p.needed("message", a.Message, "the guidance for the worker")
	case loops.Reopen:
		p.needed("message", a.Message, "what is missing from the result")
	default: // a note at most
	}
}

func (t *tools) resume(ctx context.Context, c *call, a continueArgs) (any, error) {
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	r, err := t.continueRequest(ctx, e, a)
	if err != nil {
		return nil, err
	}
	out, err := c.do(ctx, e, loops.ID(a.LoopID), r)
	if err != nil {
		return nil, err
	}
	otherwise := time.Duration(0)
	if r.Action == loops.Submit {
		otherwise = 20 * time.Second
	}
	d, note := c.patience(a.WaitSeconds, otherwise)
	c.person.attends = true
	s, timedOut := c.follow(ctx, e, out.State, loops.ForAttention, d)
	answer := c.snapshot(e, s, SnapshotOptions{})
	answer.Reused, answer.TimedOut = &out.Reused, timedOut
	answer.Next = note + answer.Next
	return answer, nil
}

// continueRequest fills in what the arguments leave open.
func (t *tools) continueRequest(ctx context.Context, e engineAPI, a continueArgs) (loops.Request, error) {
	r := loops.Request{
		Action: loops.Action(a.Action), AttentionID: a.AttentionID, RequestID: a.RequestID, Message: a.Message,
		Done: a.Done, Memory: a.Memory, Usage: a.Usage.usage(),
	}
	switch {
	case a.submits():
		r.Action, r.Output = loops.Submit, *a.Output
	case a.Action != "":
	case a.Message == "":
		r.Action = loops.ResumeIt
	default:
		s, err := t.get(ctx, e, a.LoopID)
		if err != nil {
			return r, err
		}
		r.Action = answerOrSteer(s, a.RequestID)
	}
	return r, nil
}

// answerOrSteer says what a message is for. A repeated request means what it
// meant the first time, although the question is gone since.
func answerOrSteer(s loops.State, requestID string) loops.Action {
	for _, done := range s.Requests {
		if done.ID == requestID && (done.Action == loops.AnswerIt || done.Action == loops.SteerIt) {
			return done.Action
		}
	}
	if s.Status == loops.NeedsInput && s.Attention != nil && s.Attention.Kind == loops.AttentionQuestion {
		return loops.AnswerIt
	}
	return loops.SteerIt
}

func (u *usageArgs) usage() *loops.Usage {
	if u == nil {
		return nil
	}
	out := &loops.Usage{
		InputTokens: int64(u.InputTokens), OutputTokens: int64(u.OutputTokens), TotalTokens: int64(u.TotalTokens),
		CostUSD: u.CostUSD, ToolCalls: int64(u.ToolCalls),
	}
	if out.TotalTokens == 0 {
		out.TotalTokens = out.InputTokens + out.OutputTokens
	}
	return out
}
