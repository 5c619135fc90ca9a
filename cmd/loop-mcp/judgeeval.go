package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"

	"example.com/loop-mcp/judge"
	"example.com/loop-mcp/loops"
	"github.com/spf13/cobra"
)

type judgeEvalFlags struct {
	model   string
	limit   int
	maxCost string
}

func (a *app) judgeEvalCommand() *cobra.Command {
	var f judgeEvalFlags
	cmd := &cobra.Command{
		Use:   "judge-eval",
		Short: "Measure how often a model is wrong as a judge",
		Long: "Put a model through a corpus of true and false claims, with the same prompt, rules and\n" +
			"second vote as in a loop, and print how often it said done where it was not, and the\n" +
			"reverse. This calls the model for real and costs money, never more than --max-cost-usd.\n" +
			"Exit code 3 when that limit ended it.",
		Example: "  loop-mcp judge-eval --model fast\n  loop-mcp judge-eval --model local --limit 20 --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.judgeEval(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.model, "model", "", "name of a configured model (default: the one that judges)")
	flags.IntVar(&f.limit, "limit", 0, "how many cases, spread over the corpus (default: all)")
	flags.StringVar(&f.maxCost, "max-cost-usd", "1", "the most that it may cost, in dollars")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) judgeEval(ctx context.Context, f judgeEvalFlags) error {
	var limit loops.USD
	if err := json.Unmarshal([]byte(f.maxCost), &limit); err != nil || limit == 0 {
		return usagef("--max-cost-usd: must be a number of dollars above 0, such as 0.50, got %q", clip(plain(f.maxCost), 60))
	}
	if f.limit < 0 {
		return usagef("--limit: must be at least 1, got %d", f.limit)
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	models := newCatalog(s.config, s.env, dialer(s.env))
	ref, err := models.Resolve(f.model, loops.RoleJudge)
	if err != nil {
		return usagef("--model: %w", err)
	}
	cases, err := judge.Corpus()
	if err != nil {
		return err
	}
	cases = spread(cases, f.limit)
	ctx, stop := signal.NotifyContext(ctx, endSignals()...)
	defer stop()
	o := &judge.EvalOptions{MaxCost: limit}
	if !a.json {
		fmt.Fprintf(a.stderr, "%d cases for %s (%s), at most %s\n", len(cases), ref.Name, ref.ID, limit)
		o.Progress = a.judged(len(cases))
	}
	report, err := judge.Evaluate(ctx, models, ref.Name, cases, o)
	if err != nil {
		return err
	}
	if err := a.printReport(report); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return &exitError{code: exitInterrupted}
	case report.Capped:
		return &exitError{code: exitCapped}
	case report.Stopped != "":
		return &exitError{code: exitProblem}
	}
	return nil
}

// judged prints one line a case.
func (a *app) judged(total int) func(judge.Outcome) {
	n := 0
	return func(o judge.Outcome) {
		n++
		word := "right"
		if !o.Right() {
			word = "is " + o.Truth
		}
		fmt.Fprintf(a.stderr, "%d/%d %s/%s: %s, %s\n", n, total, o.Theme, o.Name, o.Got, word)
	}
}

func (a *app) printReport(r judge.Report) error {
	if a.json {
		return a.printJSON(r)
	}
	return r.WriteText(safeWriter{a})
}

// safeWriter writes to stdout what a model may have had a part in.
type safeWriter struct{ *app }

// Write implements io.Writer.
func (w safeWriter) Write(p []byte) (int, error) {
	_, err := fmt.Fprint(w.stdout, harmless(string(p)))
	return len(p), err
}

// spread picks n of cases, evenly; 0 is all of them.
func spread(cases []judge.Case, n int) []judge.Case {
	if n == 0 || n >= len(cases) {
		return cases
	}
	picked := make([]judge.Case, n)
	for i := range picked {
		picked[i] = cases[i*len(cases)/n]
	}
	return picked
}
