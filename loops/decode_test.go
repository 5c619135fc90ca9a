package loops

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const wholeSpec = `{
  "name": "fix-build", "description": "Fix it",
  "inputs": {"package": {"type": "string", "default": "./...", "pattern": "\\./[a-z/.]*", "choices": ["./...", "./a"], "help": "which"}},
  "goal": "Make {{ inputs.package }} pass", "context": "small",
  "body": {"kind": "command", "run": ["claude", "-p"], "stdin": "{{ goal }}", "cwd": ".", "env": {"A": "b"}, "usage": "claude-json"},
  "protect": ["**/*_test.go"],
  "until": {"check_first": true, "all": [
    {"kind": "command", "run": ["go", "test"], "timeout": "10m", "exit": 0},
    {"not": {"kind": "predicate", "expression": "output == ''"}},
    {"any": [{"kind": "human", "question": "ok?"}, {"kind": "claim"}]}]},
  "limits": {"max_iterations": 40, "max_passes": "1k", "max_duration": "24h", "max_active": "2h", "iteration_timeout": "20m",
    "max_total_tokens": "400k", "max_cost_usd": 0.15, "max_tool_calls": 200.0, "max_failures": 3},
  "delay": "1s", "retry": {"max_attempts": 3, "initial": "1s", "max": "1m", "on_crash": "ask"},
  "stall": {"passes": 0}, "answer_timeout": "24h", "result": "best"
}`

func TestDecodeSpecReadsEveryField(t *testing.T) {
	got, err := DecodeSpec([]byte(wholeSpec))
	if err != nil {
		t.Fatal(err)
	}
	minute := Duration(time.Minute)
	want := Spec{
		Name: "fix-build", Description: "Fix it",
		Inputs: map[string]Input{"package": {Type: "string", Default: "./...", Pattern: `\./[a-z/.]*`, Choices: []any{"./...", "./a"}, Help: "which"}},
		Goal:   "Make {{ inputs.package }} pass", Context: "small",
		Body:    BodySpec{Kind: "command", Run: []string{"claude", "-p"}, Stdin: "{{ goal }}", Cwd: ".", Env: map[string]string{"A": "b"}, Usage: "claude-json"},
		Protect: []string{"**/*_test.go"},
		Until: &Until{CheckFirst: true, All: []Condition{
			{Kind: "command", Run: []string{"go", "test"}, Timeout: 10 * minute},
			{Not: &Condition{Kind: "predicate", Expression: "output == ''"}},
			{Any: []Condition{{Kind: "human", Question: "ok?"}, {Kind: "claim"}}},
		}},
		Limits: Limits{MaxIterations: 40, MaxPasses: 1000, MaxDuration: 24 * 60 * minute, MaxActive: 120 * minute, IterationTimeout: 20 * minute,
			MaxTotalTokens: 400_000, MaxCostUSD: 150_000, MaxToolCalls: 200, MaxFailures: 3},
		Delay: Duration(time.Second), Retry: Retry{MaxAttempts: 3, Initial: Duration(time.Second), Max: minute, OnCrash: "ask"},
		Stall: &Stall{}, AnswerTimeout: 24 * 60 * minute, Result: "best",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("a right spec is refused: %v", err)
	}
}

