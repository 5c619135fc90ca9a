package loops

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// thirdPass is a loop of which two iterations are committed.
func thirdPass() State {
	return State{
		ID: "fix-7k3q", Iteration: 2, Pass: 3, Epoch: 1,
		Origin: Origin{
			Spec: Spec{Name: "fix", Goal: "Make {{ inputs.package }} pass.", Context: "A small module.",
				Inputs: map[string]Input{"package": {}, "unset": {}}, Body: BodySpec{Kind: BodyCommand, Run: []string{"x"}}},
			Inputs: map[string]string{"package": "./a b {{ goal }}"},
		},
		Limits: DefaultLimits(),
		Ledger: Ledger{Starts: 3, Iterations: 2, Passes: 2, ActiveSeconds: 71.25, Failures: 1,
			Usage: Usage{InputTokens: 8123, OutputTokens: 911, TotalTokens: 9034, CostUSD: 150_000, ToolCalls: 4}},
		Elapsed:  Duration(90 * time.Minute),
		Feedback: "2 tests fail", Output: Text{Text: "I changed {{ steer }} it"},
		Steers: []Steer{{Text: "first", Seen: true}, {Text: "second"}},
	}
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "",
		"plain }} { {} text":                  "plain }} { {} text",
		"{{ goal }}|{{context}}":              "Make ./a b {{ goal }} pass.|A small module.",
		"{{\tinputs.package\n}}":              "./a b {{ goal }}",
		"[{{ inputs.unset }}]":                "[]",
		"{{ output }}/{{ feedback }}":         "I changed {{ steer }} it/2 tests fail",
		"{{ steer }}":                         "first\n\nsecond",
		"{{loop_id}} {{iteration}} {{pass}}":  "fix-7k3q 3 3",
		"{{limits.max_passes}} of":            "10 of",
		"{{limits.max_cost_usd}}":             "2",
		"{{limits.iteration_timeout}}":        "10m0s",
		"{{usage.starts}} {{usage.cost_usd}}": "3 0.15",
		"{{usage.active_seconds}}":            "71.25",
		"{{usage.total_tokens}}":              "9034",
		"{{left.passes}} {{left.max_passes}}": "8 8",
		"{{left.iterations}}":                 "47",
		"{{left.cost_usd}}":                   "1.85",
		"{{left.duration}} {{left.active}}":   "22h30m0s 1h58m48.75s",
		"{{left.total_tokens}}":               "390966",
		"{{left.tool_calls}}":                 "196",
		"{{left.failures}}":                   "2",
		`{{"{{"}} x }} {{ "{{" }}`:            "{{ x }} {{",
		"{{ iteration }}{{ iteration }}":      "33",
	} {
		got, err := expand(in, thirdPass())
		if err != nil || got != want {
			t.Errorf("%q expands to %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestExpandFloorsWhatIsLeft(t *testing.T) {
	s := thirdPass()
	s.Ledger.CostUSD, s.Ledger.Starts, s.Elapsed = 3*Dollar, 60, Duration(48*time.Hour)
	got, err := expand("{{left.cost_usd}} {{left.iterations}} {{left.duration}}", s)
	if err != nil || got != "0 0 0s" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTemplateMistakes(t *testing.T) {
	for in, want := range map[string]string{
		"{{ gaol }}":                   "unknown name in {{ gaol }}, did you mean goal?",
		"{{ input.package }}":          "unknown name in {{ input.package }}, did you mean inputs.package?",
		"{{ inputs.x }}":               "unknown name in {{ inputs.x }}: no input x is declared",
		"{{ user.name }}":              `unknown name in {{ user.name }}; for the braces themselves write {{"{{"}}`,
		"{{ left.iteration_timeout }}": "unknown name in {{ left.iteration_timeout }}, did you mean limits.iteration_timeout?",
		"{{ a b }}":                    `{{ a b }} is not a name; for the braces themselves write {{"{{"}}`,
		"{{}}":                         `{{}} is not a name; for the braces themselves write {{"{{"}}`,
		"x {{ goal":                    `{{ goal is not closed by }}; for the braces themselves write {{"{{"}}`,
		`{{"{{" x}}`:                   `{{"{{" x}} is not a name; for the braces themselves write {{"{{"}}`,
	} {
		err := checkTemplate(in, scopeText, map[string]Input{"package": {}})
		if err == nil || err.Error() != want {
			t.Errorf("%q gives %v, want %s", in, err, want)
		}
	}
}

// What a body, a person or a condition wrote stays out of command lines.
func TestTemplateScopes(t *testing.T) {
	inputs := map[string]Input{"package": {}}
	for _, name := range templateNames(scopeText, inputs) {
		group, _, _ := strings.Cut(name, ".")
		written := strings.Contains(" goal context feedback steer output usage ", " "+group+" ")
		if err := checkTemplate("{{"+name+"}}", scopeSettings, inputs); (err != nil) != written {
			t.Errorf("%s in a command line: %v", name, err)
		}
		if err := checkTemplate("{{"+name+"}}", scopeText, inputs); err != nil {
			t.Errorf("%s in a text: %v", name, err)
		}
	}
	s := thirdPass()
	s.Origin.Spec.Body.Run = []string{"x", "{{ output }}"}
	if _, err := expandBody(s); err == nil {
		t.Error("a stored spec expands output into a command line")
	}
}

func TestExpandIsBounded(t *testing.T) {
	s := thirdPass()
	s.Output.Text = strings.Repeat("ä", 100_000)
	got, err := expand("{{ output }}", s)
	if err != nil || len(got) > maxTemplateValue || !strings.Contains(got, "bytes or more left out") {
		t.Errorf("a long output becomes %d bytes, %v", len(got), err)
	}
	if _, err := expand(strings.Repeat("{{ output }}", 5), s); err == nil {
		t.Error("a text above the limit is accepted")
	}
	if _, err := expand(strings.Repeat("x", MaxPromptSize+1), s); err == nil {
		t.Error("a plain text above the limit is accepted")
	}
	s.Origin.Inputs["package"] = strings.Repeat("x", 40_000)
	s.Origin.Spec.Body.Run = []string{"x", "{{inputs.package}}{{inputs.package}}"}
	_, err = expandBody(s)
	wantProblems(t, err, "run[1]: is more than 65536 bytes once its templates are expanded")
}

func TestExpandBodyKeepsArgumentsApart(t *testing.T) {
	s := thirdPass()
	s.Origin.Inputs["package"] = `a b; rm -rf "$HOME" {{ loop_id }}`
	s.Origin.Spec.Body = BodySpec{Kind: BodyCommand, Run: []string{"go", "test", "{{ inputs.package }}", "-n={{ iteration }}"}, Cwd: "{{ loop_id }}",
		Env: map[string]string{"PASS": "{{ pass }}"}, Stdin: "{{ feedback }}", With: json.RawMessage(`{"{{ pass }}":["{{ feedback }}",1.50],"a":"<"}`)}
	before, _ := json.Marshal(s.Origin.Spec)
	got, err := expandBody(s)
	if err != nil {
		t.Fatal(err)
	}
	want := BodySpec{Kind: BodyCommand, Run: []string{"go", "test", `a b; rm -rf "$HOME" {{ loop_id }}`, "-n=3"}, Cwd: "fix-7k3q",
		Env: map[string]string{"PASS": "3"}, Stdin: "2 tests fail", With: json.RawMessage(`{"a":"\u003c","{{ pass }}":["2 tests fail",1.50]}`)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if after, _ := json.Marshal(s.Origin.Spec); string(after) != string(before) {
		t.Errorf("the spec itself changed to %s", after)
	}
}

func TestExpandCondition(t *testing.T) {
	c := Condition{All: []Condition{
		{Kind: StopCommand, Run: []string{"x", "{{ pass }}"}, Cwd: "{{ loop_id }}"},
		{Not: &Condition{Kind: StopHuman, Question: "{{ output }}?"}},
		{Kind: StopPredicate, Expression: "output == '{{ goal }}'"},
	}}
	before, _ := json.Marshal(c)
	got, err := expandCondition(c, thirdPass())
	want := Condition{All: []Condition{
		{Kind: StopCommand, Run: []string{"x", "3"}, Cwd: "fix-7k3q"},
		{Not: &Condition{Kind: StopHuman, Question: "I changed {{ steer }} it?"}},
		{Kind: StopPredicate, Expression: "output == '{{ goal }}'"},
	}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, condition (-want +got):\n%s", err, diff)
	}
	if after, _ := json.Marshal(c); string(after) != string(before) {
		t.Errorf("the condition itself changed to %s", after)
	}
	_, err = expandCondition(Condition{Any: []Condition{{Run: []string{"{{ output }}"}}}}, thirdPass())
	wantProblems(t, err, "any[0].run[0]: {{ output }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin")
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"", "{{ goal }}", `{{"{{"}}`, "{{{{ goal }}}}", "{{ output }}{{ inputs.package }}", "{{", "}}{{}}", "{{ left.cost_usd }}"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, text, output string) {
		s := thirdPass()
		s.Output.Text, s.Origin.Inputs["package"] = output, output
		checked := checkTemplate(text, scopeText, s.Origin.Spec.Inputs)
		got, err := expand(text, s)
		if len(got) > MaxPromptSize {
			t.Fatalf("%d bytes", len(got))
		}
		if checked != nil && err == nil {
			t.Fatalf("%q is refused (%v) and expands to %q", text, checked, got)
		}
		if err == nil && !strings.Contains(text, "{{") && got != text {
			t.Fatalf("%q without a template became %q", text, got)
		}
		// A value is never a template, and the braces have one spelling.
		literal, err := expand(strings.ReplaceAll(text, "{{", `{{"{{"}}`), s)
		if len(text) < 1000 && (err != nil || literal != text) {
			t.Fatalf("%q quoted becomes %q, %v", text, literal, err)
		}
		if whole, err := expand("{{ output }}", s); err != nil || len(output) < maxTemplateValue && whole != output {
			t.Fatalf("output %q becomes %q, %v", output, whole, err)
		}
		if checkTemplate(text, scopeSettings, s.Origin.Spec.Inputs) != nil {
			return
		}
		s.Output.Text = "other"
		s.Feedback, s.Steers, s.Ledger.Usage = "other", nil, Usage{}
		one, _ := expandIn(text, s, scopeSettings, MaxPromptSize)
		s.Output.Text, s.Feedback = "again", "again"
		if two, _ := expandIn(text, s, scopeSettings, MaxPromptSize); one != two {
			t.Fatalf("what a body wrote reached %q", text)
		}
	})
}
