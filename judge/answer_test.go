package judge

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/loops/model"
	"github.com/google/go-cmp/cmp"
)

const wellFormed = `{"criteria":[{"id":"a","quotes":[{"item":"E1","text":"ok  pkg"}],"status":"met","missing":""},{"id":"b","quotes":[],"status":"unknown","missing":"a test"}],"verdict":"continue","feedback":"Add a test."}`

func TestParseAnswer(t *testing.T) {
	want := answer{Verdict: "continue", Feedback: "Add a test.", Criteria: []criterionAnswer{
		{ID: "a", Status: "met", Quotes: []quote{{"E1", "ok  pkg"}}}, {ID: "b", Status: "unknown", Missing: "a test"}}}
	for name, text := range map[string]string{
		"bare": wellFormed, "space around": " \n" + wellFormed + "\r\n ", "fenced": "```json\n" + wellFormed + "\n```", "fenced without a name": "```\n" + wellFormed + "\n```\n",
	} {
		got, err := parseAnswer(text, []string{"a", "b"})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestParseAnswerRefuses(t *testing.T) {
	change := func(old, with string) string {
		if !strings.Contains(wellFormed, old) {
			t.Fatalf("%s is not in the answer", old)
		}
		return strings.Replace(wellFormed, old, with, 1)
	}
	tests := []struct{ name, text, want string }{
		{"empty", "", "not a JSON object"},
		{"prose", "Yes.", "not a JSON object"},
		{"prose before", "Sure: " + wellFormed, "not a JSON object"},
		{"prose after", wellFormed + " That is all.", "text after the JSON object"},
		{"two objects", wellFormed + wellFormed, "text after the JSON object"},
		{"a list", "[" + wellFormed + "]", "not a JSON object"},
		{"a text", `"` + "done" + `"`, "not a JSON object"},
		{"two fences", "```json\n" + wellFormed + "\n```\n```json\n" + wellFormed + "\n```", "text after the JSON object"},
		{"another language", "```yaml\n" + wellFormed + "\n```", "not a JSON object"},
		{"an open fence", "```json\n" + wellFormed, "not a JSON object"},
		{"cut", wellFormed[:len(wellFormed)-10], "not valid JSON"},
		{"a comment", change(`"verdict"`, "// so\n"+`"verdict"`), "not valid JSON"},
		{"no verdict", change(`"verdict":"continue",`, ""), `lacks the key "verdict"`},
		{"verdict twice", change(`"verdict":"continue"`, `"verdict":"continue","verdict":"done"`), `the key "verdict" twice`},
		{"another case", change(`"verdict"`, `"VERDICT"`), `unknown key "VERDICT"`},
		{"escaped twice", change(`"verdict":"continue"`, `"verdict":"continue","ver\u0064ict":"done"`), `the key "verdict" twice`},
		{"one more key", change(`"verdict"`, `"confidence":1,"verdict"`), `unknown key "confidence"`},
		{"one more key inside", change(`"status":"met"`, `"status":"met","score":5`), `unknown key "score"`},
		{"status twice", change(`"status":"unknown"`, `"status":"unknown","status":"met"`), `the key "status" twice`},
		{"another verdict", change(`"continue"`, `"yes"`), "verdict must be continue or done or impossible"},
		{"a verdict with space", change(`"continue"`, `"done "`), "verdict must be"},
		{"another status", change(`"status":"met"`, `"status":"mostly"`), "criteria[0].status must be met"},
		{"a boolean", change(`"continue"`, `true`), "verdict is not a text"},
		{"null", change(`"feedback":"Add a test."`, `"feedback":null`), "feedback is not a text"},
		{"no list", change(`"quotes":[]`, `"quotes":{}`), "criteria[1].quotes is not a list"},
		{"null for a list", change(`"quotes":[]`, `"quotes":null`), "criteria[1].quotes is not a list"},
		{"a bare quote", change(`{"item":"E1","text":"ok  pkg"}`, `"ok  pkg"`), "criteria[0].quotes[0]: it is not a JSON object"},
		{"a quote without item", change(`"item":"E1",`, ``), `lacks the key "item"`},
		{"a criterion twice", change(`"id":"b"`, `"id":"a"`), "has the criterion a 2 times"},
		{"a criterion made up", change(`"id":"b"`, `"id":"c"`), `rules on "c", which is no criterion`},
		{"a criterion left out", change(`,{"id":"b","quotes":[],"status":"unknown","missing":"a test"}`, ""), "has the criterion b 0 times"},
		{"too many quotes", change(`"quotes":[]`, `"quotes":[`+strings.Repeat(`{},`, maxQuotes)+`{}]`), "at most 50 are read"},
		{"too long", change("Add a test.", strings.Repeat("x", maxAnswer)), "at most 262144 are read"},
		{"too deep", change(`"quotes":[]`, `"quotes":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAnswer(tt.text, []string{"a", "b"})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, text := range []string{wellFormed, "```json\n" + wellFormed + "\n```", "Yes", `{"verdict":"done"}`, strings.Replace(wellFormed, "continue", "done", 1), tidesDone(), `{"a":`, "```\n```"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids := []string{"a", "b"}
		a, err := parseAnswer(text, ids)
		if err != nil {
			return
		}
		if !slices.Contains([]string{saysContinue, saysDone, saysImpossible}, a.Verdict) || len(a.Criteria) != len(ids) {
			t.Fatalf("%q became %+v", text, a)
		}
		for _, c := range a.Criteria {
			if !slices.Contains(ids, c.ID) || !slices.Contains([]string{statusMet, statusNotMet, statusUnknown}, c.Status) {
				t.Fatalf("%q became %+v", text, a)
			}
		}
		// What was taken is JSON and nothing else: the standard decoder agrees.
		trimmed := unfenced(strings.TrimSpace(text))
		var same map[string]json.RawMessage
		if err := json.Unmarshal([]byte(trimmed), &same); err != nil || len(same) != 3 {
			t.Fatalf("%q was taken: %v", text, err)
		}
	})
}

func TestSchemaIsStrictEverywhere(t *testing.T) {
	var check func(at string, s map[string]any)
	check = func(at string, s map[string]any) {
		switch s["type"] {
		case "object":
			properties := s["properties"].(map[string]any)
			required, _ := s["required"].([]any)
			if s["additionalProperties"] != false || len(required) != len(properties) {
				t.Errorf("%s is not strict: %v", at, s)
			}
			for name, p := range properties {
				check(at+"."+name, p.(map[string]any))
			}
		case "array":
			check(at+"[]", s["items"].(map[string]any))
		case "string":
		default:
			t.Errorf("%s: %v", at, s["type"])
		}
	}
	raw := schema([]string{"a", `b"c`}, []string{"E1"})
	var s map[string]any
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	check("answer", s)
	order := func(names ...string) {
		at := 0
		for _, name := range names {
			i := strings.Index(string(raw[at:]), `"`+name+`":{`)
			if i < 0 {
				t.Fatalf("%s does not follow: %s", name, raw)
			}
			at += i
		}
	}
	order("criteria", "id", "quotes", "status", "missing", "verdict", "feedback")
}

func TestUsableAsksForLess(t *testing.T) {
	a := model.Answer{Message: model.Text(model.Assistant, wellFormed), Stop: model.StopEnd}
	if _, err := usable(a, []string{"a", "b"}); err != nil {
		t.Error(err)
	}
	for _, stop := range []model.Stop{model.StopLength, model.StopRefusal} {
		a.Stop = stop
		if _, err := usable(a, []string{"a", "b"}); err == nil {
			t.Errorf("%s was taken", stop)
		}
	}
}
