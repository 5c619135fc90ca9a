package loopfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/google/go-cmp/cmp"
)

// least is the shortest useful YAML loop file.
const least = "goal: g\nbody: {kind: command, run: [go, test]}\nuntil: {all: [{kind: claim}]}\n"

// whole uses every kind of value that a spec has.
const whole = `# a comment
name: fix-build
description: Fix the build
inputs:
  package: { type: string, default: ./..., pattern: '\./[a-z/.]*' }
goal: |
  Make it pass.
  Really.
body:
  kind: command
  run: [go, run, ./repair, "1", "yes"]
  stdin: "{{ goal }}\n{{ feedback }}"
  env: { MODE: "on" }
until:
  check_first: true
  any:
    - all:
        - { kind: command, run: [go, test, "{{ inputs.package }}"], timeout: 10m }
        - not: { kind: predicate, expression: 'output == ""' }
    - kind: human
      question: Good?
limits:
  max_iterations: 40
  max_duration: 1h30m
  max_total_tokens: 400k
  max_cost_usd: 0.50
delay: 1s
stall: { passes: 0 }
`

func TestParseReadsEveryForm(t *testing.T) {
	want := loops.Spec{
		Name: "fix-build", Description: "Fix the build",
		Inputs: map[string]loops.Input{"package": {Type: "string", Default: "./...", Pattern: `\./[a-z/.]*`}},
		Goal:   "Make it pass.\nReally.\n",
		Body: loops.BodySpec{Kind: "command", Run: []string{"go", "run", "./repair", "1", "yes"},
			Stdin: "{{ goal }}\n{{ feedback }}", Env: map[string]string{"MODE": "on"}},
		Until: &loops.Until{CheckFirst: true, Any: []loops.Condition{
			{All: []loops.Condition{
				{Kind: "command", Run: []string{"go", "test", "{{ inputs.package }}"}, Timeout: loops.Duration(10 * time.Minute)},
				{Not: &loops.Condition{Kind: "predicate", Expression: `output == ""`}},
			}},
			{Kind: "human", Question: "Good?"},
		}},
		Limits: loops.Limits{MaxIterations: 40, MaxDuration: loops.Duration(90 * time.Minute), MaxTotalTokens: 400_000, MaxCostUSD: loops.Dollar / 2},
		Delay:  loops.Duration(time.Second),
		Stall:  &loops.Stall{},
	}
	tree, err := parseYAML(whole)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"a.loop.yaml": whole,
		"a.loop.yml":  "\ufeff---\n" + strings.ReplaceAll(whole, "\n", "\r\n"),
		"a.loop.json": string(tree.appendJSON(nil)),
		"a.loop.md":   "---\n" + strings.Replace(whole, `  stdin: "{{ goal }}\n{{ feedback }}"`+"\n", "", 1) + "---\n\n{{ goal }}\n{{ feedback }}\n\n",
	}
	for name, text := range files {
		got, err := Parse(name, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestParseMarkdownText(t *testing.T) {
	tests := []struct {
		name, front string
		want        func(loops.Spec) string
	}{
		{"client", "body: {kind: client}", func(s loops.Spec) string { return s.Body.Prompt }},
		{"no body means client", "", func(s loops.Spec) string { return s.Body.Prompt }},
		{"command", "body: {kind: command, run: [cat]}", func(s loops.Spec) string { return s.Body.Stdin }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := "---\ngoal: g\nuntil: {any: [{kind: claim}]}\n" + test.front + "\n---\n\n# Do {{ goal }}\n\n- one\n---\ntwo\n"
			s, err := Parse("x.loop.md", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := test.want(s), "# Do {{ goal }}\n\n- one\n---\ntwo"; got != want {
				t.Errorf("text is %q, want %q", got, want)
			}
		})
	}
}

// TestProblems says which line and field each kind of mistake is reported at.
func TestProblems(t *testing.T) {
	tests := []struct {
		name, file, text string
		line             int
		want             string // part of the error
	}{
		{"unknown key", "", least + "limits:\n  max_pases: 3\n", 5, "max_passes"},
		{"unknown key in a list", "", "goal: g\nbody: {kind: client}\nuntil:\n  all:\n    - kind: claim\n    - kind: command\n      runs: [x]\n", 7, "until.all[1].runs"},
		{"wrong type", "", least + "limits:\n  max_iterations: 40\n  max_passes: 3x\n", 6, "limits.max_passes"},
		{"bare number for a duration", "", least + "delay: 10\n", 4, "delay"},
		{"yes is no boolean", "", "goal: g\nbody: {kind: client}\nuntil:\n  check_first: yes\n  any: [{kind: claim}]\n", 4, "until.check_first"},
		{"on is no boolean", "", "goal: g\nbody: {kind: client}\nuntil:\n  check_first: on\n  any: [{kind: claim}]\n", 4, "until.check_first"},
		{"octal count is not the 10 it looks like", "", least + "limits:\n  max_passes: 010\n", 5, "010 is 8 in YAML"},
		{"hexadecimal count", "", least + "limits:\n  max_passes: 0x10\n", 5, "0x10 is 16 in YAML"},
		{"octal in argv", "", "goal: g\nbody:\n  kind: command\n  run: [chmod, 0755]\nuntil: {all: [{kind: claim}]}\n", 4, "0755 is 493 in YAML"},
		{"number in argv", "", "goal: g\nbody:\n  kind: command\n  run: [sleep, 1]\nuntil: {all: [{kind: claim}]}\n", 4, "body.run[1]"},
		{"missing goal", "", "# c\nbody: {kind: client}\nuntil: {all: [{kind: claim}]}\n", 2, "goal"},
		{"unknown template", "", "goal: g {{ inputs.nope }}\nbody: {kind: client}\nuntil: {all: [{kind: claim}]}\n", 1, "nope"},
		{"duplicate key", "", least + "goal: again\n", 4, "twice"},
		{"duplicate nested key", "", "goal: g\nbody: {kind: client, kind: command}\n", 2, "twice"},
		{"tab", "", "goal: g\nbody:\n\tkind: client\n", 3, "tab"},
		{"colon in text", "", "goal: fix this: now\n", 1, "quotes"},
		{"braces", "", "goal: {{ inputs.x }}\n", 1, "quotes"},
		{"reserved", "", "goal: @x\n", 1, "quotes"},
		{"second document", "", least + "---\ngoal: h\n", 5, "second document"},
		{"tag", "", "goal: !!str 5\n", 1, "tag"},
		{"merge key", "", "goal: &x {a: 1}\nbody:\n  <<: *x\n", 3, "merge keys"},
		{"unknown alias", "", "goal: *x\n", 1, "*x"},
		{"alias in itself", "", "goal: &x [*x]\n", 1, "*x"},
		{"infinity", "", least + "limits: {max_cost_usd: .inf}\n", 4, "unlimited"},
		{"list", "", "- goal\n", 1, "mapping"},
		{"text", "", "just do it\n", 1, "mapping"},
		{"unclosed list", "", "goal: [a, b\n", 1, "YAML"},
		{"unclosed quote", "", "goal: \"a\n", 1, "YAML"},
		{"empty", "", "", 1, "empty"},
		{"comments", "", "# nothing\n\n", 1, "empty"},
		{"not UTF-8", "", "goal: g\nname: \xff\n", 2, "UTF-8"},
		{"UTF-16", "", "\xff\xfeg\x00", 1, "UTF-16"},
		{"NUL", "", "goal: g\x00\n", 1, "0x00"},
		{"escape code", "", "goal: g\n# \x1b[31m\n", 2, "0x1b"},
		{"too deep", "", "goal: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), 1, "deeper"},
		{"too many elements", "", "goal: [" + strings.Repeat("a, ", 6000) + "a]", 1, "more than"},
		{"billion laughs", "", laughs(), 0, "more than"},

		{"JSON broken", "x.loop.json", "{\n  \"goal\": \"g\",\n  body\n}", 3, "JSON"},
		{"JSON unknown key", "x.loop.json", "{\"goal\": \"g\",\n \"body\": {\"kind\": \"client\"},\n \"until\": {\"al\": []}}", 3, "until.al"},
		{"JSON duplicate key", "x.loop.json", "{\"goal\": \"g\",\n \"goal\": \"h\"}", 2, "twice"},
		{"JSON cut off", "x.loop.json", "{\"goal\": [", 1, "too early"},
		{"JSON and more", "x.loop.json", "{\"goal\": \"g\"}\n{}", 2, "follows"},
		{"JSON list", "x.loop.json", "[]", 1, "mapping"},
		{"JSON too deep", "x.loop.json", strings.Repeat("[", 200), 1, "deeper"},
		{"JSON bad element in a list", "x.loop.json", "{\"goal\": \"g\", \"body\": {\"kind\": \"command\",\n\"run\": [\n\"a\",\n5]}}", 4, "body.run[1]"},

		{"front matter missing", "x.loop.md", "# Do it\n", 1, "three hyphens"},
		{"front matter without end", "x.loop.md", "---\ngoal: g\n", 3, "never ends"},
		{"front matter typo", "x.loop.md", "---\ngoal: g\nbdy: {kind: client}\n---\ntext\n", 3, "bdy"},
		{"prompt twice", "x.loop.md", "---\ngoal: g\nbody:\n  kind: client\n  prompt: p\n---\ntext\n", 5, "body.prompt"},
		{"text for a handler", "x.loop.md", "---\ngoal: g\nbody: {kind: handler, name: n}\n---\n\ntext\n", 6, "handler"},
		{"template in the text", "x.loop.md", "---\ngoal: g\nbody: {kind: client}\nuntil: {all: [{kind: claim}]}\n---\n\n\n{{ nope }}\n", 8, "nope"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := test.file
			if name == "" {
				name = "x.loop.yaml"
			}
			_, err := Parse(name, []byte(test.text))
			if err == nil {
				t.Fatal("no error")
			}
			found := loops.FieldErrors(err)
			if len(found) == 0 || test.line > 0 && found[0].Line != test.line {
				t.Errorf("error is not at line %d: %v", test.line, err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
			if strings.Contains(err.Error(), "\n>") {
				t.Errorf("error shows the parser's own drawing: %v", err)
			}
		})
	}
}

// laughs is a file whose aliases would make a billion values.
func laughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

func TestSeveralProblemsComeTogether(t *testing.T) {
	_, err := Parse("x.loop.yaml", []byte(least+"delay: 10\nlimits:\n  max_passes: 3x\n  max_pases: 2\n"))
	var got []string
	for _, e := range loops.FieldErrors(err) {
		got = append(got, fmt.Sprintf("%d:%d %s", e.Line, e.Column, e.Field))
	}
	want := []string{"4:1 delay", "6:3 limits.max_passes", "7:3 limits.max_pases"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s\n%v", diff, err)
	}
}

func TestAnchorsWork(t *testing.T) {
	s, err := Parse("x.loop.yaml", []byte("goal: &g Do it\ncontext: *g\nbody: {kind: client}\nuntil: {all: [{kind: claim}]}\n"))
	if err != nil || s.Context != "Do it" {
		t.Errorf("context is %q, error %v", s.Context, err)
	}
}

func TestLocatePlacesLaterErrors(t *testing.T) {
	long := strings.Repeat("k", 100)
	file, err := parse("x.loop.yaml", []byte("goal: g\nbody:\n  kind: handler\n  name: h\n  with: {A.B: [c, {d: e}], "+long+": f}\nuntil: {all: [{kind: claim}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string][2]int{
		"body.name": {4, 3}, `body.with["A.B"]`: {5, 10}, `body.with["A.B"][0]`: {5, 16}, `body.with["A.B"][1].d`: {5, 20},
		`body.with["` + long[:60] + `…"]`: {5, 28}, "body.with.nope": {5, 3}, "body.with[3]": {5, 3},
		"until.all[0].kind": {6, 16}, "until.all[7]": {6, 9}, "limits.max_passes": {1, 1}, "": {1, 1},
	} {
		found := loops.FieldErrors(file.Locate(&loops.FieldError{Field: field, Problem: "p"}))
		if got := [2]int{found[0].Line, found[0].Column}; got != want {
			t.Errorf("%q is placed at %v, want %v", field, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.loop.yaml")
	if err := os.WriteFile(path, []byte(least), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	file, err := Load("a.loop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if file.Path != path || file.Dir != dir || string(file.Data) != least || file.Spec.Goal != "g" {
		t.Errorf("got %+v", file)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Mkdir(filepath.Join(dir, "d.loop.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"other ending", write("a.yaml", []byte(least)), ".loop.yaml"},
		{"missing", filepath.Join(dir, "no.loop.yaml"), "no such file"},
		{"folder", filepath.Join(dir, "d.loop.yaml"), "not a regular file"},
		{"device", "/dev/null.loop.yaml", "no such file"},
		{"large", write("l.loop.yaml", []byte(least+"#"+strings.Repeat("x", MaxSize))), "at most 1048576 bytes"},
	}
	for _, test := range tests {
		if _, err := Load(test.path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v does not say %q", test.name, err, test.want)
		}
	}
}

func TestDecodeYAML(t *testing.T) {
	type settings struct {
		Roots   []string `json:"roots"`
		Workers int      `json:"workers"`
	}
	var s settings
	expand := func(text string) (string, error) { return strings.ReplaceAll(text, "$X", "a: b"), nil }
	if err := DecodeYAML([]byte("roots: [\"$X\"]\nworkers: 3\n"), &s, expand); err != nil {
		t.Fatal(err)
	}
	if want := (settings{Roots: []string{"a: b"}, Workers: 3}); !cmp.Equal(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
	for _, empty := range []string{"", "\n", "# nothing\n"} {
		if err := DecodeYAML([]byte(empty), &s, nil); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
	err := DecodeYAML([]byte("roots: []\nworker: 3\n"), &s, nil)
	if err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), "workers") {
		t.Errorf("error %v does not name line and key", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{least, whole, "---\n" + least + "---\ntext", `{"goal":"g","body":{"kind":"client"},"until":{"all":[{"kind":"claim"}]}}`, laughs(), "a: &a [*a]", "? a", "- - -"} {
		for form := range uint8(3) {
			f.Add(form, []byte(seed))
		}
	}
	names := []string{"x.loop.yaml", "x.loop.json", "x.loop.md"}
	f.Fuzz(func(t *testing.T, form uint8, data []byte) {
		spec, err := Parse(names[int(form)%len(names)], data)
		if err == nil && strings.TrimSpace(spec.Goal) == "" {
			t.Errorf("a file without a goal was accepted")
		}
		if err != nil && len(loops.FieldErrors(err)) == 0 {
			t.Errorf("an error without a field error: %v", err)
		}
	})
}
