package main

import (
	"context"
	"fmt"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopfile"
	"github.com/spf13/cobra"
)

// startFlags are the flags of run and start.
type startFlags struct {
	inputs    []string
	labels    []string
	limits    []string
	requestID string
}

func (f *startFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.inputs, "input", "i", nil, "a value for the file's inputs, NAME=VALUE; may be repeated")
	flags.StringArrayVar(&f.labels, "label", nil, "a label, NAME=VALUE; may be repeated")
	flags.StringArrayVar(&f.limits, "limit", nil, "a limit instead of the file's, NAME=VALUE such as max_passes=5; may be repeated")
	flags.StringVar(&f.requestID, "request-id", "", "the same id and file give the same loop, not a second one")
	complete(cmd, "limit", limitNames()...)
}

func (a *app) runCommand() *cobra.Command {
	var f startFlags
	var lines bool
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Work on a loop file to the end, with live progress",
		Long: "Start the loop of a file and work on it here until it settles or waits for somebody.\n" +
			"Ctrl-C pauses it after the iteration under way, a second Ctrl-C leaves at once; either way\n" +
			"nothing that was committed is lost. Exit codes: 0 completed, 3 capped, 4 stalled or blocked,\n" +
			"5 cancelled, 6 waits for a person or a client, 8 failed, 130 interrupted.",
		Example: "  loop-mcp run fix-build.loop.yaml\n" +
			"  loop-mcp run fix-build.loop.yaml --input package=./parse --limit max_passes=5\n" +
			"  loop-mcp run refine.loop.yaml --json | jq .output",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: loopFiles,
		RunE: func(cmd *cobra.Command, paths []string) error {
			return a.withStarted(cmd.Context(), paths[0], f, func(h *host, o loops.Outcome) error {
				return a.follow(cmd.Context(), h, o.ID, lines)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&lines, "jsonl", false, "print one line of JSON for each event and iteration, then the snapshot")
	a.jsonFlag(cmd)
	exclusive(cmd, "json", "jsonl")
	return cmd
}

func (a *app) startCommand() *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   "start FILE",
		Short: "Start the loop of a file and leave it to another process",
		Long: "Start the loop of a file without working on it. An MCP server that shares the store works on\n" +
			"it, now or when it comes; so does `loop-mcp continue ID`.",
		Example:           "  loop-mcp start fix-build.loop.yaml\n  loop-mcp start todo.loop.md --json",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: loopFiles,
		RunE: func(cmd *cobra.Command, paths []string) error {
			return a.withStarted(cmd.Context(), paths[0], f, func(h *host, o loops.Outcome) error {
				if a.json {
					return a.printJSON(h.snapshot(o.State, o.Warnings))
				}
				a.printState(o.State)
				a.printOwed(h, o.State)
				return nil
			})
		},
	}
	f.add(cmd)
	a.jsonFlag(cmd)
	return cmd
}

// withStarted starts the loop of a file and hands it to then.
func (a *app) withStarted(ctx context.Context, path string, f startFlags, then func(*host, loops.Outcome) error) error {
	request, file, err := f.request(path)
	if err != nil {
		return err
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	h, err := a.openStore(ctx, s)
	if err != nil {
		return err
	}
	defer h.close()
	started, err := h.Start(ctx, request)
	if err != nil {
		return loadProblem(path, file, file.Locate(err))
	}
	for _, w := range started.Warnings {
		fmt.Fprintln(a.stderr, "warning:", plain(w))
	}
	return then(h, started)
}

func (f startFlags) request(path string) (loops.StartRequest, loopfile.File, error) {
	file, err := loopfile.Load(path)
	if err != nil {
		return loops.StartRequest{}, file, loadProblem(path, file, err)
	}
	inputs, err := pairs("--input", f.inputs)
	if err != nil {
		return loops.StartRequest{}, file, err
	}
	labels, err := pairs("--label", f.labels)
	if err != nil {
		return loops.StartRequest{}, file, err
	}
	if err := applyLimits(&file.Spec.Limits, f.limits); err != nil {
		return loops.StartRequest{}, file, err
	}
	values := make(map[string]any, len(inputs))
	for name, value := range inputs {
		values[name] = value
	}
	return loops.StartRequest{Spec: file.Spec, Inputs: values, Source: loops.SourceCommandLine,
		Dir: file.Dir, Labels: labels, RequestID: f.requestID}, file, nil
}

// pairs reads NAME=VALUE flags.
func pairs(flag string, list []string) (map[string]string, error) {
	values := make(map[string]string, len(list))
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usagef("%s: must be NAME=VALUE, got %q", flag, clip(plain(text), 60))
		}
		if _, twice := values[name]; twice {
			return nil, usagef("%s: %s is given twice", flag, name)
		}
		values[name] = value
	}
	return values, nil
}
