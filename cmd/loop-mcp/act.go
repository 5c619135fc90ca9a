package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"example.com/loop-mcp/loops"
	"github.com/spf13/cobra"
)

// continueFlags say what continue does before it works on the loop.
type continueFlags struct {
	resume, reopen, detach, jsonLines bool
	message, output, outputFile       string
	memory, attention, requestID      string
	notDone                           bool
}

func (a *app) continueCommand() *cobra.Command {
	var f continueFlags
	cmd := &cobra.Command{
		Use:   "continue ID",
		Short: "Hand in, answer, steer or resume, and work on the loop",
		Long: "Go on with a loop and work on it here to its next stop, as run does. Without flags it only\n" +
			"works on a loop that is free to move; a paused or settled one needs --resume or --reopen.",
		Example: "  loop-mcp continue fix-build-7k3q --resume\n" +
			"  loop-mcp continue todo-a2b3 --output 'Ticked the first item' --detach\n" +
			"  loop-mcp continue todo-a2b3 --message 'Use the staging server'",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			request, err := f.request(cmd)
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), loops.ID(ids[0]), request, f.detach, f.jsonLines)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.resume, "resume", false, "move a paused, waiting, stalled, blocked, failed or capped loop")
	flags.BoolVar(&f.reopen, "reopen", false, "move a completed loop; --message says what is missing")
	flags.StringVar(&f.message, "message", "", "the answer to a question, else text that steers the next start")
	flags.StringVar(&f.output, "output", "", "hand in an iteration for a loop whose turn it is")
	flags.StringVar(&f.outputFile, "output-file", "", "the same from a file; - is standard input")
	flags.StringVar(&f.memory, "memory", "", "JSON to keep for the next iteration, with --output")
	flags.BoolVar(&f.notDone, "not-done", false, "the attempt goes on: no stop condition is asked, with --output")
	flags.StringVar(&f.attention, "attention-id", "", "what is answered; left out: what is owed now")
	flags.StringVar(&f.requestID, "request-id", "", "the same id again changes nothing")
	flags.BoolVar(&f.detach, "detach", false, "do not work on it here: it goes on with another process")
	flags.BoolVar(&f.jsonLines, "jsonl", false, "print one line of JSON for each event and iteration, then the snapshot")
	exclusive(cmd, "resume", "reopen", "output", "output-file")
	a.jsonFlag(cmd)
	exclusive(cmd, "json", "jsonl")
	return cmd
}

// request is what the flags ask for; its action is empty when they ask nothing,
// and SteerIt for a message, which answers a question where one is pending.
func (f continueFlags) request(cmd *cobra.Command) (loops.Request, error) {
	r := loops.Request{AttentionID: f.attention, RequestID: f.requestID, By: "operator", Message: f.message}
	submits := cmd.Flags().Changed("output") || f.outputFile != ""
	if !submits && (f.memory != "" || f.notDone) {
		return r, usagef("continue: --memory and --not-done belong to --output or --output-file")
	}
	switch {
	case submits:
		done := !f.notDone
		r.Action, r.By, r.Done, r.Output = loops.Submit, "client", &done, f.output
		if f.memory != "" {
			if !json.Valid([]byte(f.memory)) {
				return r, usagef("--memory: must be JSON, got %q", clip(plain(f.memory), 60))
			}
			r.Memory = json.RawMessage(f.memory)
		}
		return r, f.readOutput(cmd.InOrStdin(), &r)
	case f.reopen:
		r.Action = loops.Reopen
	case f.resume:
		r.Action = loops.ResumeIt
	case f.message != "":
		r.Action = loops.SteerIt
	}
	return r, nil
}

func (f continueFlags) readOutput(stdin io.Reader, r *loops.Request) error {
	if f.outputFile == "" {
		return nil
	}
	in := stdin
	if f.outputFile != "-" {
		file, err := os.Open(f.outputFile)
		if err != nil {
			return fmt.Errorf("read the output: %w", err)
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, loops.MaxOutputSize+1))
	r.Output = string(data)
	return err
}

// act carries out a request on a loop, then works on it to its next stop.
func (a *app) act(ctx context.Context, id loops.ID, r loops.Request, detach, jsonLines bool) error {
	h, err := a.openExisting(ctx, id, false)
	if err != nil {
		return err
	}
	defer h.close()
	s, err := h.Get(ctx, id)
	if err != nil {
		return unknown(id, err)
	}
	if r.Action == "" && (s.Status.Settled() || s.Status == loops.Paused) {
		return notMoved(s)
	}
	out := loops.Outcome{State: s}
	if r.Action != "" {
		if out, err = h.Do(ctx, id, aimed(r, s)); err != nil {
			return err
		}
	}
	return a.after(ctx, h, out, detach, jsonLines)
}