// wantProblems compares the errors, one line each.
func wantProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	for _, e := range FieldErrors(err) {
		got = append(got, e.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if err != nil && !errors.Is(err, ErrInvalid) {
		t.Errorf("%v is not ErrInvalid", err)
	}
}

func TestDecodeNamesEveryProblem(t *testing.T) {
	deep := strings.Repeat(`{"not":`, 70) + `null` + strings.Repeat(`}`, 70)
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"misspelt":       {`{"gaol":"x"}`, []string{`gaol: unknown key, did you mean goal?`}},
		"other spelling": {`{"limits":{"maxPasses":3}}`, []string{`limits.maxPasses: unknown key, did you mean max_passes?`}},
		"one level off":  {`{"max_passes":3}`, []string{`max_passes: unknown key, it belongs into limits: limits.max_passes`}},
		"unknown":        {`{"stall":{"zebra":1}}`, []string{`stall.zebra: unknown key; known are passes`}},
		"odd key":        {`{"a b":1}`, []string{`["a b"]: unknown key; known are name, description, inputs, goal, context, body, protect, until, limits, delay, retry, stall, answer_timeout, result`}},
		"several": {`{"goal":5,"limits":{"max_passes":"3x","max_pases":1},"body":{"run":"go test"}}`, []string{
			`goal: must be a text, got 5`,
			`limits.max_passes: must be at least 1, got "3x"; write a whole number, k and M allowed (400k)`,
			`limits.max_pases: unknown key, did you mean max_passes?`,
			`body.run: must be a list of texts, got "go test"; write run: ["go", "test"]; no shell is used`,
		}},
		"list of texts":    {`{"protect":"*.go"}`, []string{`protect: must be a list of texts, got "*.go"; write protect: ["*.go"]`}},
		"text in list":     {`{"until":{"all":[{"run":["a","b",5]}]}}`, []string{`until.all[0].run[2]: must be a text, got 5`}},
		"null in list":     {`{"until":{"all":[null,{"run":[null]}]}}`, []string{`until.all[0]: must be an object, got null`, `until.all[1].run[0]: must be a text, got null`}},
		"condition alone":  {`{"until":{"all":{"kind":"claim"}}}`, []string{`until.all: must be a list of objects, got {"kind":"claim"}; write all: [{"kind":"claim"}]`}},
		"condition text":   {`{"until":{"all":["claim"]}}`, []string{`until.all[0]: must be an object, got "claim"; write {"kind": "claim"}`}},
		"body text":        {`{"body":"client"}`, []string{`body: must be an object, got "client"; write body: {"kind": "client"}`}},
		"stall number":     {`{"stall":3}`, []string{`stall: must be an object, got 3; write stall: {"passes": 3}`}},
		"boolean text":     {`{"until":{"check_first":"yes"}}`, []string{`until.check_first: must be true or false, got "yes"`}},
		"map of texts":     {`{"body":{"env":{"A":1,"B.C":true}}}`, []string{`body.env.A: must be a text, got 1`, `body.env["B.C"]: must be a text, got true`}},
		"not an object":    {`[1]`, []string{`must be an object, got [1]`}},
		"input":            {`{"inputs":{"package":{"type":5}}}`, []string{`inputs.package.type: must be a text, got 5`}},
		"zero":             {`{"limits":{"max_passes":0}}`, []string{`limits.max_passes: must be at least 1, got 0`}},
		"negative":         {`{"limits":{"max_passes":-3,"max_cost_usd":-1,"max_active":"-1s"}}`, []string{`limits.max_passes: must be at least 1, got -3`, `limits.max_cost_usd: must be more than 0, got -1`, `limits.max_active: must not be negative, got "-1s"`}},
		"negative stall":   {`{"stall":{"passes":-1}}`, []string{`stall.passes: must not be negative, got -1`}},
		"no time":          {`{"limits":{"max_active":"0s"},"answer_timeout":"0s"}`, []string{`limits.max_active: must be more than 0, got "0s"`, `answer_timeout: must be more than 0, got "0s"`}},
		"no money":         {`{"limits":{"max_cost_usd":0}}`, []string{`limits.max_cost_usd: must be more than 0, got 0`}},
		"bare duration":    {`{"delay":5}`, []string{`delay: must be a duration in text such as "90s" or "10m", got 5`}},
		"wrong duration":   {`{"delay":"soon"}`, []string{`delay: must be a duration such as "90s" or "10m", got "soon"`}},
		"overflow":         {`{"limits":{"max_passes":1e400,"max_failures":9e99,"max_cost_usd":1e400,"max_tool_calls":99999999999999999999}}`, []string{`limits.max_passes: is too large, got 1e400`, `limits.max_failures: is too large, got 9e99`, `limits.max_cost_usd: is too large, got 1e400`, `limits.max_tool_calls: is too large, got 99999999999999999999`}},
		"exit overflow":    {`{"until":{"all":[{"exit":1e400},{"exit":9e99},{"exit":1.5},{"exit":"1"}]}}`, []string{`until.all[0].exit: is too large, got 1e400`, `until.all[1].exit: is too large, got 9e99`, `until.all[2].exit: must be a whole number, got 1.5`, `until.all[3].exit: must be a whole number, got "1"`}},
		"free overflow":    {`{"inputs":{"a":{"default":1e400}},"body":{"with":{"a":1e400}}}`, []string{`inputs.a.default: is too large, got 1e400`, `body.with: is too large, got 1e400`}},
		"twice":            {`{"goal":"a","goal":"b","inputs":{"x":{},"x":{"default":{"b":1,"b":2}}},"body":{"with":{"a":1,"a":2}}}`, []string{`goal: is given twice`, `inputs.x: is given twice`, `inputs.x.default.b: is given twice`, `body.with: has the key "a" twice`}},
		"utf-8":            {"{\"goal\":\"a\xff\",\"body\":{\"run\":[\"\xc3\"],\"with\":\"\xff\"}}", []string{`goal: must be valid UTF-8, byte 2 is not`, `body.run[0]: must be valid UTF-8, byte 1 is not`, `body.with: must be valid UTF-8, byte 1 is not`}},
		"surrogate":        {`{"goal":"\ud83d","context":"\ud83d\ude00"}`, []string{`goal: must be valid Unicode, \ud83d is half a character`}},
		"nul":              {`{"goal":"a\u0000","context":"a\u001b[1m","delay":"5\u0000s"}`, []string{`goal: must not contain the control character U+0000 (byte 2)`, `context: must not contain the control character U+001B (byte 2)`, `delay: must not contain the control character U+0000 (byte 2)`}},
		"raw control":      {"{\"goal\":\"a\nb\",\"context\":\"\x00\"}", []string{`goal: must have line breaks and tabs written as \n and \t (byte 2)`, `context: must not contain the control character U+0000 (byte 1)`}},
		"key control":      {`{"body":{"env":{"A\u0000":"x"}},"inputs":{"\u0007":{}}}`, []string{`body.env: a key must not contain the control character U+0000 (byte 2)`, `inputs: a key must not contain the control character U+0007 (byte 1)`}},
		"trailing":         {`{"goal":"a"} x`, []string{`line 1: not valid JSON at column 14: there is more text after the end of the value`}},
		"broken":           {"{\n  \"goal\": \"ä\" \"b\"}", []string{`line 2: not valid JSON at column 15: '"' where "," or "}" should be`}},
		"cut":              {`{"goal":`, []string{`line 1: not valid JSON at column 9: it ends where a value should be`}},
		"no quote":         {`{"goal":"abc`, []string{`line 1: not valid JSON at column 9: the text that begins here has no closing quote`}},
		"empty":            {` `, []string{`line 1: not valid JSON at column 2: it is empty`}},
		"bare word":        {`{"goal":nil}`, []string{`line 1: not valid JSON at column 9: 'n' where null should be`}},
		"leading zero":     {`{"exit":01}`, []string{`line 1: not valid JSON at column 11: a number is not complete or begins with 0`}},
		"deep":             {`{"until":{"all":[` + deep + `]}}`, []string{`line 1: not valid JSON at column 445: it is nested deeper than 64 levels`}},
		"null is left out": {`{"goal":null,"until":null,"inputs":{"x":null},"limits":{"max_passes":null},"body":{"with":null,"run":null}}`, nil},
		"null":             {`null`, nil},
		"clipped":          {`{"goal":["` + strings.Repeat("x", 1000) + `"]}`, []string{`goal: must be a text, got ["` + strings.Repeat("x", 58) + `…`}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeSpec([]byte(c.in))
			wantProblems(t, err, c.want...)
			if diff := cmp.Diff(Spec{}, got); diff != "" {
				t.Errorf("something was decoded:\n%s", diff)
			}
		})
	}
}

