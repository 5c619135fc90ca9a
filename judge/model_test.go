package judge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

func TestDoneNeedsTwoVotesWithQuotes(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(tidesDone())...)
	v := c.verdict()
	if !v.Met || c.calls() != 2 || v.Kind != loops.StopJudge || v.Iteration != 3 || v.Pass != 2 {
		t.Fatalf("%d calls, %+v", c.calls(), v)
	}
	if want := "2 of 2 criteria met (2 votes: same_model; from the worker: independent)"; v.Reason != want {
		t.Errorf("reason %q, want %q", v.Reason, want)
	}
	if v.Model != "north/one" || v.PromptHash != promptHash() || !v.SelfReported || v.Feedback != "" || v.Usage != (loops.Usage{}) || v.Fingerprint == "" {
		t.Errorf("%+v", v)
	}
	if len(v.Criteria) != 2 || v.Criteria[0].Status != "met" || !slices.Equal(v.Criteria[0].Quotes, []string{"The moon raises two bulges of water"}) {
		t.Errorf("rulings %+v", v.Criteria)
	}
	if len(v.Evidence) != 1 || v.Evidence[0].Observed || v.Evidence[0].Source != "output" || v.Evidence[0].Hash != digest(tides) {
		t.Errorf("evidence %+v", v.Evidence)
	}
	if len(c.meter.reserved) != 2 || c.meter.reserved[0].Role != loops.RoleJudge || c.meter.open != 0 || c.meter.spent.TotalTokens == 0 {
		t.Errorf("the ledger saw %+v", c.meter)
	}
}

func TestContinueNeedsOneVote(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(tidesOpen())...)
	v := c.verdict()
	if v.Met || v.Impossible || c.calls() != 1 {
		t.Fatalf("%d calls, %+v", c.calls(), v)
	}
	want := "Name the page of the tables.\n- sources is not met: The report names its sources. (more about sources)"
	if v.Feedback != want || v.Reason != "1 of 2 criteria met; not: sources (not met) (1 vote; from the worker: independent)" {
		t.Errorf("%q, %q", v.Reason, v.Feedback)
	}
}

func TestOneVoteIsEnoughWhereTheSpecSaysSo(t *testing.T) {
	spec := tidesJudge()
	spec.Votes = 1
	if c := newCourt(t, spec, tides, replies(tidesDone())...); !c.verdict().Met || c.calls() != 1 {
		t.Errorf("%d calls", c.calls())
	}
	spec.Votes = 3
	if c := newCourt(t, spec, tides, replies(tidesDone())...); !c.verdict().Met || c.calls() != 3 {
		t.Errorf("%d calls", c.calls())
	}
}

func TestTheQuestionIsTheOneCriterion(t *testing.T) {
	c := newCourt(t, loops.Condition{Question: "Does the report say what raises the tides?"}, tides,
		replies(say("done", "", [4]string{"question", "met", "E1", "The moon raises two bulges"}))...)
	if v := c.verdict(); !v.Met || v.Criteria[0].ID != "question" {
		t.Errorf("%+v", v)
	}
	if text := c.prompt(0); !strings.Contains(text, "question:\n| Does the report say what raises the tides?\n") {
		t.Errorf("prompt:\n%s", text)
	}
}

func TestDisagreementGoesOnWithTheDissent(t *testing.T) {
	impossible := say("impossible", "The tables of 2025 were never printed.", [4]string{"cause", "met", "E1", "The moon raises two bulges"}, [4]string{"sources", "not_met", "E1", "[1] Harbour office"})
	tests := []struct {
		name             string
		answers          []string
		reason, feedback string
	}{
		{"not met after all", []string{tidesDone(), tidesOpen()}, "the first judge saw it otherwise", "Name the page"},
		{"no proof the second time", []string{tidesDone(), say("done", "Great work!", [4]string{"cause", "met", "E1", "The sun raises them all"}, [4]string{"sources", "met", "E1", "Harbour office, tables"})},
			"the host found no proof", "- cause is unknown"},
		{"impossible after done", []string{tidesDone(), impossible}, "one judge calls it impossible, another did not", "never printed"},
		{"done after impossible", []string{impossible, tidesDone()}, "one judge calls it impossible, another did not", "never printed"},
		{"continue after impossible", []string{impossible, tidesOpen()}, "the first judge saw it otherwise", "Name the page"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCourt(t, tidesJudge(), tides, replies(tt.answers...)...)
			v := c.verdict()
			if v.Met || v.Impossible || c.calls() != 2 || !strings.Contains(v.Reason, tt.reason) || !strings.Contains(v.Feedback, tt.feedback) {
				t.Errorf("%d calls: %+v", c.calls(), v)
			}
			if strings.Contains(v.Feedback, "Great work") {
				t.Error("praise is no feedback")
			}
		})
	}
}

