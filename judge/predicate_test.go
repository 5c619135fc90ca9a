package judge

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func config(t testing.TB, c loops.Condition) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// evidence is what most tests look at.
func evidence() loops.Evidence {
	score := 60.0
	ledger := loops.Ledger{Starts: 4, Iterations: 3, Passes: 2, ActiveSeconds: 71.5, Failures: 1}
	ledger.Usage = loops.Usage{InputTokens: 8000, OutputTokens: 1000, TotalTokens: 9000, CostUSD: 150_000, ToolCalls: 7}
	return loops.Evidence{
		Iteration: 3, Pass: 2, Output: `{"score": 60, "issues": [{"sev": "low"}], "text": "ALL TESTS PASS"}`, Score: &score,
		Memory: json.RawMessage(`{"tries": 2}`), Ledger: ledger, Limits: loops.DefaultLimits(),
		Inputs:  map[string]any{"target": int64(50), "name": "demo", "strict": true, "ratio": 0.5},
		History: []string{"30", "45"}, Elapsed: 90 * time.Second,
	}
}

func judgePredicate(t *testing.T, e loops.Evidence, expression string) (loops.Verdict, error) {
	t.Helper()
	e.Config = config(t, loops.Condition{Kind: loops.StopPredicate, Expression: expression})
	return new(Predicate).Judge(t.Context(), e)
}

