package mcpserver

import (
	"context"
	"fmt"
	"time"

	"example.com/loop-mcp/loops"
)

func (a *approveArgs) check() error {
	var p problems
	p.loopID(a.LoopID)
	p.short("attention_id", a.AttentionID)
	if a.Decision == "" {
		p.add("decision", "is missing: approve, deny or set_limits, as the user decided")
	}
	p.oneOf("decision", a.Decision, string(loops.Approve), string(loops.Deny), string(loops.SetLimits))
	limits := a.Limits != limitsArgs{}
	switch {
	case a.Decision == string(loops.SetLimits) && !limits:
		p.add("limits", `is missing: the limits to change, such as {"max_cost_usd": 5}`)
	case a.Decision == string(loops.SetLimits) && a.AttentionID != "":
		p.add("attention_id", "belongs to approve and deny; set_limits needs limits alone")
	case a.Decision != string(loops.SetLimits) && limits:
		p.add("limits", "belongs to the decision set_limits; make two calls")
	}
	return p.err()
}

func (t *tools) approve(ctx context.Context, c *call, a approveArgs) (any, error) {
	asking := c.person.reach != nobody
	if t.person() && !asking {
		return nil, &loops.RefusedError{
			Code:    "person_required",
			Problem: "this server is configured with approvals: person, and this client can't ask the user (it does not offer elicitation), so a decision through this tool does not count",
			Remedy:  fmt.Sprintf("ask the user to run: loop-mcp approve %s", a.LoopID),
		}
	}
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	if a.Decision != string(loops.SetLimits) && a.AttentionID == "" {
		return nil, t.noAttentionID(ctx, e, a.LoopID, a.Decision)
	}
	r := loops.Request{Action: loops.Action(a.Decision), AttentionID: a.AttentionID, Message: a.Message, Limits: loops.Limits(a.Limits)}
	if asking {
		return c.letDecide(ctx, e, loops.ID(a.LoopID), r)
	}
	return c.decide(ctx, e, loops.ID(a.LoopID), r)
}

func (c *call) decide(ctx context.Context, e engineAPI, id loops.ID, r loops.Request) (any, error) {
	out, err := c.do(ctx, e, id, r)
	if err != nil {
		return nil, err
	}
	return c.snapshot(e, out.State, SnapshotOptions{Limits: true, Warnings: out.Warnings}), nil
}

// noAttentionID says which id is missing. It is never filled in: it is what
// keeps a decision about one question from being taken for another.
func (t *tools) noAttentionID(ctx context.Context, e engineAPI, id, decision string) error {
	s, err := t.get(ctx, e, id)
	if err != nil {
		return err
	}
	if owed := attentionOf(s, maxLine); owed != nil {
		return &loops.FieldError{Field: "attention_id", Problem: fmt.Sprintf("is missing: to %s, pass the attention.id that the user saw; it is %s now", decision, owed.ID)}
	}
	return &loops.FieldError{Field: "attention_id", Problem: fmt.Sprintf("is missing, and the loop, which is %s, owes no answer now; call loop_inspect with view why", s.Status)}
}

func (a *pauseArgs) check() error {
	var p problems
	p.loopID(a.LoopID)
	p.short("reason", a.Reason)
	return p.err()
}

func (t *tools) pause(ctx context.Context, c *call, a pauseArgs) (any, error) {
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	out, err := c.do(ctx, e, loops.ID(a.LoopID), loops.Request{Action: loops.PauseIt, Message: a.Reason})
	if err != nil {
		return nil, err
	}
	answer := t.snapshot(e, out.State, SnapshotOptions{})
	if out.Status != loops.Paused && !out.Status.Settled() {
		answer.Next = fmt.Sprintf("It pauses at its next safe point: call loop_wait with loop_id %s and cursor %d to see that.", out.ID, out.Cursor)
	}
	return answer, nil
}

const (
	graceful = "graceful"
	atOnce   = "now"
)

func (a *cancelArgs) check() error {
	var p problems
	p.loopID(a.LoopID)
	p.short("reason", a.Reason)
	p.oneOf("mode", a.Mode, graceful, atOnce)
	p.notBelow("wait_seconds", a.WaitSeconds, 0)
	return p.err()
}

func (t *tools) cancel(ctx context.Context, c *call, a cancelArgs) (any, error) {
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	out, err := c.do(ctx, e, loops.ID(a.LoopID), loops.Request{Action: loops.CancelIt, Message: a.Reason, Now: a.Mode == atOnce})
	if err != nil {
		return nil, err
	}
	d, note := c.patience(a.WaitSeconds, 10*time.Second)
	s, timedOut := out.State, (*bool)(nil)
	if !s.Status.Settled() {
		s, timedOut = c.follow(ctx, e, s, loops.ForSettled, d)
	}
	answer := t.snapshot(e, s, SnapshotOptions{})
	answer.AlreadySettled, answer.TimedOut = &out.AlreadySettled, timedOut
	answer.Next = note + answer.Next
	return answer, nil
}