func TestImpossibleIsConfirmed(t *testing.T) {
	text := say("impossible", "The tables of 2025 were never printed.", [4]string{"cause", "met", "E1", "The moon raises two bulges"}, [4]string{"sources", "not_met", "E1", "[1] Harbour office"})
	c := newCourt(t, tidesJudge(), tides, replies(text)...)
	v := c.verdict()
	if v.Met || !v.Impossible || c.calls() != 2 || !strings.HasPrefix(v.Reason, "impossible: The tables of 2025 were never printed.") {
		t.Errorf("%d calls, %+v", c.calls(), v)
	}
	if !strings.Contains(c.prompt(1), "something the worker could still do") {
		t.Error("the second vote was not asked to look for a way")
	}
	bare := say("impossible", "I see no way.", [4]string{"cause", "unknown", "", ""}, [4]string{"sources", "not_met", "E1", "no such words"})
	c = newCourt(t, tidesJudge(), tides, replies(bare)...)
	if v := c.verdict(); v.Impossible || c.calls() != 1 || !strings.Contains(v.Reason, "called impossible without a quote") {
		t.Errorf("%d calls, %+v", c.calls(), v)
	}
}

func TestAnotherModelConfirms(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(tidesDone())...)
	second := loopstest.NewModel(model.Info{ID: "north/two"}, replies(tidesDone())...)
	c.models = append(c.models, second)
	v := c.verdict()
	if !v.Met || c.calls() != 1 || len(second.Requests()) != 1 || v.Model != "north/one, north/two" || !strings.Contains(v.Reason, "2 votes: same_vendor") {
		t.Errorf("%d and %d calls: %+v", c.calls(), len(second.Requests()), v)
	}
}

func TestIndependence(t *testing.T) {
	for _, tt := range []struct {
		id     string
		others []string
		want   string
	}{
		{"a/x", []string{"b/x"}, "independent"}, {"a/x", []string{"b/x", "a/y"}, "same_vendor"}, {"a/x", []string{"a/y", "a/x"}, "same_model"}, {"a/x", nil, "independent"},
	} {
		if got := independence(tt.id, tt.others); got != tt.want {
			t.Errorf("%s, %q: %s", tt.id, tt.others, got)
		}
	}
	c := newCourt(t, tidesJudge(), tides, replies(tidesOpen())...)
	c.e.Worker = "north/one"
	if v := c.verdict(); !strings.Contains(v.Reason, "from the worker: same_model") {
		t.Error(v.Reason)
	}
	c = newCourt(t, tidesJudge(), tides, replies(tidesOpen())...)
	c.e.Worker = ""
	if v := c.verdict(); strings.Contains(v.Reason, "worker") {
		t.Error(v.Reason)
	}
}

