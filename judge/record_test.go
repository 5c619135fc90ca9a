package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
	"github.com/google/go-cmp/cmp"
)

// stubborn answers each vote first with prose and, asked to repair it, with
// done: four calls for a verdict, whatever was asked before.
func stubborn() loopstest.Reply {
	return loopstest.Reply{Do: func(_ context.Context, r model.Request) (model.Answer, error) {
		text := "Yes!"
		if strings.Contains(promptOf(r), "That answer can't be used") {
			text = tidesDone()
		}
		return loopstest.Says(text).Answer, nil
	}}
}

func TestNothingIsBoughtTwiceAfterACrash(t *testing.T) {
	whole := newCourt(t, tidesJudge(), tides, stubborn())
	want := whole.verdict()
	if !want.Met || whole.calls() != 4 {
		t.Fatalf("%d calls, %+v", whole.calls(), want)
	}
	for _, point := range []string{"reserve", "settle", "settled"} {
		for n := 1; n <= 4; n++ {
			t.Run(fmt.Sprintf("%s %d", point, n), func(t *testing.T) {
				c := newCourt(t, tidesJudge(), tides, stubborn())
				left, gone := n, false
				c.meter.crash = func(at string) error {
					if at == point {
						left--
					}
					if gone = gone || left == 0; gone {
						return errCrash
					}
					return nil
				}
				if v, err := c.ask(); !errors.Is(err, errCrash) || v.Met {
					t.Fatalf("%+v, %v", v, err)
				}
				c.meter.crash = nil
				got := c.verdict()
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the verdict differs (-want +got):\n%s", diff)
				}
				bought := 4
				if point == "settle" { // the answer was lost with the process
					bought = 5
				}
				if c.calls() != bought {
					t.Errorf("%d calls, want %d", c.calls(), bought)
				}
				if again := c.verdict(); !cmp.Equal(want, again) || c.calls() != bought {
					t.Errorf("asked again: %d calls, %+v", c.calls(), again)
				}
			})
		}
	}
}

func TestARefusalSurvivesACrash(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, loopstest.Breaks(model.Refused), loopstest.Says(tidesOpen()))
	c.meter.crash = func(at string) error {
		if at == "saved" {
			return errCrash
		}
		return nil
	}
	if _, err := c.ask(); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	c.meter.crash = nil
	if v := c.verdict(); v.Met || c.calls() != 2 || !strings.Contains(c.prompt(1), "(no answer)") && !strings.Contains(promptOf(c.first.Requests()[1]), "you declined") {
		t.Errorf("%d calls, %+v", c.calls(), v)
	}
}

func TestAfterTwoUnusableAnswersTheVoteBeginsAnew(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(tidesDone(), "Yes!", "Yes!!", tidesDone())...)
	if _, err := c.ask(); mark(err) != "transient" || c.calls() != 3 {
		t.Fatalf("%d calls, %v", c.calls(), err)
	}
	if v := c.verdict(); !v.Met || c.calls() != 4 {
		t.Errorf("%d calls, %+v: the first vote is not bought again", c.calls(), v)
	}
	if text := c.prompt(3); strings.Contains(text, "can't be used") || !strings.Contains(text, "Examine this strictly") {
		t.Error("the second vote did not begin anew")
	}
}

func TestTheSameEvidenceIsNotJudgedTwice(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(tidesOpen(), tidesDone())...)
	first := c.verdict()
	c.e.Iteration, c.e.Pass = 7, 3
	again := c.verdict()
	if c.calls() != 1 || again.Met || again.Iteration != 7 || again.Pass != 3 || again.Fingerprint != first.Fingerprint || again.Feedback != first.Feedback {
		t.Errorf("%d calls, %+v", c.calls(), again)
	}
	if want := "the evidence is the same as at pass 2: " + first.Reason; again.Reason != want {
		t.Errorf("reason %q, want %q", again.Reason, want)
	}
	c.e.Output = tides + "\nMore."
	if v := c.verdict(); !v.Met || c.calls() != 3 || v.Fingerprint == first.Fingerprint {
		t.Errorf("new evidence: %d calls, %+v", c.calls(), v)
	}
	if text := c.prompt(1); !strings.Contains(text, "At the last pass, about other evidence: cause met, sources not_met.") {
		t.Error(text)
	}
}