func TestDecodeOtherShapes(t *testing.T) {
	type Page struct {
		Limit Count  `json:"limit,omitempty" min:"1"`
		Small string `json:"small"` // hidden by the field of args
	}
	type args struct {
		*Page
		Wait   float64        `json:"wait_seconds" min:"0"`
		Small  int8           `json:"small"`
		Size   uint           `json:"size"`
		Done   *bool          `json:"done"`
		Inputs map[string]any `json:"inputs"`
		At     time.Time      `json:"at"`
		hidden int
	}
	var got args
	err := Decode([]byte(`{"limit":"2k","wait_seconds":1.5,"small":1e1,"size":3.0,"done":false,"inputs":{"a":[1,"x",null,{"b":true}],"c":null},"at":"2026-01-02T03:04:05Z"}`), &got)
	if err != nil {
		t.Fatal(err)
	}
	no := false
	want := args{Page: &Page{Limit: 2000}, Wait: 1.5, Small: 10, Size: 3, Done: &no,
		Inputs: map[string]any{"a": []any{1.0, "x", nil, map[string]any{"b": true}}}, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(args{})); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	before := got
	wantProblems(t, Decode([]byte(`{"limit":0,"wait_seconds":-1,"small":300,"size":-1,"done":null,"hidden":1,"Limit":1}`), &got),
		"limit: must be at least 1, got 0", "wait_seconds: must be at least 0, got -1", "small: is too large, got 300",
		"size: must not be negative, got -1", "hidden: unknown key; known are wait_seconds, small, size, done, inputs, at, limit",
		"Limit: unknown key, did you mean limit?")
	if diff := cmp.Diff(before, got, cmp.AllowUnexported(args{})); diff != "" {
		t.Errorf("a refused value (%d) changed:\n%s", got.hidden, diff)
	}
	if err := Decode([]byte(`{}`), got); err == nil {
		t.Error("a target that is not a pointer is accepted")
	}
}