func TestPredicateMeanings(t *testing.T) {
	tests := []struct {
		expression string
		met        bool
		reason     string
	}{
		{"score >= 90", false, "score >= 90 is false (score 60)"},
		{"score >= 60", true, "score >= 60 is true (score 60)"},
		{"score == 60", true, "score == 60 is true (score 60)"},
		{"score > 59.5 && score != null", true, ""},
		{"json.score >= inputs.target", true, "json.score >= inputs.target is true (json.score 60, inputs.target 50)"},
		{`output.contains("ALL TESTS PASS")`, true, ""},
		{`output.matches("TESTS? PASS")`, true, ""},
		{`json.text == "ALL TESTS PASS" && size(json.issues) == 1`, true, ""},
		{`json.issues.all(i, i.sev != "high")`, true, `json.issues.all(i, i.sev != "high") is true (json.issues [{"sev":"low"}])`},
		{`json.?missing.orValue("") == "done"`, false, ""},
		{"has(json.missing)", false, `has(json.missing) is false (json {"issues":[{"sev":"low"}],"score":60,"text":"ALL TESTS PASS"})`},
		{"memory.tries == 2", true, "memory.tries == 2 is true (memory.tries 2)"},
		{"iteration == 3 && pass == 2", true, "iteration == 3 && pass == 2 is true (iteration 3, pass 2)"},
		{"usage.total_tokens == 9000 && usage.cost_usd == 0.15 && usage.starts == 4", true, ""},
		{"usage.active_seconds > 71 && usage.failures == 1 && usage.tool_calls == 7 && usage.input_tokens == 8000 && usage.output_tokens == 1000", true, ""},
		{"usage.iterations == 3 && usage.passes == 2", true, ""},
		{"limits.max_passes == 10 && limits.max_iterations == 50 && limits.max_failures == 3 && limits.max_tool_calls == 200", true, ""},
		{"limits.max_duration == 86400.0 && limits.max_active == 7200.0 && limits.iteration_timeout == 600.0", true, ""},
		{"limits.max_total_tokens == 400000 && limits.max_cost_usd == 2.0", true, ""},
		{"elapsed_seconds > 0.001 * limits.max_duration", true, ""},
		{`inputs.name == "demo" && inputs.strict && inputs.ratio < 1`, true, ""},
		{`history == ["30", "45"] && history[size(history) - 1] == "45"`, true, ""},
		{"history.map(h, int(h)).exists(n, n > 44)", true, ""},
		{`int(regex.extract(output, r"score.: (\d+)").orValue("0")) >= 60`, true, ""},
		{"math.greatest(1, 2.5) > 2 && [3, 1].sort()[0] == 1", true, ""},
		{"cel.bind(n, size(history), n == 2)", true, "cel.bind(n, size(history), n == 2) is true (history [\"30\",\"45\"])"},
		{"true", true, "true is true"},
		{"score\n  >=\t90", false, "score >= 90 is false (score 60)"},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			v, err := judgePredicate(t, evidence(), tt.expression)
			if err != nil || v.Met != tt.met || tt.reason != "" && v.Reason != tt.reason {
				t.Errorf("got %t, %q, %v; want %t, %q", v.Met, v.Reason, err, tt.met, tt.reason)
			}
			if v.Kind != loops.StopPredicate || v.Iteration != 3 || v.Pass != 2 || (v.Feedback == "") != v.Met {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestPredicateWithNothingToSee(t *testing.T) {
	for expression, met := range map[string]bool{
		"score == null": true, "json == null": true, "memory == null": true, "size(history) == 0": true, "size(inputs) == 0": true,
		`output == ""`: true, "iteration > 0": false,
	} {
		if v, err := judgePredicate(t, loops.Evidence{}, expression); err != nil || v.Met != met {
			t.Errorf("%s: got %t, %v", expression, v.Met, err)
		}
	}
	if v, err := judgePredicate(t, loops.Evidence{}, "score == null"); err != nil || v.Reason != "score == null is true (score null)" {
		t.Errorf("no score is told as %q, %v", v.Reason, err)
	}
}

func TestPredicateErrorsAreNoVerdicts(t *testing.T) {
	big := evidence()
	big.Output = strings.Repeat("x", maxText+1)
	tests := []struct {
		name, expression string
		e                loops.Evidence
		want             string
	}{
		{"no such key", "json.missing == 1", evidence(), "predicate json.missing == 1: no such key: missing: for a key that may be missing write .?key.orValue(…)"},
		{"no such input", `inputs.nme == "x"`, evidence(), "no such key: nme"},
		{"null", "score > 1", loops.Evidence{}, "no such overload"},
		{"division by zero", "iteration / 0 > 1", evidence(), "division by zero"},
		{"index", `history[5] == "x"`, evidence(), "index out of bounds: 5"},
		{"no boolean", "json.score", evidence(), "predicate json.score: must be true or false, is 60"},
		{"a long expression leaves room for what is wrong", strings.Repeat("true && ", 30) + "json.missing == 1", evidence(),
			"predicate " + strings.Repeat("true && ", 7) + "true…: no such key: missing"},
		{"large output", `output == ""`, big, "output has 8388609 bytes, more than the 8 MiB that a predicate can look at"},
		{"large output as JSON", `json == null`, big, "json has 8388609 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := judgePredicate(t, tt.e, tt.expression)
			if err == nil || !strings.Contains(err.Error(), tt.want) || v.Met {
				t.Errorf("got %+v, %v; want %s", v, err, tt.want)
			}
		})
	}
	if v, err := judgePredicate(t, big, "iteration == 3"); err != nil || !v.Met {
		t.Errorf("a large output that is not looked at: %+v, %v", v, err)
	}
}

func TestPredicateCheckPointsAtThePlace(t *testing.T) {
	tests := []struct{ name, expression string }{
		{"misspelt", "outptu == 'x'"},
		{"misspelt-field", "usage.token > 5"},
		{"syntax", "score >="},
		{"type", `iteration == "3"`},
		{"equal-numbers", "usage.cost_usd == 2"},
		{"not-boolean", "iteration + 1"},
		{"second-line", "score > 1\n&& scor > 2"},
		{"argument", "score > size()"},
		{"broken-pattern", `output.matches("(((")`},
		{"empty", " "},
		{"nul", "score\x00 > 1"},
	}
	var all strings.Builder
	for _, tt := range tests {
		err := new(Predicate).Check(loops.Setup{Config: config(t, loops.Condition{Expression: tt.expression})})
		found := loops.FieldErrors(err)
		if len(found) != 1 || found[0].Field != "expression" {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		all.WriteString("# " + tt.name + "\n" + found[0].Problem + "\n\n")
	}
	golden(t, "testdata/problems.txt", all.String())
	if err := new(Predicate).Check(loops.Setup{Config: config(t, loops.Condition{Expression: "score > 1"})}); err != nil {
		t.Errorf("refused: %v", err)
	}
	if err := new(Predicate).Check(loops.Setup{Config: json.RawMessage(`{"expression":5}`)}); !errors.Is(err, loops.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestPredicateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(loops.ErrShutdown)
	e := evidence()
	e.Config = config(t, loops.Condition{Expression: "lists.range(1000).all(a, lists.range(1000).all(b, a + b >= 0))"})
	if _, err := new(Predicate).Judge(ctx, e); !errors.Is(err, loops.ErrShutdown) {
		t.Errorf("got %v", err)
	}
}

func TestPredicateSaysWhoseWordsDecide(t *testing.T) {
	for expression, want := range map[string]bool{
		"score > 1": true, `output != ""`: true, "json != null": true, "memory != null": true, "size(history) > 1": true,
		"score > 1 && iteration > 1": true, "iteration > 1": false, "usage.cost_usd > 1.0 || elapsed_seconds > 5": false,
		"limits.max_passes > pass": false, "inputs.target == 50": false,
	} {
		if v, err := judgePredicate(t, evidence(), expression); err != nil || v.SelfReported != want {
			t.Errorf("%s: got %t, %v", expression, v.SelfReported, err)
		}
	}
}

func TestPredicateFingerprintIsTheOutput(t *testing.T) {
	prints := make(map[string]bool)
	for _, output := range []string{"a", "b", "a"} {
		e := evidence()
		e.Output, e.Iteration = output, len(prints)
		v, err := judgePredicate(t, e, "iteration > 100")
		if err != nil {
			t.Fatal(err)
		}
		prints[v.Fingerprint] = true
	}
	if len(prints) != 2 {
		t.Errorf("got %d fingerprints for two outputs", len(prints))
	}
}

func TestPredicateReasonsAreClipped(t *testing.T) {
	e := evidence()
	e.Output = strings.Repeat("é", 5000)
	v, err := judgePredicate(t, e, `output == "`+strings.Repeat("y", 3000)+`"`)
	if err != nil || len(v.Reason) > shownExpr+2*shownValue+100 {
		t.Errorf("%d bytes: %s, %v", len(v.Reason), v.Reason, err)
	}
}

func TestPredicateCacheIsBounded(t *testing.T) {
	var p Predicate
	for i := range 2*maxCached + 10 {
		e := evidence()
		e.Config = config(t, loops.Condition{Expression: "iteration > " + strings.Repeat("1", 1+i%15) + " + " + strings.Repeat("0", i/15) + "1"})
		if _, err := p.Judge(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.cache) == 0 || len(p.cache) > maxCached {
		t.Errorf("%d programs are kept", len(p.cache))
	}
}
