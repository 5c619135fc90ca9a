package main

import (
	"context"
	"fmt"
	"strconv"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/loops"
	"github.com/spf13/cobra"
)

func (a *app) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that the store has all it acknowledged, undamaged",
		Long: "Check the store: every record of every loop with its checksums and its place in the journal,\n" +
			"the outputs and blobs that it refers to, the records beside the loops, and that nothing is\n" +
			"older than its high-water mark. No loop is changed or worked on.\n" +
			"Exit code 1 when something is damaged.",
		Example:           "  loop-mcp verify\n  loop-mcp verify --json | jq '.loops[] | select(.problems)'",
		Args:              args(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.verify(cmd.Context())
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) verify(ctx context.Context) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	v := kvstate.Verification{Loops: []kvstate.Checked{}}
	has, err := s.hasStore()
	if err == nil && has {
		v, err = a.verified(ctx, s)
	}
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		a.printVerification(v, s.where())
	}
	if v.Damaged() > 0 {
		return &exitError{code: exitProblem}
	}
	return nil
}

func (a *app) verified(ctx context.Context, s settings) (kvstate.Verification, error) {
	h, err := a.openFor(ctx, s, true)
	if err != nil {
		return kvstate.Verification{}, err
	}
	defer h.close()
	return h.store.Verify(ctx)
}

func (a *app) printVerification(v kvstate.Verification, dir string) {
	if len(v.Loops)+v.Beside+v.Damaged() == 0 {
		fmt.Fprintf(a.stdout, "There is nothing in the store in %s.\n", dir)
		return
	}
	if len(v.Loops) > 0 {
		fmt.Fprintf(a.stdout, "%-32s %-11s %10s %10s %7s  %s\n", "LOOP", "STATUS", "ITERATIONS", "RECORDS", "BLOBS", "CHECK")
	}
	for _, c := range v.Loops {
		check, status := "ok", c.Status
		if len(c.Problems) > 0 {
			check, status = "damaged", loops.Failed
		}
		fmt.Fprintf(a.stdout, "%-32s %-11s %10s %10d %7d  %s\n", c.ID, status, strconv.Itoa(c.Iterations), c.Records, c.Blobs, check)
	}
	for _, c := range v.Loops {
		for _, problem := range c.Problems {
			fmt.Fprintf(a.stdout, "%s: %s\n", c.ID, plain(problem))
		}
	}
	for _, problem := range v.Problems {
		fmt.Fprintln(a.stdout, plain(problem))
	}
	marks := "with a high-water mark"
	if !v.Marked {
		marks = "without a high-water mark: records that are gone as a whole are not noticed"
	}
	fmt.Fprintf(a.stdout, "%d loops and %d records beside them in %s, %s; damaged: %d\n", len(v.Loops), v.Beside, dir, marks, v.Damaged())
}
