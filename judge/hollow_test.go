package judge

import (
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

func TestHollowOutputs(t *testing.T) {
	b := brief{Goal: "Write three haiku about rain.", Question: "Are they good?", Criteria: []loops.Criterion{{ID: "form", Text: "Each has 5, 7 and 5 syllables."}}}
	tests := []struct{ output, want string }{
		{"", "empty"}, {" \n\t ", "empty"}, {"\u200b\u2060\ufeff", "empty"}, {"\u3164\u115f", "empty"}, {"\U000e0064\U000e006f", "empty"},
		{":", "no words"}, {"...", "no words"}, {"—\n—", "no words"}, {"```\n```", "no words"}, {"{}", "no words"}, {"✅", "no words"}, {"\n#\n##\n", "no words"},
		{"Done", "only says"}, {"DONE!", "only says"}, {"**Done.** ✅", "only says"}, {"done done done", "only says"}, {"OK", "only says"}, {"Yes.", "only says"}, {"Success", "only says"},
		{"Task completed successfully.", "only says"}, {"The task has been completed.", "only says"}, {"I've finished the task as requested.", "only says"},
		{"All done! Everything works perfectly now.", "only says"}, {"All criteria are met.", "only says"}, {"All requirements satisfied", "only says"},
		{"Thought process:", "only says"}, {"Let's solve this problem step by step.", "only says"}, {"Solution", "only says"}, {"Here is the final answer:", "only says"}, {"# Result\n", "only says"},
		{"解", "only says"}, {"かいせつ", "only says"}, {"Respuesta:", "only says"}, {"Готово.", "only says"}, {"Fertig", "only says"}, {"已完成", "only says"},
		{"TODO", "only says"}, {"TBD", "only says"}, {"n/a", "only says"}, {"null", "only says"}, {"undefined", "only says"}, {"\"\"", "no words"}, {"[]", "no words"},
		{"Lorem ipsum dolor sit amet, consectetur", "placeholder"},
		{"Write three haiku about rain.", "repeats"}, {"write THREE haiku\nabout rain.", "repeats"}, {"Are they good?", "repeats"}, {"Each has 5, 7 and 5 syllables.", "repeats"},

		{"42", ""}, {"Paris", ""}, {"No.", ""}, {"The build is red.", ""}, {"7 of 9 tests pass", ""}, {"rain on the tin roof", ""}, {"雨が降る", ""}, {"Done: parse.go, print.go", ""},
		{"{\"score\": 7}", ""}, {tides, ""}, {"not done", ""}, {"x", ""},
	}
	for _, tt := range tests {
		got := hollow(tt.output, b)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.output, got, tt.want)
		}
	}
}

func TestHollowOutputsNeverReachTheJudge(t *testing.T) {
	for _, output := range []string{"", "Done!", "Write a report about tides."} {
		c := newCourt(t, tidesJudge(), output, replies(tidesDone())...)
		v := c.verdict()
		if v.Met || c.calls() != 0 || len(c.meter.reserved) != 0 || !strings.HasSuffix(v.Reason, "; no model was asked") || !strings.Contains(v.Feedback, "Hand in the result itself") {
			t.Errorf("%q: %d calls, %+v", output, c.calls(), v)
		}
		if len(v.Criteria) != 2 || v.Criteria[0].Status != "unknown" || v.PromptHash != "" || v.Model != "" || v.Fingerprint == "" || !v.SelfReported {
			t.Errorf("%q: %+v", output, v)
		}
	}
}

func TestAHollowOutputBesideEvidenceIsLeftOut(t *testing.T) {
	spec := tidesJudge()
	spec.Evidence = []loops.Look{{Kind: "file", Path: "report.md"}}
	c := newCourt(t, spec, "Done!", replies(say("continue", "Name the moon.", [4]string{"cause", "not_met", "E1", "nothing about the moon"}, [4]string{"sources", "unknown", "", ""}))...)
	c.file("report.md", "nothing about the moon")
	if v := c.verdict(); v.Met || c.calls() != 1 || strings.Contains(c.prompt(0), "Done!") {
		t.Errorf("%+v\n%s", v, c.prompt(0))
	}
}