// colour is a text of any characters.
type colour string

func (c *colour) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, (*string)(c)) }
func (*colour) Verbatim()                         {}

func TestDecodeLeavesVerbatimTextsAsTheyAre(t *testing.T) {
	var got struct {
		Text  colour `json:"text"`
		Plain string `json:"plain"`
	}
	if err := Decode([]byte(`{"text":"\u001b[1mred\u0000"}`), &got); err != nil || got.Text != "\x1b[1mred\x00" {
		t.Errorf("%q, %v", got.Text, err)
	}
	if err := Decode([]byte(`{"plain":"\u001b"}`), &got); err == nil {
		t.Error("a control character was taken into a text that is not verbatim")
	}
}

func TestDecodeBoundsItsReport(t *testing.T) {
	var in strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&in, `,"k%d":1`, i)
	}
	found := FieldErrors(Decode([]byte(`{`+in.String()[1:]+`}`), &Spec{}))
	if len(found) != maxProblems+1 || found[maxProblems].Problem != "and 960 more problems; correct these first" {
		t.Errorf("%d problems, the last: %v", len(found), found[len(found)-1])
	}
}

// Once a report is full, a further unknown key costs little: comparing it with
// every known one would let a small input keep the process busy.
func TestDecodeStopsHinting(t *testing.T) {
	cost := func(n int) float64 {
		in := []byte(`{` + strings.Repeat(`"max_pass":1,`, n) + `"goal":"g"}`)
		return testing.AllocsPerRun(1, func() { _ = Decode(in, &Limits{}) })
	}
	first := (cost(maxProblems) - cost(0)) / maxProblems
	if later := (cost(1000) - cost(maxProblems)) / (1000 - maxProblems); later > first/3 {
		t.Errorf("a problem that is only counted costs %.0f allocations, one that is shown %.0f", later, first)
	}
}

func TestMoneySurvivesJSON(t *testing.T) {
	amounts := []USD{}
	for u := USD(1); u < 1e15; u = u*3 + 7 {
		amounts = append(amounts, u, u/10_000*10_000)
	}
	for cent := range USD(1000) { // 1.1 is 1100000.0000000002 millionths
		amounts = append(amounts, cent*10_000)
	}
	for _, u := range amounts {
		b, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var got USD
		if err := json.Unmarshal(b, &got); err != nil || got != u {
			t.Errorf("%d becomes %s and then %d, %v", u, b, got, err)
		}
	}
	for in, want := range map[string]USD{"0.1": 100_000, "0.1234567": 123_457, "0.0000001": 1, "1e9": 1e15, "2.3": 2_300_000} {
		var got USD
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", in, got, err, want)
		}
	}
}

// The time of each byte must not depend on how many there are. Allocations
// stand in for time, which a shared machine can't measure.
func TestDecodeIsLinear(t *testing.T) {
	for name, unit := range map[string]string{"texts": `"a\n",`, "numbers": `1,`, "escapes": `"\u00e4\u00e4",`} {
		t.Run(name, func(t *testing.T) {
			cost := func(n int) float64 {
				in := []byte(`{"protect":[` + strings.Repeat(unit, n) + `""]}`)
				return testing.AllocsPerRun(1, func() { _ = Decode(in, &Spec{}) })
			}
			if small, large := cost(1000), cost(10_000); large > 12*small {
				t.Errorf("10 times the items cost %.0f instead of %.0f allocations", large, small)
			}
		})
	}
}

func FuzzDecodeSpec(f *testing.F) {
	for _, seed := range []string{wholeSpec, `null`, `{"goal":"\ud83d\ude00\u0000"}`, `{"limits":{"max_cost_usd":123456.789012,"max_passes":1e2}}`,
		`{"inputs":{"a":{"default":[1e17,-0,null,{"b":"c"}],"choices":[1e300]}},"body":{"with":{"a":[1.50,"<"]},"env":{"a.b":""}}}`, `{"a":`, "\xff", `[[[[[[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeSpec(data)
		if err != nil {
			if len(FieldErrors(err)) == 0 || !errors.Is(err, ErrInvalid) {
				t.Fatalf("not field errors: %v", err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatal("invalid JSON was accepted")
		}
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSpec(first)
		if err != nil {
			t.Fatalf("the encoding of a decoded spec is refused: %v\n%s", err, first)
		}
		second, _ := json.Marshal(again)
		if string(first) != string(second) {
			t.Fatalf("decoding changed\n%s\nto\n%s", first, second)
		}
		_ = s.Validate()
	})
}
