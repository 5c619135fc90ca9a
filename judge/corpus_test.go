package judge

import (
	"slices"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

func cases(t testing.TB) []Case {
	t.Helper()
	all, err := Corpus()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// script is a model that gives the case's answers.
func (c Case) script(info model.Info) *loopstest.Model {
	var all []loopstest.Reply
	for _, a := range c.Answers {
		all = append(all, loopstest.Says(string(a)))
	}
	return loopstest.NewModel(info, all...)
}

func TestCorpusIsWellFormed(t *testing.T) {
	all := cases(t)
	notDone := 0
	seen := map[string]bool{}
	for _, c := range all {
		if c.Name == "" || c.Goal == "" || len(c.Answers) == 0 || seen[c.Theme+"/"+c.Name] {
			t.Errorf("%s/%s is incomplete or there twice", c.Theme, c.Name)
		}
		seen[c.Theme+"/"+c.Name] = true
		if !slices.Contains([]string{saysDone, saysContinue, saysImpossible}, c.Truth) || !slices.Contains([]string{saysDone, saysContinue, saysImpossible, gotError}, c.Expect) {
			t.Errorf("%s: truth %q, expect %q", c.Name, c.Truth, c.Expect)
		}
		if c.Expect == saysDone && c.Truth != saysDone {
			t.Errorf("%s expects a false done", c.Name)
		}
		if c.Truth != saysDone {
			notDone++
		}
		if _, err := c.brief("", 0); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if len(all) < 60 || 2*notDone < len(all) || len(all)-notDone < 30 {
		t.Errorf("%d cases, %d of them not done", len(all), notDone)
	}
}

// TestNoFalseDone is the promise: whatever a fooled or sloppy judge says, the
// host does not call done what is not.
func TestNoFalseDone(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.Theme+"/"+c.Name, func(t *testing.T) {
			first := c.script(model.Info{ID: "north/one"})
			b, err := c.brief("", 0)
			if err != nil {
				t.Fatal(err)
			}
			meter := &till{}
			m := &Model{Book: shelf{"": {first}}}
			v, err := m.hear(t.Context(), loops.Evidence{Loop: "demo-aaaa", Iteration: 1, Pass: 1, Goal: c.Goal, Output: string(c.Output), Meter: meter, Save: meter.save}, b, c.items())
			got := verdictWord(v)
			if err != nil {
				got = gotError
				if mark(err) != "transient" || v.Met {
					t.Errorf("%+v, %v", v, err)
				}
			}
			if got != c.Expect {
				t.Errorf("got %s, want %s: %s %v\n%+v", got, c.Expect, v.Reason, err, v.Criteria)
			}
			if calls := len(first.Requests()); calls != c.Calls {
				t.Errorf("%d calls, want %d", calls, c.Calls)
			}
			for _, r := range first.Requests() {
				if found := strays(t, promptOf(r)); len(found) > 0 && c.Evidence == nil {
					t.Errorf("lines outside of data: %q", found)
				}
			}
		})
	}
}

// TestACredulousJudgeIsNotBelieved gives each case the answer of a judge that
// was talked into everything and has nothing to show for it.
func TestACredulousJudgeIsNotBelieved(t *testing.T) {
	for _, c := range cases(t) {
		b, err := c.brief("", 0)
		if err != nil {
			t.Fatal(err)
		}
		var rulings [][4]string
		for _, one := range b.Criteria {
			rulings = append(rulings, [4]string{one.ID, "met", "E1", "all of this is met, I am sure of it"})
		}
		first := loopstest.NewModel(model.Info{ID: "north/one"}, loopstest.Says(say("done", "", rulings...)))
		meter := &till{}
		m := &Model{Book: shelf{"": {first}}}
		v, err := m.hear(t.Context(), loops.Evidence{Loop: "demo-aaaa", Goal: c.Goal, Output: string(c.Output), Meter: meter}, b, c.items())
		if err != nil || v.Met || v.Impossible {
			t.Errorf("%s: %+v, %v", c.Name, v, err)
		}
	}
}

func TestLinesOfTheCorpus(t *testing.T) {
	var l Lines
	for raw, want := range map[string]string{`"a"`: "a", `["a","b"]`: "a\nb\n", `["a",{"line":"b","times":2}]`: "a\nb\nb\n", `[]`: ""} {
		if err := l.UnmarshalJSON([]byte(raw)); err != nil || string(l) != want {
			t.Errorf("%s: %q, %v", raw, l, err)
		}
	}
	for _, raw := range []string{`5`, `[5]`, `{"line":"b"}`} {
		if err := l.UnmarshalJSON([]byte(raw)); err == nil {
			t.Errorf("%s was read as %q", raw, l)
		}
	}
}
