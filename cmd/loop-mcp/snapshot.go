package main

import (
	"context"
	"fmt"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver"
)

// snapshot is what --json prints: the same as a tool's answer, with the whole
// output.
func (h *host) snapshot(s loops.State, warnings []string) mcpserver.Answer {
	return mcpserver.Snapshot(h.Engine, s, &mcpserver.SnapshotOptions{
		Limits: true, Warnings: warnings, MaxText: 64 << 10, MaxBrief: loops.MaxPromptSize * 2,
		Person: h.settings.Approvals == approvalsPerson,
	})
}

// result is the output that a loop hands back.
func (h *host) result(ctx context.Context, s loops.State) (string, error) {
	text := s.Output
	if s.Origin.Spec.Result == loops.ResultBest && s.Best != nil && s.Status.Settled() {
		text = s.Best.Output
	}
	return h.Output(ctx, s.ID, text)
}

// printState prints the one line about a loop, and what would move it.
func (a *app) printState(s loops.State) {
	fmt.Fprintln(a.stdout, plain(s.Summary()))
	for _, line := range advice(s) {
		fmt.Fprintln(a.stderr, "  →", line)
	}
}

// capLimits are the limits behind the stop reasons of capped loops.
var capLimits = map[loops.StopReason]string{
	loops.CapIterations: "max_iterations", loops.CapPasses: "max_passes", loops.CapDuration: "max_duration",
	loops.CapActive: "max_active", loops.CapTokens: "max_total_tokens", loops.CapCost: "max_cost_usd",
	loops.CapToolCalls: "max_tool_calls",
}

// advice says what moves a settled loop from the command line.
func advice(s loops.State) []string {
	if s.Stop == nil || !s.Stop.Resumable {
		return nil
	}
	switch s.Status {
	case loops.Capped:
		if limit := capLimits[s.Stop.Reason]; limit != "" {
			return []string{fmt.Sprintf("raise the limit and go on: loop-mcp approve %s --limit %s=VALUE", s.ID, limit)}
		}
	case loops.Stalled, loops.Blocked, loops.Failed:
		return []string{
			fmt.Sprintf("see why: loop-mcp show %s --view why", s.ID),
			fmt.Sprintf("go on: loop-mcp continue %s --resume, or with --message TEXT to steer it", s.ID),
		}
	default:
	}
	return nil
}

// printOwed says who has to do what before the loop moves.
func (a *app) printOwed(h *host, s loops.State) {
	for _, line := range owed(s, h.RunsWhile(s)) {
		fmt.Fprintln(a.stderr, line)
	}
}

// owed is what has to be done; runsWhile says which process works on the loop.
func owed(s loops.State, runsWhile string) []string {
	id := s.ID
	switch s.Status {
	case loops.YourTurn:
		return []string{
			"The loop waits for its client, which does the work itself. The brief:", "",
			indent(brief(s)), "",
			fmt.Sprintf("Hand in with: loop-mcp continue %s --output TEXT (or --output-file FILE)", id)}
	case loops.NeedsInput:
		do := fmt.Sprintf("Answer with: loop-mcp continue %s --message TEXT", id)
		if s.Attention != nil && s.Attention.Kind == loops.AttentionApproval {
			do = fmt.Sprintf("Decide with: loop-mcp approve %s, or loop-mcp approve %s --deny --message WHY", id, id)
		}
		return []string{"The loop waits for a person:", "", indent(brief(s)), "", do}
	case loops.Paused:
		return []string{fmt.Sprintf("Paused. Go on with: loop-mcp continue %s --resume", id)}
	case loops.Queued, loops.Running, loops.Waiting, loops.Cancelling:
		switch {
		case s.Status == loops.Queued && s.Why != "", runsWhile == "", strings.HasPrefix(runsWhile, "this "): // this command is about to end
		case strings.HasPrefix(runsWhile, "until "):
			return []string{"It goes on " + runsWhile}
		case !strings.HasSuffix(runsWhile, noneNow):
			return []string{"It goes on while " + runsWhile}
		}
		return []string{fmt.Sprintf("It goes on with a process that works on loops: an MCP server, loop-mcp serve --detach, loop-mcp worker, or loop-mcp continue %s", id)}
	default:
		return nil
	}
}

func brief(s loops.State) string {
	if s.Attention == nil {
		return ""
	}
	return harmless(s.Attention.Prompt)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}
