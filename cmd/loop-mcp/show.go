package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver"
	"github.com/spf13/cobra"
)

// showFlags are what show asks loop_inspect for.
type showFlags struct {
	View      string `json:"view,omitempty"`
	Iteration int    `json:"iteration,omitempty"`
	CompareTo string `json:"compare_to,omitempty"`
	Limit     int    `json:"limit,omitempty"`
	Page      string `json:"page,omitempty"`
	MaxChars  int    `json:"max_chars,omitempty"`
}

var viewNames = []string{"summary", "output", "iterations", "iteration", "verdicts", "transcript", "diff", "events", "usage", "spec", "why", "live"}

func (a *app) showCommand() *cobra.Command {
	f := showFlags{MaxChars: 100_000}
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one loop: summary, output, iterations, transcript, differences, why",
		Long:  "Show one loop as it is stored, in any status. Changes nothing and works on nothing.",
		Example: "  loop-mcp show fix-build-7k3q\n  loop-mcp show fix-build-7k3q --view why\n" +
			"  loop-mcp show fix-build-7k3q --view output > result.txt\n  loop-mcp show fix-build-7k3q --view iteration --iteration 3 --json\n" +
			"  loop-mcp show fix-build-7k3q --view diff --iteration 3 --compare-to 2",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.show(cmd.Context(), loops.ID(ids[0]), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.View, "view", "summary", "what to show: "+strings.Join(viewNames[:len(viewNames)-1], ", ")+" or "+viewNames[len(viewNames)-1])
	flags.IntVar(&f.Iteration, "iteration", 0, "the iteration, for the views output, iteration, verdicts, transcript and diff")
	flags.StringVar(&f.CompareTo, "compare-to", "", "for the view diff: an iteration, another loop's id, or both as ID/3; left out: the iteration before")
	flags.IntVar(&f.Limit, "limit", 100, "items a page, at most 100")
	flags.StringVar(&f.Page, "page", "", "the next page, as the last answer named it")
	complete(cmd, "view", viewNames...)
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) show(ctx context.Context, id loops.ID, f showFlags) error {
	h, err := a.openExisting(ctx, id, true)
	if err != nil {
		return err
	}
	defer h.close()
	s, err := h.Get(ctx, id)
	if err != nil {
		return unknown(id, err)
	}
	if f.View == "output" && !a.json && f.Page == "" && f.Iteration == 0 {
		text, err := h.result(ctx, s)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, trimEnd(a.safe(text)))
		return err
	}
	if f.View == "summary" {
		if a.json {
			return a.printJSON(h.snapshot(s, nil))
		}
		return a.printSummary(ctx, h, s)
	}
	answer, err := h.inspect(ctx, id, f)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(answer)
	}
	return a.printItems(f.View, answer)
}

// inspect asks the tool loop_inspect, so that both doors show the same.
func (h *host) inspect(ctx context.Context, id loops.ID, f showFlags) (json.RawMessage, error) {
	arguments := struct {
		LoopID loops.ID `json:"loop_id"`
		showFlags
	}{LoopID: id, showFlags: f}
	message, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call",
		"params": map[string]any{"name": "loop_inspect", "arguments": arguments}})
	if err != nil {
		return nil, err
	}
	server := mcpserver.New(func(context.Context) (*loops.Engine, error) { return h.Engine, nil },
		&mcpserver.Options{Approvals: h.settings.Approvals, Logger: h.log})
	reply, err := json.Marshal(server.HandleMessage(ctx, message))
	if err != nil {
		return nil, err
	}
	return toolAnswer(reply)
}

// toolAnswer takes the answer of a tool call out of its envelope.
func toolAnswer(reply []byte) (json.RawMessage, error) {
	var envelope struct {
		Result struct {
			StructuredContent json.RawMessage `json:"structuredContent"`
			IsError           bool            `json:"isError"`
			Content           []struct {
				Text string `json:"text"`
			} `json:"content"`
		} `json:"result"`
		Error *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(reply, &envelope); err != nil {
		return nil, fmt.Errorf("read the answer of loop_inspect: %w", err)
	}
	switch r := envelope.Result; {
	case envelope.Error != nil:
		return nil, errors.New(envelope.Error.Message)
	case r.IsError && len(r.Content) > 0:
		return nil, usagef("%s", r.Content[0].Text)
	case len(r.StructuredContent) == 0:
		return nil, errors.New("loop_inspect gave an empty answer")
	default:
		return r.StructuredContent, nil
	}
}

// unknown says of an id that the store does not have what to do.
func unknown(id loops.ID, err error) error {
	if !errors.Is(err, loops.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w: %s; loop-mcp ls shows what there is", loops.ErrNotFound, id)
}

var idShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// checkID refuses what no loop can be called before the store is asked.
func checkID(id loops.ID) error {
	if len(id) <= 90 && idShape.MatchString(string(id)) {
		return nil
	}
	return fmt.Errorf("%w: %q; an id looks like fix-build-7k3q, and loop-mcp ls prints them", loops.ErrNotFound, clip(plain(string(id)), 80))
}
