package loops

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// client is a spec that is right.
func clientSpec() Spec { return Spec{Goal: "g"} }

func commandSpec(run ...string) Spec {
	return Spec{Goal: "g", Body: BodySpec{Kind: BodyCommand, Run: run}}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct {
		change func(*Spec)
		want   []string
	}{
		"right":        {func(s *Spec) {}, nil},
		"no goal":      {func(s *Spec) { s.Goal = " \n" }, []string{"goal: is missing: say what must be true at the end"}},
		"name":         {func(s *Spec) { s.Name = "../etc" }, []string{`name: must be 1 to 63 lower-case letters, digits and hyphens and begin with a letter, got "../etc"`}},
		"name newline": {func(s *Spec) { s.Name = "a\n" }, []string{`name: must be 1 to 63 lower-case letters, digits and hyphens and begin with a letter, got "a "`}},
		"long name":    {func(s *Spec) { s.Name = strings.Repeat("a", 64) }, []string{`name: must be 1 to 63 lower-case letters, digits and hyphens and begin with a letter, got "` + strings.Repeat("a", 60) + `…"`}},
		"huge": {func(s *Spec) { s.Goal, s.Context, s.Body.Prompt = big, big, big }, []string{
			"goal: is 1048576 bytes, at most 65536 are allowed", "context: is 1048576 bytes, at most 65536 are allowed", "body.prompt: is 1048576 bytes, at most 262144 are allowed"}},
		"nul in go": {func(s *Spec) { s.Goal, s.Description = "a\x00", "\xff" }, []string{
			"description: must be valid UTF-8, byte 1 is not", "goal: must not contain the control character U+0000 (byte 2)"}},
		"result":  {func(s *Spec) { s.Result = "bets" }, []string{`result: must be last or best, got "bets", did you mean best?`}},
		"crash":   {func(s *Spec) { s.Retry.OnCrash = "Rerun" }, []string{`retry.on_crash: must be rerun or ask, got "Rerun", did you mean rerun?`}},
		"initial": {func(s *Spec) { s.Retry.Initial, s.Retry.Max = 2e9, 1e9 }, []string{"retry.initial: must not be longer than retry.max, got 2s and 1s"}},
		"negative in go": {func(s *Spec) {
			s.Limits = Limits{MaxPasses: -1, MaxCostUSD: -1e6, MaxActive: -1e9}
			s.Delay, s.Stall = -1e9, &Stall{Passes: -1}
		}, []string{"limits.max_passes: must not be negative, got -1", "limits.max_active: must not be negative, got -1s", "limits.max_cost_usd: must not be negative, got -1",
			"delay: must not be negative, got -1s", "stall.passes: must not be negative, got -1"}},
		"protect": {func(s *Spec) {
			s.Protect = []string{"/etc/passwd", "a/../b", "", "[a", "C:/x", "~/x", "./", "{{ inputs.a }}", "ok/**"}
		}, []string{
			`protect[0]: must be relative to the loop's folder, got "/etc/passwd"`, `protect[1]: must stay below the loop's folder, without "..", got "a/../b"`,
			"protect[2]: must be a pattern of files, got an empty text", `protect[3]: is not a pattern: [ without ] or a \ at the end in "[a"`,
			`protect[4]: must be relative to the loop's folder, got "C:/x"`, `protect[5]: must be relative to the loop's folder, got "~/x"`,
			`protect[6]: must name files, got "./"`, "protect[7]: {{ inputs.a }} is not expanded here"}},

		"kind":          {func(s *Spec) { s.Body.Kind = "comand" }, []string{`body.kind: must be agent, client, command or handler, got "comand", did you mean command?`}},
		"foreign field": {func(s *Spec) { s.Body = BodySpec{Kind: BodyClient, Run: []string{"a"}, Usage: "json"} }, []string{"body.run: belongs to the kind command, this body is client", "body.usage: belongs to the kind command, this body is client"}},
		"kind left out": {func(s *Spec) { s.Body.Run = []string{"go"} }, []string{"body.run: belongs to the kind command, this body is client (kind is left out)"}},
		"no run":        {func(s *Spec) { s.Body.Kind = BodyCommand }, []string{`body.run: is missing: a list of program and arguments, for example ["claude", "-p"]; no shell is used`}},
		"empty program": {func(s *Spec) { *s = commandSpec("", "x") }, []string{"body.run[0]: must name a program, got an empty text"}},
		"no handler":    {func(s *Spec) { s.Body = BodySpec{Kind: BodyHandler} }, []string{"body.name: is missing: the name under which the handler is registered"}},
		"usage":         {func(s *Spec) { *s = commandSpec("x"); s.Body.Usage = "claude" }, []string{`body.usage: must be none, json, claude-json, codex-json, gemini-json or opencode-json, got "claude"`}},
		"resume": {func(s *Spec) {
			*s = commandSpec("x")
			s.Body.Usage, s.Body.Resume = UsageCodexJSON, []string{"{{ output }}", "{{ loop_id }}"}
		}, []string{
			"body.resume[0]: {{ output }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin"}},
		"resume without a session": {func(s *Spec) { *s = commandSpec("x"); s.Body.Usage, s.Body.Resume = UsageJSON, []string{"--resume"} }, []string{
			"body.resume: needs the id of a session, which only reports of an agent's command line have: set body.usage to claude-json, codex-json, gemini-json or opencode-json"}},
		"env": {func(s *Spec) {
			*s = commandSpec("x")
			s.Body.Env = map[string]string{"1A": "", "A=B": "", "LOOP_MCP_PARENT": "x", "OK": "\x00"}
		}, []string{
			"body.env.1A: is not the name of an environment variable: letters, digits and _, no digit first",
			`body.env["A=B"]: is not the name of an environment variable: letters, digits and _, no digit first`,
			"body.env.LOOP_MCP_PARENT: is set by loop-mcp itself", "body.env.OK: must not contain the control character U+0000 (byte 1)"}},
		"with": {func(s *Spec) {
			s.Body = BodySpec{Kind: BodyHandler, Name: "h", With: json.RawMessage(`{"a":["{{ gaol }}"]}`)}
		}, []string{`body.with: unknown name in {{ gaol }}, did you mean goal?`}},
		"huge with":  {func(s *Spec) { s.Body = BodySpec{Kind: BodyHandler, Name: "h", With: json.RawMessage(`"` + big + `"`)} }, []string{"body.with: is 1048578 bytes, at most 262144 are allowed"}},
		"wrong with": {func(s *Spec) { s.Body = BodySpec{Kind: BodyHandler, Name: "h", With: json.RawMessage(`{`)} }, []string{"body.with: must be JSON: unexpected EOF"}},

		"until empty": {func(s *Spec) { s.Until = &Until{} }, []string{`until: needs any or all with at least one condition, ` + untilExample}},
		"until both": {func(s *Spec) { s.Until = &Until{Any: []Condition{{Kind: "claim"}}, All: []Condition{{Kind: "clam"}}} }, []string{
			"until: has both any and all: write one of them, and the other as a member of it",
			`until.all[0].kind: must be predicate, command, judge, human or claim, got "clam", did you mean claim?`}},
		"members": {func(s *Spec) {
			claim, inner := Condition{Kind: "claim"}, Condition{Any: []Condition{{Kind: "claim"}}}
			s.Until = &Until{All: []Condition{
				{},
				{Kind: "claim", Any: []Condition{claim}},
				{Any: []Condition{inner, {Not: &claim}}},
				{All: []Condition{}},
				{Not: &inner},
				{Not: &claim, Question: "x"},
				{Not: &Condition{}},
			}}
		}, []string{
			"until.all[0].kind: is missing: predicate, command, judge, human or claim",
			"until.all[1]: must be exactly one of a kind, not, any and all",
			"until.all[2].any[0].any: is nested too deep: only the first level of until may hold a group",
			"until.all[3].all: needs at least one condition",
			"until.all[4].not: must be a condition with a kind; groups and not can't be negated",
			"until.all[5].question: can't stand beside not",
			"until.all[6].not.kind: is missing: predicate, command, judge, human or claim"}},
		"conditions": {func(s *Spec) {
			s.Until = &Until{Any: []Condition{
				{Kind: "predicate"}, {Kind: "predicate", Expression: strings.Repeat("x", 5000)}, {Kind: "predicate", Expression: "{{ output }} == 1"},
				{Kind: "command"}, {Kind: "command", Run: []string{"x"}, Exit: 256}, {Kind: "command", Run: []string{"x"}, Exit: -1, Timeout: -1e9},
				{Kind: "human"}, {Kind: "human", Question: "q", Expression: "true", Exit: 3}, {Kind: "claim", Timeout: 1e9},
			}}
		}, []string{
			`until.any[0].expression: is missing: a CEL expression that must be true, for example "score >= 80.0"`,
			"until.any[1].expression: is 5000 bytes, at most 4096 are allowed",
			"until.any[2].expression: {{ output }} is not expanded here",
			`until.any[3].run: is missing: a list of program and arguments, for example ["go", "test", "./..."]; no shell is used`,
			"until.any[4].exit: must be an exit code from 0 to 255, got 256",
			"until.any[5].timeout: must not be negative, got -1s", "until.any[5].exit: must be an exit code from 0 to 255, got -1",
			"until.any[6].question: is missing: what the person is asked to approve",
			"until.any[7].exit: belongs to the kind command, this condition is human", "until.any[7].expression: belongs to the kind predicate, this condition is human",
			"until.any[8].timeout: belongs to the kind command, this condition is claim"}},
		"check first": {func(s *Spec) { s.Until = &Until{CheckFirst: true, Any: []Condition{{Kind: "claim"}}} }, []string{
			"until.check_first: has nothing to ask before the first pass: no condition is a predicate or a command"}},
		"check first below not": {func(s *Spec) {
			s.Until = &Until{CheckFirst: true, Any: []Condition{{Not: &Condition{Kind: "predicate", Expression: "true"}}}}
		}, nil},

		"inputs": {func(s *Spec) {
			s.Inputs = map[string]Input{
				"A": {}, "a-b": {}, "c": {Type: "strng"}, "d": {Pattern: "("}, "e": {Pattern: "a)|(b"}, "f": {Type: "integer", Default: "x"},
				"g": {Choices: []any{"a", 1.0}}, "h": {Choices: []any{"a"}, Default: "b"}, "i": {Pattern: "a", Default: "ab"}, "j": {Required: true, Default: "x"},
				"k": {Type: "integer", Choices: []any{1.0, 2.0}, Default: 2.0}, "l": {Type: "boolean", Default: 1.0}, "m": {Default: "a\nb"}, "n": {Type: "text", Default: "a\nb"},
			}
		}, []string{
			"inputs.A: is not a name for an input: lower-case letters, digits and _, a letter first",
			"inputs.a-b: is not a name for an input: lower-case letters, digits and _, a letter first",
			`inputs.c.type: must be string, text, number, integer, boolean, file or directory, got "strng", did you mean string?`,
			"inputs.d.pattern: is not a regular expression (RE2): error parsing regexp: missing closing ): `(`",
			"inputs.e.pattern: is not a regular expression (RE2): error parsing regexp: unexpected ): `a)|(b`",
			`inputs.f.default: must be a whole number, got "x"`, "inputs.g.choices[1]: must be a text, got 1", `inputs.h.default: must be a, got "b"`,
			`inputs.i.default: must match the pattern a, got "ab"`, "inputs.j.required: has no effect beside a default: leave one of them out",
			"inputs.l.default: must be true or false, got 1", `inputs.m.default: must be one line, got "a b"; an input of type text takes several`}},

		"templates": {func(s *Spec) {
			*s = commandSpec("x", "{{ output }}", "{{ inputs.pkg }}", "{{ usage.starts }}", "{{ left.cost_usd }}{{left.max_cost_usd}}{{ limits.max_passes }}")
			s.Inputs = map[string]Input{"pkgs": {}}
			s.Goal, s.Context = "{{ goal }}", "{{ inputs.nope }}"
			s.Body.Stdin = `{{ feedback }} {{ itertion }} `
			s.Body.Cwd, s.Body.Env = "{{ steer }}", map[string]string{"A": "{{ }}"}
			s.Until = &Until{Any: []Condition{{Kind: "human", Question: "{{ output }} {{ nope"}}}
		}, []string{
			"goal: {{ goal }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin",
			"context: unknown name in {{ inputs.nope }}: no input nope is declared",
			"body.stdin: unknown name in {{ itertion }}, did you mean iteration?",
			"body.cwd: {{ steer }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin",
			"body.run[1]: {{ output }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin",
			"body.run[2]: unknown name in {{ inputs.pkg }}, did you mean inputs.pkgs?",
			"body.run[3]: {{ usage.starts }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are",
			`body.env.A: {{ }} is not a name; for the braces themselves write {{"{{"}}`,
			`until.any[0].question: {{ nope is not closed by }}; for the braces themselves write {{"{{"}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := clientSpec()
			c.change(&s)
			wantProblems(t, s.Validate(), c.want...)
		})
	}
}

func TestValidateKindsOfParts(t *testing.T) {
	s := Spec{Goal: "g", Body: BodySpec{Kind: "robot", Prompt: "{{ nope }}"}, Until: &Until{Any: []Condition{{Kind: "poll", Question: "done?"}}}}
	wantProblems(t, s.Validate(),
		`body.kind: must be agent, client, command or handler, got "robot"`, `until.any[0].kind: must be predicate, command, judge, human or claim, got "poll"`)
	wantProblems(t, s.validateKinds([]string{"robot", "command"}, []string{"poll"}), `body.prompt: unknown name in {{ nope }}; for the braces themselves write {{"{{"}}`)
	s.Body = BodySpec{Kind: "robo"}
	wantProblems(t, s.validateKinds([]string{"robot", "command"}, []string{"poll"}), `body.kind: must be agent, client, command, handler or robot, got "robo", did you mean robot?`)
}

// TestAWorkersWordsAreNoPartOfWhatAJudgeDecidesBy: {{ output }} in a judge's
// question made the worker's text the criterion.
func TestAWorkersWordsAreNoPartOfWhatAJudgeDecidesBy(t *testing.T) {
	s := Spec{Goal: "g", Body: BodySpec{Kind: BodyAgent}, Until: &Until{All: []Condition{{Kind: StopJudge, Question: "Is this right: {{ output }}?"}}}}
	wantProblems(t, s.Validate(), "until.all[0].question: {{ output }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin")
	s.Until.All[0] = Condition{Kind: StopHuman, Question: "Is this right: {{ output }}?"}
	wantProblems(t, s.Validate())
	if _, err := expandCondition(Condition{Kind: StopJudge, Question: "{{ output }}"}, State{Output: Text{Text: "yes"}}); err == nil {
		t.Error("expanded all the same")
	}
}

func TestValidateAgentAndJudge(t *testing.T) {
	good := Spec{Goal: "g", Body: BodySpec{Kind: BodyAgent, Model: "smart", System: "Be brief.", Prompt: "{{ goal }}", Tools: []string{"files__*", "!files__write_file"}, History: HistoryAll},
		Until: &Until{All: []Condition{{Kind: StopJudge, Criteria: []Criterion{{ID: "c1", Text: "cited"}}, Model: "fast", Votes: 3, Cwd: "x",
			Evidence: []Look{{Kind: LookOutput}, {Kind: LookCommand, Run: []string{"go", "vet"}}, {Kind: LookFile, Path: "a.md"}}}}}}
	wantProblems(t, good.Validate())
	bad := good
	bad.Body = BodySpec{Kind: BodyAgent, Model: "a b", System: "{{ feedback }}", Tools: []string{"!"}, History: "some", Stdin: "x"}
	bad.Until = &Until{All: []Condition{{Kind: StopJudge, Votes: 9, Exit: 1, Criteria: []Criterion{{ID: "C", Text: "x"}, {ID: "a"}, {ID: "a", Text: "x"}},
		Evidence: []Look{{Kind: "web"}, {Kind: LookFile}, {Kind: LookCommand, Path: "x"}, {Kind: LookOutput, Run: []string{"x"}}}}, {Kind: StopJudge}}}
	wantProblems(t, bad.Validate(),
		"body.stdin: belongs to the kind command, this body is agent",
		`body.model: must be the name of a configured model such as smart, got "a b"`,
		"body.system: {{ feedback }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin",
		`body.history: must be fresh or all, got "some"`, `body.tools[0]: must be a pattern such as files__*, got "!"`,
		"until.all[0].exit: belongs to the kind command, this condition is judge",
		"until.all[0].votes: must be between 1 and 5, got 9",
		`until.all[0].criteria[0].id: must be lower-case letters, digits, - and _, a letter first, got "C"`,
		"until.all[0].criteria[1].text: is missing: what must be true", "until.all[0].criteria[2].id: is there twice: a",
		`until.all[0].evidence[0].kind: must be output, command or file, got "web"`, "until.all[0].evidence[1].path: is missing: the file to show",
		"until.all[0].evidence[2].path: belongs to the kind file, this evidence is command",
		`until.all[0].evidence[2].run: is missing: a list of program and arguments, for example ["go", "vet", "./..."]; no shell is used`,
		"until.all[0].evidence[3].run: belongs to the kind command, this evidence is output",
		"until.all[1]: needs a question or criteria: what the model is to decide")
}

func TestResolveInputs(t *testing.T) {
	spec := Spec{Inputs: map[string]Input{
		"package": {Default: "./..."},
		"count":   {Type: InputInteger, Required: true, Help: "how many"},
		"ratio":   {Type: InputNumber},
		"fast":    {Type: InputBoolean},
		"mode":    {Choices: []any{"a", "b"}},
		"level":   {Type: InputInteger, Choices: []any{1.0, 2.0}},
		"path":    {Type: InputFile},
		"id":      {Pattern: "[a-z]+|x1"},
	}}
	for name, c := range map[string]struct {
		given  map[string]any
		values map[string]string
		typed  map[string]any
		want   []string
	}{
		"defaults": {map[string]any{"count": 3}, map[string]string{"package": "./...", "count": "3"}, map[string]any{"package": "./...", "count": int64(3)}, nil},
		"texts": {map[string]any{"count": "3", "ratio": "0.5", "fast": "true", "level": "2", "mode": nil}, map[string]string{"package": "./...", "count": "3", "ratio": "0.5", "fast": "true", "level": "2"},
			map[string]any{"package": "./...", "count": int64(3), "ratio": 0.5, "fast": true, "level": int64(2)}, nil},
		"json": {map[string]any{"count": 3.0, "ratio": 1e21, "fast": false, "package": "", "mode": "b", "path": "a b", "id": "x1"},
			map[string]string{"package": "", "count": "3", "ratio": "1000000000000000000000", "fast": "false", "mode": "b", "path": "a b", "id": "x1"},
			map[string]any{"package": "", "count": int64(3), "ratio": 1e21, "fast": false, "mode": "b", "path": "a b", "id": "x1"}, nil},
		"problems": {map[string]any{"pakage": "x", "ratio": "many", "fast": "yes", "mode": "c", "level": 3, "path": "", "id": "x1\n", "package": []any{1.0}}, nil, nil, []string{
			"inputs.pakage: no input of that name is declared, did you mean package?", "inputs.count: is missing: how many", `inputs.fast: must be true or false, got "yes"`,
			`inputs.id: must be one line, got "x1 "; an input of type text takes several`, "inputs.level: must be 1 or 2, got \"3\"", `inputs.mode: must be a or b, got "c"`,
			"inputs.package: must be a text, got [1]", "inputs.path: must be the path of a file, got an empty text", `inputs.ratio: must be a number, got "many"`}},
		"pattern is whole": {map[string]any{"count": 1, "id": "x1; rm"}, nil, nil, []string{`inputs.id: must match the pattern [a-z]+|x1, got "x1; rm"`}},
		"numbers":          {map[string]any{"count": 1.5, "level": 1e300, "ratio": "NaN"}, nil, nil, []string{"inputs.count: must be a whole number, got 1.5", "inputs.level: is too large, got 1e+300", `inputs.ratio: must be a number, got "NaN"`}},
		"text":             {map[string]any{"count": 1, "package": "a\x00", "path": strings.Repeat("x", 70000)}, nil, nil, []string{"inputs.package: must not contain the control character U+0000 (byte 2)", "inputs.path: is 70000 bytes, at most 65536 are allowed"}},
	} {
		t.Run(name, func(t *testing.T) {
			values, err := resolveInputs(spec, c.given)
			wantProblems(t, err, c.want...)
			if c.want != nil {
				return
			}
			if diff := cmp.Diff(c.values, values); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.typed, typedInputs(spec.Inputs, values)); diff != "" {
				t.Errorf("typed (-want +got):\n%s", diff)
			}
		})
	}
	_, err := resolveInputs(Spec{}, map[string]any{"x": 1})
	wantProblems(t, err, "inputs.x: no input of that name is declared; this loop takes none")
}

func TestToolInputsStayOutOfCommands(t *testing.T) {
	spec := commandSpec("x", "a{{ inputs.free }}", "{{ inputs.usual }}", "{{ inputs.chosen }}{{ inputs.shaped }}{{ inputs.unset }}")
	spec.Inputs = map[string]Input{"free": {}, "usual": {Type: InputInteger, Default: 3.0}, "chosen": {Choices: []any{"a"}}, "shaped": {Pattern: "a"}, "unset": {}, "prompted": {}}
	spec.Body.Stdin = "{{ inputs.prompted }}"
	check := Condition{Kind: StopCommand, Run: []string{"y", "{{ inputs.free }}"}}
	spec.Until = &Until{All: []Condition{check, {Not: &check}, {Any: []Condition{check}}}}
	values := map[string]string{"free": "x", "usual": "3", "chosen": "a", "shaped": "a", "prompted": "x"}
	sentence := ": the value of the input free came through a tool and may not become part of a command: declare choices or a pattern for inputs.free"
	wantProblems(t, toolInputProblem(spec, values), "body.run[1]"+sentence, "until.all[0].run[1]"+sentence, "until.all[1].not.run[1]"+sentence, "until.all[2].any[0].run[1]"+sentence)
	spec.Body.Resume = []string{"--{{ inputs.free }}"}
	wantProblems(t, toolInputProblem(spec, values), "body.run[1]"+sentence, "body.resume[0]"+sentence, "until.all[0].run[1]"+sentence, "until.all[1].not.run[1]"+sentence, "until.all[2].any[0].run[1]"+sentence)
	spec.Body.Resume = nil
	values["usual"] = "4"
	spec.Until, spec.Body.Run = nil, spec.Body.Run[2:]
	wantProblems(t, toolInputProblem(spec, values), "body.run[0]: the value of the input usual came through a tool and may not become part of a command: declare choices or a pattern for inputs.usual")
}

func TestValidateNegatedJudge(t *testing.T) {
	s := clientSpec()
	s.Until = &Until{All: []Condition{{Not: &Condition{Kind: StopJudge, Question: "Is anything missing?"}}}}
	wantProblems(t, s.Validate(), "until.all[0].not.kind: must not be judge: what the host does not believe would count as met; ask the judge the opposite instead")
}
