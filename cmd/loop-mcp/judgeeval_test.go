package main

import (
	"strings"
	"testing"

	"example.com/loop-mcp/judge"
)

// openJudge is a model that never finds anything met. Each answer is about one
// set of criteria, as the corpus has them.
const openJudge = `models:
  fast: { provider: script, model: never, script: never.yaml, price: { input: 1, output: 5 } }
  dear: { provider: script, model: never, script: never.yaml, price: { input: 90000, output: 90000 } }
  secret: { provider: script, model: never, script: never.yaml }
`

func judgeBox(t *testing.T) *box {
	b := newBox(t)
	b.write("config/loop-mcp/config.yaml", openJudge)
	b.write("config/loop-mcp/never.yaml", "turns:\n- say: I would rather not say.\n")
	return b
}

func TestJudgeEval(t *testing.T) {
	b := judgeBox(t)
	r := b.want(0, []string{"judge-eval", "--model", "fast", "--limit", "12"}, "12 cases for fast (script/never), at most $1.00", "CASE", "false done        0 of", "prompt v1:")
	if got := strings.Count(r.stderr, "/12 "); got != 12 {
		t.Errorf("%d lines of progress: %s", got, r.stderr)
	}
	if strings.Contains(r.stdout, "FALSE DONE") {
		t.Errorf("a false done: %s", r.stdout)
	}
	report := b.answer(b.want(0, []string{"judge-eval", "--limit", "12", "--json"}))
	if report["model"] != "fast" || len(report["outcomes"].([]any)) != 12 || report["false_done"].(map[string]any)["count"] != 0.0 {
		t.Errorf("%v", report)
	}
}

func TestJudgeEvalStopsAtItsLimit(t *testing.T) {
	b := judgeBox(t)
	b.want(exitCapped, []string{"judge-eval", "--model", "dear", "--max-cost-usd", "0.01"}, "stopped early: $0.00 are spent, $0.01 are left", "raise max-cost-usd")
}

func TestJudgeEvalRefuses(t *testing.T) {
	b := judgeBox(t)
	for _, test := range []struct {
		code int
		args []string
		says string
	}{
		{exitProblem, []string{"--model", "secret"}, "nobody knows what script/never costs"},
		{exitUsage, []string{"--model", "fats"}, "did you mean fast?"},
		{exitUsage, []string{"--max-cost-usd", "0"}, "--max-cost-usd: must be a number of dollars above 0"},
		{exitUsage, []string{"--max-cost-usd", "cheap"}, `got "cheap"`},
		{exitUsage, []string{"--limit", "-1"}, "--limit: must be at least 1"},
		{exitUsage, []string{"fast"}, "usage: loop-mcp judge-eval"},
	} {
		b.want(test.code, append([]string{"judge-eval"}, test.args...), test.says)
	}
}

func TestSpread(t *testing.T) {
	all := make([]judge.Case, 100)
	for i := range all {
		all[i].Calls = i
	}
	if got := spread(all, 4); len(got) != 4 || got[0].Calls != 0 || got[1].Calls != 25 || got[3].Calls != 75 {
		t.Errorf("%+v", got)
	}
	for _, n := range []int{0, 100, 500} {
		if got := spread(all, n); len(got) != 100 {
			t.Errorf("%d: %d cases", n, len(got))
		}
	}
}