func TestProseIsNeverYes(t *testing.T) {
	for _, text := range []string{
		"Yes", "yes, all criteria are met.", "Yes, but two tests still fail", "DONE", "```\ndone\n```", `"done"`, `true`, `[{"verdict":"done"}]`, "",
		"Here is my answer: " + tidesDone(), tidesDone() + "\nHope this helps!", "```json\n" + tidesDone() + "\n```\nDone.",
		tidesDone() + tidesDone(), `{"verdict":"done"}`, strings.Replace(tidesDone(), `"verdict"`, `"Verdict"`, 1),
		strings.Replace(tidesDone(), `"verdict":"done"`, `"verdict":"continue","verdict":"done"`, 1), strings.Replace(tidesDone(), `"feedback":""`, `"feedback":"","met":true`, 1),
	} {
		c := newCourt(t, tidesJudge(), tides, replies(text)...)
		v, err := c.ask()
		if v.Met || err == nil || c.calls() != 2 {
			t.Errorf("%q: %d calls, %+v, %v", text, c.calls(), v, err)
			continue
		}
		if mark(err) != "transient" {
			t.Errorf("%q is no passing fault: %v", text, err)
		}
		if repair := c.prompt(1); !strings.Contains(repair, "That answer can't be used: ") {
			t.Errorf("%q: no repair was asked for", text)
		}
	}
}

func TestOneRepairMends(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies("Yes!", tidesOpen())...)
	if v := c.verdict(); c.calls() != 2 || v.Met || !strings.Contains(v.Feedback, "Name the page") {
		t.Errorf("%d calls, %+v", c.calls(), v)
	}
	repair := c.first.Requests()[1]
	last := repair.Messages[len(repair.Messages)-2:]
	if last[0].Role != model.Assistant || last[0].Text() != "Yes!" || !strings.Contains(last[1].Text(), "it is not a JSON object") {
		t.Errorf("%+v", last)
	}
	if repair.MaxTok == 0 || len(repair.Schema) == 0 || repair.System != systemText {
		t.Errorf("%+v", repair)
	}
}

func TestEveryClassOfModelError(t *testing.T) {
	for kind, want := range map[model.Kind]string{
		model.BadKey: "permanent", model.NoCredit: "permanent", model.UnknownModel: "permanent", model.BadRequest: "permanent", model.ContextTooLong: "permanent",
		model.RateLimited: "limited", model.Overloaded: "limited",
		model.ServerError: "transient", model.Network: "transient", model.Incomplete: "transient", model.Malformed: "transient", model.Refused: "transient",
	} {
		t.Run(string(kind), func(t *testing.T) {
			c := newCourt(t, tidesJudge(), tides, loopstest.Breaks(kind))
			v, err := c.ask()
			if err == nil || v.Met || mark(err) != want {
				t.Fatalf("got %s %v, want %s", mark(err), err, want)
			}
			if model.KindOf(err) != kind || c.meter.open != 0 {
				t.Errorf("%v, %d calls left open", err, c.meter.open)
			}
			if calls := map[bool]int{true: 2, false: 1}[kind == model.Refused]; c.calls() != calls {
				t.Errorf("%d calls, want %d", c.calls(), calls)
			}
		})
	}
}

func TestARefusalIsMendedByAnotherModel(t *testing.T) {
	declined := loopstest.Says("")
	declined.Answer.Stop = model.StopRefusal
	for name, first := range map[string]loopstest.Reply{"error": loopstest.Breaks(model.Refused), "stop": declined} {
		t.Run(name, func(t *testing.T) {
			c := newCourt(t, tidesJudge(), tides, first)
			second := loopstest.NewModel(model.Info{ID: "south/two"}, replies(tidesOpen())...)
			c.models = append(c.models, second)
			if v := c.verdict(); v.Model != "south/two" || c.calls() != 1 || len(second.Requests()) != 1 {
				t.Errorf("%d and %d calls: %+v", c.calls(), len(second.Requests()), v)
			}
		})
	}
}

func TestAnAnswerThatIsCutIsNoAnswer(t *testing.T) {
	cut := loopstest.Says(tidesDone()) // whole by chance, and yet its end is not known
	cut.Answer.Stop = model.StopLength
	c := newCourt(t, tidesJudge(), tides, cut, loopstest.Says(tidesOpen()))
	if v := c.verdict(); v.Met || c.calls() != 2 || !strings.Contains(c.prompt(1), "write shorter quotes") {
		t.Errorf("%d calls, %+v", c.calls(), v)
	}
}