func TestNewWordsAboutTheSameEvidenceBuyNoVerdict(t *testing.T) {
	spec := tidesJudge()
	spec.Evidence = []loops.Look{{Kind: "file", Path: "report.md"}}
	c := newCourt(t, spec, "I wrote half of the report.", replies(say("continue", "Go on.", [4]string{"cause", "not_met", "E1", "half of a report"}, [4]string{"sources", "unknown", "", ""}), tidesDone())...)
	c.file("report.md", "half of a report")
	c.verdict()
	c.e.Iteration, c.e.Pass, c.e.Output = 8, 4, "I have now really written the whole report, look again."
	if v := c.verdict(); v.Met || c.calls() != 1 {
		t.Errorf("%d calls, %+v", c.calls(), v)
	}
}

// TestAnOutputThatIsEvidenceIsJudgedAnew: a worker that mends its answer beside
// an unchanged file was given the old verdict.
func TestAnOutputThatIsEvidenceIsJudgedAnew(t *testing.T) {
	spec := loops.Condition{Question: "Is the answer that of calc.txt?", Evidence: []loops.Look{{Kind: "output"}, {Kind: "file", Path: "calc.txt"}}}
	c := newCourt(t, spec, "The answer is 48.", replies(say("continue", "Calculate again.", [4]string{"question", "not_met", "E2", "12 * 7 = 84"}), say("done", "", [4]string{"question", "met", "E2", "12 * 7 = 84"}))...)
	c.file("calc.txt", "12 * 7 = 84")
	c.verdict()
	c.e.Iteration, c.e.Pass, c.e.Output = 4, 3, "The answer is 84."
	if v := c.verdict(); !v.Met || c.calls() != 3 {
		t.Errorf("%d calls, %+v", c.calls(), v)
	}
}

func TestWhatIsAskedBelongsToTheEvidence(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(tidesOpen())...)
	c.verdict()
	for name, change := range map[string]func(){
		"goal": func() { c.e.Goal = "another goal" }, "question": func() { c.spec.Question = "another question" },
		"criteria": func() { c.spec.Criteria[0].Text += " Fully." }, "votes": func() { c.spec.Votes = 3 }, "model": func() { c.spec.Model = "smart" },
	} {
		before := c.calls()
		change()
		if c.verdict(); c.calls() != before+1 {
			t.Errorf("with another %s %d calls were made", name, c.calls()-before)
		}
	}
}

func TestImpossibleIsAskedAgainWhenAPersonLetTheLoopGoOn(t *testing.T) {
	text := say("impossible", "No tables exist.", [4]string{"cause", "met", "E1", "The moon raises two bulges"}, [4]string{"sources", "not_met", "E1", "[1] Harbour office"})
	c := newCourt(t, tidesJudge(), tides, replies(text, text, tidesDone())...)
	if v := c.verdict(); !v.Impossible {
		t.Fatalf("%+v", v)
	}
	if v := c.verdict(); !v.Impossible || c.calls() != 2 {
		t.Errorf("in the same judgement: %d calls, %+v", c.calls(), v)
	}
	c.e.Iteration, c.e.Pass = 4, 3
	if v := c.verdict(); !v.Met || c.calls() != 4 {
		t.Errorf("after a person let it go on: %d calls, %+v", c.calls(), v)
	}
}

