package main

import (
	"context"

	"example.com/loop-mcp/loops"
	"github.com/spf13/cobra"
)

// forkFlags say how a fork differs from its original.
type forkFlags struct {
	iteration                             int
	goal, body, until, message, requestID string
	limits                                []string
	detach, jsonLines                     bool
}

func (a *app) forkCommand() *cobra.Command {
	var f forkFlags
	cmd := &cobra.Command{
		Use:   "fork ID",
		Short: "Start a new loop where another one was, and work on it",
		Long: "Start a new loop where another one was after an iteration: with its spec, but for what is\n" +
			"replaced here, with its output, memory and feedback, and with a ledger of its own. The original\n" +
			"is left alone, whatever its status; files are not restored. Then work on the new loop to its\n" +
			"next stop, as run does.",
		Example: "  loop-mcp fork fix-build-7k3q\n" +
			"  loop-mcp fork fix-build-7k3q --iteration 3 --message 'Leave the parser alone'\n" +
			"  loop-mcp fork draft-a2b3 --goal 'The same text in French' --limit max_passes=5 --detach",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			request, err := f.request(loops.ID(ids[0]), cmd.Flags().Changed("iteration"))
			if err != nil {
				return err
			}
			return a.fork(cmd.Context(), request, f.detach, f.jsonLines)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.iteration, "iteration", 0, "begin after this iteration; 0 is the beginning; left out: the last one")
	flags.StringVar(&f.goal, "goal", "", "another goal")
	flags.StringVar(&f.body, "body", "", "another body, as JSON such as '{\"kind\":\"agent\",\"model\":\"smart\"}'")
	flags.StringVar(&f.until, "until", "", "other stop conditions, as JSON such as '{\"all\":[{\"kind\":\"human\",\"question\":\"Good?\"}]}'")
	flags.StringArrayVar(&f.limits, "limit", nil, "a limit that differs, NAME=VALUE such as max_passes=20; may be repeated")
	flags.StringVar(&f.message, "message", "", "guidance for the first start")
	flags.StringVar(&f.requestID, "request-id", "", "the same id again gives the same fork")
	flags.BoolVar(&f.detach, "detach", false, "do not work on it here: it goes on with another process")
	flags.BoolVar(&f.jsonLines, "jsonl", false, "print one line of JSON for each event and iteration, then the snapshot")
	complete(cmd, "limit", limitNames()...)
	a.jsonFlag(cmd)
	exclusive(cmd, "json", "jsonl")
	return cmd
}

func (f forkFlags) request(id loops.ID, iteration bool) (loops.ForkRequest, error) {
	r := loops.ForkRequest{Loop: id, Goal: f.goal, Message: f.message, RequestID: f.requestID, Source: loops.SourceCommandLine}
	if iteration {
		r.Iteration = &f.iteration
	}
	if f.body != "" {
		r.Body = new(loops.BodySpec)
		if err := loops.Decode([]byte(f.body), r.Body); err != nil {
			return r, usagef("--body %w", err)
		}
	}
	if f.until != "" {
		r.Until = new(loops.Until)
		if err := loops.Decode([]byte(f.until), r.Until); err != nil {
			return r, usagef("--until %w", err)
		}
	}
	return r, applyLimits(&r.Limits, f.limits)
}

func (a *app) fork(ctx context.Context, r loops.ForkRequest, detach, jsonLines bool) error {
	h, err := a.openExisting(ctx, r.Loop, false)
	if err != nil {
		return err
	}
	defer h.close()
	out, err := h.Fork(ctx, r)
	if err != nil {
		return unknown(r.Loop, err)
	}
	return a.after(ctx, h, out, detach, jsonLines)
}