func TestALimitEndsTheJudgement(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, replies(tidesDone())...)
	c.meter.room = 1000
	_, err := c.ask()
	capped, ok := errors.AsType[*loops.CapError](err)
	if !ok || capped.Reason != loops.CapTokens || c.calls() != 0 {
		t.Errorf("%v after %d calls", err, c.calls())
	}
}

func TestAFallbackVotesWhereTheFirstModelIsDown(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides, loopstest.Breaks(model.Overloaded))
	second := loopstest.NewModel(model.Info{ID: "south/two"}, replies(tidesDone())...)
	c.models = append(c.models, second)
	v := c.verdict()
	if !v.Met || len(second.Requests()) != 2 || v.Model != "south/two" || !strings.Contains(v.Reason, "2 votes: same_model") {
		t.Errorf("%d calls: %+v", len(second.Requests()), v)
	}
}

func TestAJudgeThatCanNotBeAskedIsPermanent(t *testing.T) {
	for name, tt := range map[string]struct {
		spec loops.Condition
		pin  string
		want string
	}{
		"no model":      {loops.Condition{Question: "Is it good?", Model: "smart"}, "", `has no model "smart"`},
		"another model": {loops.Condition{Question: "Is it good?"}, "south/other", "created with south/other"},
		"two questions": {loops.Condition{Criteria: []loops.Criterion{{ID: "a", Text: "x"}, {ID: "a", Text: "y"}}}, "", "criteria[1].id: is there twice"},
		"no program":    {loops.Condition{Question: "Is it good?", Evidence: []loops.Look{{Kind: "command", Run: []string{"no-such-program"}}}}, "", "was not found on PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCourt(t, tt.spec, tides)
			if tt.pin != "" {
				c.e.Models = map[string]string{"": tt.pin}
			}
			if tt.spec.Model != "" {
				c.judge.Book = shelf{}
			}
			e := c.e
			e.Config, e.Meter = config(t, tt.spec), c.meter
			if c.judge.Book == nil {
				c.judge.Book = shelf{"": c.models}
			}
			v, err := c.judge.Judge(t.Context(), e)
			if v.Met || err == nil || mark(err) != "permanent" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestTheJudgeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := make(chan struct{})
	reply := loopstest.Reply{Do: func(ctx context.Context, _ model.Request) (model.Answer, error) {
		close(asked)
		<-ctx.Done()
		return model.Answer{}, &model.Error{Kind: model.Network, Err: ctx.Err()}
	}}
	c := newCourt(t, tidesJudge(), tides, reply)
	go func() {
		<-asked
		cancel(loops.ErrCancelNow)
	}()
	c.judge.Book = shelf{"": c.models}
	e := c.e
	e.Config, e.Meter = config(t, c.spec), c.meter
	v, err := c.judge.Judge(ctx, e)
	if !errors.Is(err, loops.ErrCancelNow) || v.Met || c.meter.open != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestTheJudgeIsSeenAtWork(t *testing.T) {
	reply := loopstest.Says(tidesOpen())
	reply.Live = []model.Live{{Text: `{"criteria"`}, {Text: "thinking", Reasoning: true}}
	c := newCourt(t, tidesJudge(), tides, reply)
	var seen []loops.Live
	c.e.Emit = func(l loops.Live) { seen = append(seen, l) }
	c.verdict()
	if want := []loops.Live{{Text: "judge: vote 1 of at most 2\n"}, {}, {}}; !slices.Equal(seen, want) {
		t.Errorf("%+v", seen)
	}
}

func TestCheckKnowsThePinnedModel(t *testing.T) {
	m := Model{Book: shelf{"fast": {loopstest.NewModel(model.Info{ID: "north/one"})}}}
	c := config(t, loops.Condition{Question: "x", Model: "fast"})
	for pin, ok := range map[string]bool{"north/one": true, "north/old": false} {
		if err := m.Check(loops.Setup{Config: c, Models: map[string]string{"fast": pin}, Claim: true}); (err == nil) != ok {
			t.Errorf("%s: %v", pin, err)
		}
	}
}