// TestTimesInEvidence: the same tests never take the same time. Within a
// judgement that is no other evidence; at a later pass it is, because a
// criterion may be about a time.
func TestTimesInEvidence(t *testing.T) {
	b, err := decodeBrief(config(t, tidesJudge()), "g")
	if err != nil {
		t.Fatal(err)
	}
	took := func(d string) []item {
		text := "ok  \texample/parse\t" + d
		return []item{{ref: "E1", kind: loops.LookCommand, source: "go test", observed: true, facts: []string{"exit code: 0"}, text: text, hash: digest(text), stable: digest(normalize(text))}}
	}
	answer := say("done", "", [4]string{"cause", "met", "E1", "exit code: 0"}, [4]string{"sources", "met", "E1", "ok example/parse"})
	first := loopstest.NewModel(model.Info{ID: "north/one"}, loopstest.Says(answer))
	m := &Model{Book: shelf{"": {first}}}
	meter := &till{}
	hear := func(pass int, d string) loops.Verdict {
		t.Helper()
		v, err := m.hear(t.Context(), loops.Evidence{Loop: "demo-aaaa", Iteration: pass, Pass: pass, Meter: meter, Saved: meter.saved, Save: meter.save}, b, took(d))
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		return v
	}
	settled := 0
	meter.crash = func(at string) error {
		if at == "settled" {
			if settled++; settled == 1 {
				return errCrash
			}
		}
		return nil
	}
	hear(1, "0.004s")
	one := hear(1, "0.123s")
	if calls := len(first.Requests()); !one.Met || calls != 2 {
		t.Fatalf("after a crash, with another time: %d calls, %+v", calls, one)
	}
	two := hear(2, "0.777s")
	if calls := len(first.Requests()); calls != 4 || two.Fingerprint != one.Fingerprint {
		t.Errorf("at the next pass: %d calls", calls)
	}
}

func TestRecordsOfOthersAreIgnored(t *testing.T) {
	for name, saved := range map[string]string{"nothing": "", "no JSON": "}{", "another version": `{"v":99,"votes":[{}]}`, "another shape": `["x"]`, "a lie": `{"v":1,"exact":"x","verdict":{"met":true}}`} {
		c := newCourt(t, tidesJudge(), tides, replies(tidesOpen())...)
		c.meter.saved = json.RawMessage(saved)
		if v := c.verdict(); v.Met || c.calls() != 1 {
			t.Errorf("%s: %d calls, %+v", name, c.calls(), v)
		}
	}
}

func TestTheRecordIsSmall(t *testing.T) {
	long := strings.Repeat("long words ", 4000)
	spec := loops.Condition{Votes: maxVotes}
	var rulings [][4]string
	for i := range maxCriteria {
		spec.Criteria = append(spec.Criteria, loops.Criterion{ID: fmt.Sprintf("c%d", i), Text: "It is long."})
		rulings = append(rulings, [4]string{fmt.Sprintf("c%d", i), "met", "E1", long[:1995]})
	}
	c := newCourt(t, spec, long, replies(say("done", long[:2000], rulings...))...)
	v := c.verdict()
	if !v.Met || len(c.meter.saved) > 512<<10 || len(v.Criteria[0].Quotes[0]) > 2*keptQuote {
		t.Errorf("%d bytes", len(c.meter.saved))
	}
	c = newCourt(t, spec, long, replies(long, say("continue", long[:2000], rulings...))...)
	v = c.verdict()
	if raw, _ := json.Marshal(v); len(raw) > 64<<10 || len([]rune(strings.Split(v.Feedback, "\n")[0])) > maxAdvice {
		t.Errorf("a verdict of %d bytes", len(raw))
	}
}

func TestFeedbackIsBounded(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(say("continue", strings.Repeat("é", 2000), [4]string{"cause", "not_met", "", ""}, [4]string{"sources", "unknown", "", ""}))...)
	first, rest, _ := strings.Cut(c.verdict().Feedback, "\n")
	if len([]rune(first)) != maxAdvice || !strings.HasPrefix(rest, "- cause is not met: The report says what raises the tides. (more about cause)\n- sources is unknown: ") {
		t.Errorf("%d characters, then %q", len([]rune(first)), rest)
	}
}

func TestEvidenceThatIsGoneAfterACrashIsOther(t *testing.T) {
	spec := tidesJudge()
	spec.Evidence = []loops.Look{{Kind: "file", Path: "report.md"}}
	c := newCourt(t, spec, "I wrote the report.", replies(tidesDone())...)
	c.file("report.md", tides)
	c.meter.crash = func(at string) error {
		if at == "settled" {
			return errCrash
		}
		return nil
	}
	if _, err := c.ask(); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	c.meter.crash = nil
	if err := os.Remove(filepath.Join(c.e.Dir, "report.md")); err != nil {
		t.Fatal(err)
	}
	if v := c.verdict(); v.Met || !strings.Contains(v.Criteria[0].Note, "is not in E1") {
		t.Errorf("a vote on a file that is gone still counts: %+v", v)
	}
}
