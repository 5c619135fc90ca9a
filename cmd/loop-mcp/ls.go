package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver"
	"github.com/spf13/cobra"
)

func (a *app) lsCommand() *cobra.Command {
	var statuses, labels []string
	f := loops.Filter{Limit: 20}
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List loops: those that need somebody first, then live ones, then settled ones",
		Example: "  loop-mcp ls\n  loop-mcp ls --status running,your_turn\n" +
			"  loop-mcp ls --label team=docs --json",
		Args:              args(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if f.Labels, err = pairs("--label", labels); err != nil {
				return err
			}
			if f.Statuses, err = statusList(statuses); err != nil {
				return err
			}
			if f.Limit < 1 || f.Limit > 100 {
				return usagef("--limit: must be between 1 and 100, got %d", f.Limit)
			}
			return a.ls(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&statuses, "status", nil, "only loops in these statuses, separated by commas")
	flags.StringArrayVar(&labels, "label", nil, "only loops with this label, NAME=VALUE; may be repeated")
	flags.IntVar(&f.Limit, "limit", 20, "loops a page, at most 100")
	flags.StringVar(&f.Page, "page", "", "the next page, as the last answer named it")
	complete(cmd, "status", statusNames()...)
	a.jsonFlag(cmd)
	return cmd
}

func statusNames() []string {
	var names []string
	for _, s := range loops.Statuses() {
		names = append(names, string(s))
	}
	return names
}

func statusList(names []string) ([]loops.Status, error) {
	var list []loops.Status
	for _, name := range names {
		if !slices.Contains(statusNames(), name) {
			return nil, usagef("--status: must be one of %s, got %q", strings.Join(statusNames(), ", "), clip(plain(name), 40))
		}
		list = append(list, loops.Status(name))
	}
	return list, nil
}

func (a *app) ls(ctx context.Context, f loops.Filter) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	var heads []loops.Head
	next := ""
	if has, err := s.hasStore(); err != nil {
		return err
	} else if has {
		h, err := a.openFor(ctx, s, true)
		if err != nil {
			return err
		}
		defer h.close()
		if heads, next, err = h.List(ctx, f); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(listOf(heads, next))
	}
	a.printHeads(heads)
	if next != "" {
		fmt.Fprintf(a.stderr, "There are more: add --page %s\n", next)
	}
	return nil
}

// listOf is the shape that loop_list answers with.
func listOf(heads []loops.Head, next string) any {
	list := []mcpserver.ListItem{}
	for _, h := range heads {
		list = append(list, mcpserver.ListItem{LoopID: h.ID, Name: h.Name, Status: h.Status, Summary: h.Summary, UpdatedAt: h.UpdatedAt})
	}
	answer := map[string]any{"items": list}
	if next != "" {
		answer["next_page"] = next
	}
	return answer
}

func (a *app) printHeads(heads []loops.Head) {
	if len(heads) == 0 {
		fmt.Fprintln(a.stderr, "No loops. Start one with: loop-mcp run FILE")
		return
	}
	rows := [][]string{{"LOOP", "STATUS", "PASS", "STARTS", "COST", "UPDATED"}}
	for _, h := range heads {
		rows = append(rows, []string{string(h.ID), string(h.Status), fmt.Sprintf("%d/%d", h.Pass, h.Limits.MaxPasses),
			fmt.Sprintf("%d/%d", h.Ledger.Starts, h.Limits.MaxIterations), h.Ledger.CostUSD.String(), ago(time.Since(h.UpdatedAt))})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	color := isTerminal(a.stdout) && a.color()
	for i, row := range rows {
		var b strings.Builder
		for j, cell := range row {
			padded := fmt.Sprintf("%-*s  ", widths[j], cell)
			if j == 1 && i > 0 && color {
				padded = "\x1b[" + statusColor(loops.Status(cell)) + "m" + padded + "\x1b[0m"
			}
			b.WriteString(padded)
		}
		fmt.Fprintln(a.stdout, strings.TrimRight(b.String(), " "))
	}
}

func statusColor(s loops.Status) string {
	switch {
	case s == loops.Completed:
		return "32"
	case s == loops.YourTurn || s == loops.NeedsInput:
		return "33"
	case s == loops.Failed || s == loops.Blocked || s == loops.Stalled:
		return "31"
	case s.Settled():
		return "2"
	}
	return "36"
}

// ago is a rough age.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// completeIDs completes the ids of loops; of none when the store can't be opened
// soon.
func (a *app) completeIDs(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	s, err := a.settings()
	if err != nil || len(given) > 0 {
		return nil, none
	}
	if has, err := s.hasStore(); err != nil || !has {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	h, err := a.openFor(ctx, s, true)
	if err != nil {
		return nil, none
	}
	defer h.close()
	heads, _, err := h.List(ctx, loops.Filter{Limit: 100})
	if err != nil {
		return nil, none
	}
	var ids []string
	for _, head := range heads {
		ids = append(ids, string(head.ID)+"\t"+plain(head.Summary))
	}
	return ids, none
}