// after tells what a loop was warned of and works on it to its next stop, unless it
// has come to one or another process does.
func (a *app) after(ctx context.Context, h *host, out loops.Outcome, detach, jsonLines bool) error {
	for _, w := range out.Warnings {
		fmt.Fprintln(a.stderr, "warning:", plain(w))
	}
	if detach || out.Status.Settled() {
		return a.printAfter(h, out.State)
	}
	return a.follow(ctx, h, out.ID, jsonLines)
}

// aimed fills in what the loop owes now, where the request leaves it out.
func aimed(r loops.Request, s loops.State) loops.Request {
	if s.Attention == nil || s.Status != loops.YourTurn && s.Status != loops.NeedsInput {
		return r
	}
	if r.Action == loops.SteerIt && s.Status == loops.NeedsInput && s.Attention.Kind == loops.AttentionQuestion {
		r.Action, r.By = loops.AnswerIt, "person"
	}
	switch r.Action {
	case loops.Submit, loops.AnswerIt, loops.Approve, loops.Deny:
		if r.AttentionID == "" {
			r.AttentionID = s.Attention.ID
		}
	default: // the others answer nothing
	}
	return r
}

// notMoved says why continue without flags does nothing.
func notMoved(s loops.State) error {
	if s.Status == loops.Completed {
		return fmt.Errorf("continue %s: the loop is completed; --reopen --message TEXT says what is missing", s.ID)
	}
	if s.Status == loops.Cancelled {
		return fmt.Errorf("continue %s: the loop is cancelled; nothing moves it", s.ID)
	}
	return fmt.Errorf("continue %s: the loop is %s; --resume moves it", s.ID, s.Status)
}

// printAfter prints a loop after a request.
func (a *app) printAfter(h *host, s loops.State) error {
	if a.json {
		return a.printJSON(h.snapshot(s, nil))
	}
	a.printState(s)
	a.printOwed(h, s)
	return nil
}

func (a *app) approveCommand() *cobra.Command {
	var deny, detach, jsonLines bool
	var message, attention, requestID string
	var limits []string
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Decide what a loop asks a person, or change its limits",
		Long: "Approve or deny what a loop asks, or change its limits; then work on it to its next stop.\n" +
			"What is decided here counts as a person's decision.",
		Example: "  loop-mcp approve publish-a2b3\n" +
			"  loop-mcp approve publish-a2b3 --deny --message 'The second table is wrong'\n" +
			"  loop-mcp approve fix-build-7k3q --limit max_passes=20",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			r := loops.Request{Action: loops.Approve, By: "person", Message: message, AttentionID: attention, RequestID: requestID}
			if deny {
				r.Action = loops.Deny
			}
			if len(limits) > 0 {
				r.Action = loops.SetLimits
				if err := applyLimits(&r.Limits, limits); err != nil {
					return err
				}
			}
			return a.act(cmd.Context(), loops.ID(ids[0]), r, detach, jsonLines)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&deny, "deny", false, "deny; --message says what is missing")
	flags.StringArrayVar(&limits, "limit", nil, "a new limit, NAME=VALUE such as max_passes=20; may be repeated")
	flags.StringVar(&message, "message", "", "a remark; with --deny the feedback for the next pass")
	flags.StringVar(&attention, "attention-id", "", "what is decided; left out: what is owed now")
	flags.StringVar(&requestID, "request-id", "", "the same id again changes nothing")
	flags.BoolVar(&detach, "detach", false, "do not work on it here: it goes on with another process")
	flags.BoolVar(&jsonLines, "jsonl", false, "print one line of JSON for each event and iteration, then the snapshot")
	exclusive(cmd, "deny", "limit")
	complete(cmd, "limit", limitNames()...)
	a.jsonFlag(cmd)
	exclusive(cmd, "json", "jsonl")
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:               "pause ID",
		Short:             "Pause a loop; it never moves by itself until it is resumed",
		Example:           "  loop-mcp pause fix-build-7k3q --reason 'waiting for the release'",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.do(cmd.Context(), loops.ID(ids[0]), loops.Request{Action: loops.PauseIt, By: "operator", Message: reason})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever finds it paused")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) cancelCommand() *cobra.Command {
	var reason string
	var now bool
	cmd := &cobra.Command{
		Use:               "cancel ID",
		Short:             "End a loop for good; cancelling it again changes nothing",
		Example:           "  loop-mcp cancel fix-build-7k3q --reason 'no longer needed'",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.do(cmd.Context(), loops.ID(ids[0]), loops.Request{Action: loops.CancelIt, By: "operator", Message: reason, Now: now})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever finds it cancelled")
	cmd.Flags().BoolVar(&now, "now", false, "end a running body without the grace period")
	a.jsonFlag(cmd)
	return cmd
}

// do carries out a request that needs nobody to work on the loop afterwards.
func (a *app) do(ctx context.Context, id loops.ID, r loops.Request) error {
	h, err := a.openExisting(ctx, id, false)
	if err != nil {
		return err
	}
	defer h.close()
	out, err := h.Do(ctx, id, r)
	if err != nil {
		return unknown(id, err)
	}
	return a.printAfter(h, out.State)
}
