package mcpserver

import (
	"context"

	"example.com/loop-mcp/loops"
)

func (a *forkArgs) check() error {
	var p problems
	p.loopID(a.LoopID)
	p.notBelow("iteration", a.Iteration, 0)
	return p.err()
}

func (a *forkArgs) request() loops.ForkRequest {
	return loops.ForkRequest{
		Loop: loops.ID(a.LoopID), Iteration: a.Iteration, Goal: a.Goal, Body: (*loops.BodySpec)(a.Body), Until: (*loops.Until)(a.Until),
		Limits: loops.Limits(a.Limits), Message: a.Message, RequestID: a.RequestID, Source: loops.SourceTool,
	}
}

func (t *tools) fork(ctx context.Context, c *call, a forkArgs) (any, error) {
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	out, err := e.Fork(ctx, a.request())
	if err != nil {
		return nil, t.known(ctx, e, loops.ID(a.LoopID), err)
	}
	answer := c.snapshot(e, out.State, SnapshotOptions{Limits: true, Warnings: out.Warnings})
	answer.Reused = &out.Reused
	return answer, nil
}
