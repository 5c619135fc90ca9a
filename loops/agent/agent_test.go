package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

func TestAgentWorksWithToolsUntilItsGoalIsMet(t *testing.T) {
	two := loopstest.Uses(loopstest.Use("files__read", `{"path":"a"}`), loopstest.Use("files__write", `{"path":"b"}`))
	story(t, replies(two, finish("a draft"), loopstest.Says("ok")), func(w *world) {
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		if got := w.outputs(id); got != "Called files__read, files__write.|a draft|ok" {
			w.t.Errorf("outputs %s", got)
		}
		if diff := cmp.Diff([]string{`files__read{"path":"a"}`, `files__write{"path":"b"}`}, w.box.runs()); diff != "" {
			w.t.Error(diff)
		}
		has(w.t, w.request(1), "say ok", "be brief", "[pass 1 of 10, iteration 1. Left after this turn: 49 of 50 iterations")
		has(w.t, w.request(2), `assistant calls files__read{"path":"a"}`, "did files__read", "did files__write", "iteration 2.")
		has(w.t, w.request(3), "The result that you handed in last", "a draft", "say ok", "[pass 2 of 10, iteration 3.")
		hasNot(w.t, w.request(3), "files__read")
		_, billed := w.model.Billed()
		if s.Ledger.CostUSD != loops.USD(billed)+1000 || s.Ledger.ToolCalls != 2 || s.Ledger.Starts != 3 {
			w.t.Errorf("ledger %+v; the model billed %d", s.Ledger, billed)
		}
	})
}

func TestAgentWithoutToolsNeedsNoServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := loopstest.NewModel(model.Info{}, finish("ok"))
		w := live(t, loopstest.NewMemory(), partsOf(nil, m))
		w.settled(w.start(func(s *loops.Spec) { s.Body.Tools, s.Until, s.Limits.MaxCostUSD = nil, nil, 0 }), loops.Completed, loops.GoalClaimed)
		var names []string
		for _, tool := range m.Requests()[0].Tools {
			names = append(names, tool.Name)
		}
		if got := fmt.Sprint(names); got != "[finish ask note]" {
			t.Errorf("tools %s", got)
		}
	})
}

func TestFinishHandsInAnObjectAsJSON(t *testing.T) {
	story(t, replies(use("finish", `{"result": {"score": 0.5, "verdict": "ok"}, "summary": "looked twice"}`)), func(w *world) {
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		if s.Output.Text != `{"score":0.5,"verdict":"ok"}` || s.Score == nil || *s.Score != 0.5 {
			w.t.Errorf("output %s, score %v", s.Output.Text, s.Score)
		}
	})
}

// TestWhatTheModelIsToldAboutItsCalls: what can't be carried out is an error
// that the model reads, never the end of the loop.
func TestWhatTheModelIsToldAboutItsCalls(t *testing.T) {
	long := strings.Repeat("x", 9000)
	for _, test := range []struct {
		name  string
		calls []model.ToolCall
		want  []string // in the next request
		ran   int
	}{
		{name: "an unknown tool", calls: []model.ToolCall{loopstest.Use("files__format", "{}")}, want: []string{`(error true): There is no tool "files__format"`}},
		{name: "arguments that are not JSON", calls: []model.ToolCall{loopstest.Use("files__read", `{"path":`)}, want: []string{"(error true): Not called: the arguments are not valid JSON"}},
		{name: "arguments that are no object", calls: []model.ToolCall{loopstest.Use("files__read", `[1]`)}, want: []string{"(error true): Not called: the arguments must be a JSON object"}},
		{name: "no arguments", calls: []model.ToolCall{{Name: "files__read"}}, want: []string{"did files__read"}, ran: 1},
		{name: "a note that is no text", calls: []model.ToolCall{loopstest.Use("note", `{"text":7}`)}, want: []string{"(error true): Not kept"}},
		{name: "a note that is too long", calls: []model.ToolCall{loopstest.Use("note", fmt.Sprintf(`{"text":%q}`, long))}, want: []string{"cut to 8192 bytes from 9000"}},
		{name: "a question without words", calls: []model.ToolCall{loopstest.Use("ask", `{"question":"  "}`)}, want: []string{"(error true): Nobody was asked"}},
		{name: "finish without a result", calls: []model.ToolCall{loopstest.Use("finish", `{"summary":"done"}`)}, want: []string{"(error true): Not finished: finish needs result"}},
		{name: "finish with nothing", calls: []model.ToolCall{loopstest.Use("finish", `{"result":null}`)}, want: []string{"(error true): Not finished: finish needs result"}},
		{name: "finish beside a call that failed", calls: []model.ToolCall{loopstest.Use("finish", `{"result":"ok"}`), loopstest.Use("nope", "{}"), loopstest.Use("files__read", "{}")},
			want: []string{"result of finish (error true): Not finished: another call of the same turn failed", "did files__read"}, ran: 1},
		{name: "an unknown handle", calls: []model.ToolCall{loopstest.Use("read_more", `{"handle":"r9"}`)}, want: []string{`(error true): There is no text with the handle "r9"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			story(t, replies(loopstest.Uses(test.calls...), finish("ok")), func(w *world) {
				id := w.start(nil)
				s := w.settled(id, loops.Completed, loops.GoalPredicate)
				has(w.t, w.request(2), test.want...)
				if len(w.box.runs()) != test.ran || s.Ledger.Failures != 0 || s.Ledger.Iterations != 2 {
					w.t.Errorf("ran %v; %+v", w.box.runs(), s.Ledger)
				}
			})
		})
	}
}

func TestFinishBesideOtherCallsComesLast(t *testing.T) {
	both := loopstest.Uses(loopstest.Use("finish", `{"result":"ok"}`), loopstest.Use("finish", `{"result":"another"}`), loopstest.Use("files__write", `{}`))
	story(t, replies(both), func(w *world) {
		w.box.run = func(context.Context, string, json.RawMessage) (agent.Outcome, error) {
			return agent.Outcome{Text: "written"}, nil
		}
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		if len(w.box.runs()) != 1 || s.Output.Text != "ok" || len(w.model.Requests()) != 1 {
			w.t.Errorf("ran %v, output %q, %d calls", w.box.runs(), s.Output.Text, len(w.model.Requests()))
		}
	})
}

func TestNoteIsCarriedToTheNextPass(t *testing.T) {
	story(t, replies(use("note", `{"text":"first"}`), use("note", `{"text":"second: the key is 42"}`), use("finish", `{"result":"no","summary":"tried twice"}`), finish("ok")), func(w *world) {
		w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		has(w.t, w.request(4), "Your note, carried over:", "second: the key is 42", "Your summary of the last pass:", "tried twice")
		hasNot(w.t, w.request(4), "first\n")
	})
}

func TestWhyAnIterationFailedIsTold(t *testing.T) {
	empty := loopstest.Reply{Answer: model.Answer{Stop: model.StopEnd, Usage: model.Usage{Input: 10, Output: 1}}}
	story(t, replies(use("files__read", "{}"), empty, use("files__read", "{}"), finish("ok")), func(w *world) {
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		if got := w.outputs(id); !strings.Contains(got, "|the model gave an empty answer: no text and no tool call|") {
			w.t.Errorf("outputs %s", got)
		}
		has(w.t, w.request(3), "Your last turn failed.", "empty answer")
		if strings.Count(w.request(4), "Your last turn failed.") != 1 || s.Ledger.Passes != 1 {
			w.t.Errorf("%d passes\n%s", s.Ledger.Passes, w.request(4))
		}
	})
}

func TestModelThatKeepsSayingNothingFailsTheLoop(t *testing.T) {
	story(t, replies(loopstest.Says(" \n")), func(w *world) {
		s := w.settled(w.start(nil), loops.Failed, loops.FailFailures)
		has(w.t, s.Stop.Detail, "the model gave an empty answer")
	})
}

func TestRefusalEndsTheLoopAsTheProviders(t *testing.T) {
	refusal := loopstest.Says("I can't help with that.")
	refusal.Answer.Stop = model.StopRefusal
	story(t, replies(refusal), func(w *world) {
		s := w.settled(w.start(nil), loops.Failed, loops.FailProvider)
		has(w.t, s.Stop.Detail, "test/model: the provider declined to answer", "I can't help with that.")
		if _, billed := w.model.Billed(); s.Ledger.CostUSD != loops.USD(billed) {
			w.t.Errorf("the ledger has %s, billed was %d", s.Ledger.CostUSD, billed)
		}
	})
}

func TestAnswerThatWasCutOffGoesOnAndIsJoined(t *testing.T) {
	first := loopstest.Says("The answer is o")
	first.Answer.Stop = model.StopLength
	story(t, replies(first, loopstest.Says("k.")), func(w *world) {
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		if s.Output.Text != "The answer is ok." || s.Ledger.Passes != 1 || s.Ledger.Iterations != 2 {
			w.t.Errorf("output %q, %+v", s.Output.Text, s.Ledger)
		}
		has(w.t, w.request(2), "assistant: The answer is o", "user: Your answer was cut off")
	})
}

func TestCallsOfAnAnswerThatWasCutOffNeverRun(t *testing.T) {
	half := loopstest.Uses(loopstest.Use("files__write", `{"path":"a"}`), loopstest.Use("files__write", `{"path":"b","text":"ha`), loopstest.Use("finish", `{"result":"ok"}`))
	half.Answer.Stop = model.StopLength
	story(t, replies(half, finish("ok")), func(w *world) {
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		if len(w.box.runs()) != 0 || s.Ledger.Iterations != 2 {
			w.t.Errorf("ran %v, %+v", w.box.runs(), s.Ledger)
		}
		if n := strings.Count(w.request(2), "(error true): Not called: your answer was cut off"); n != 3 {
			w.t.Errorf("%d calls were told:\n%s", n, w.request(2))
		}
	})
}

func TestModelThatReasonsUntilItsLimitFailsTheIteration(t *testing.T) {
	thinks := loopstest.Reply{Answer: model.Answer{Stop: model.StopLength, Message: model.Message{Blocks: []model.Block{{Reasoning: "hm"}}}}}
	story(t, replies(thinks, finish("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		has(w.t, w.outputs(id), "the model used up the limit of its answer before it said anything; give the loop more tokens")
	})
}

func TestRateLimitIsWaitedForInsideItsStart(t *testing.T) {
	busy := loopstest.Breaks(model.RateLimited)
	busy.Err.(*model.Error).RetryAfter = 3 * time.Hour
	story(t, replies(use("files__read", "{}"), busy, finish("ok")), func(w *world) {
		began := time.Now()
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		if took := time.Since(began); took < 3*time.Hour || s.Ledger.Starts != 2 || s.Ledger.Failures != 0 || len(w.box.runs()) != 1 {
			w.t.Errorf("took %s, %+v, ran %v", took, s.Ledger, w.box.runs())
		}
	})
}

func TestToolLimitInTheMiddleOfAnAnswer(t *testing.T) {
	three := loopstest.Uses(loopstest.Use("files__write", `{"n":1}`), loopstest.Use("files__write", `{"n":2}`), loopstest.Use("files__write", `{"n":3}`))
	story(t, replies(three, finish("ok")), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.MaxToolCalls = 2 })
		w.settled(id, loops.Capped, loops.CapToolCalls)
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxToolCalls: 5}})
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if diff := cmp.Diff([]string{`files__write{"n":1}`, `files__write{"n":2}`, `files__write{"n":3}`}, w.box.runs()); diff != "" || len(w.model.Requests()) != 2 {
			w.t.Errorf("%d calls of the model; %s", len(w.model.Requests()), diff)
		}
	})
}

func TestFallbackModelTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := loopstest.NewModel(model.Info{ID: "a/down", Price: price()}, loopstest.Breaks(model.Overloaded))
		second := loopstest.NewModel(model.Info{ID: "b/up", Price: price()}, use("files__read", "{}"), finish("ok"))
		b := &box{tools: usualTools()}
		w := live(t, loopstest.NewMemory(), partsOf(b, first, second))
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		if len(first.Requests()) != 2 || len(second.Requests()) != 2 || s.Ledger.Starts != 2 {
			t.Errorf("%d and %d calls, %d starts", len(first.Requests()), len(second.Requests()), s.Ledger.Starts)
		}
	})
}

func TestLiveTextAndToolNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		says := use("files__read", "{}")
		says.Live = []model.Live{{Text: "I look"}, {Text: "secret thoughts", Reasoning: true}}
		says.Takes = time.Second
		gate := make(chan struct{})
		m, b := loopstest.NewModel(model.Info{Price: price()}, says, finish("ok")), &box{tools: usualTools()}
		b.run = func(context.Context, string, json.RawMessage) (agent.Outcome, error) {
			<-gate
			return agent.Outcome{}, nil
		}
		w := live(t, loopstest.NewMemory(), partsOf(b, m))
		id := w.start(nil)
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if l, _, ok := w.Live(id); !ok || l.Tool != "files__read" {
			t.Errorf("live %+v, %t", l, ok)
		}
		close(gate)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		has(t, shown(m.Requests()[1]), "(The tool gave back nothing.)")
	})
}

func TestToolsRestWithTheLoop(t *testing.T) {
	story(t, replies(finish("ok")), func(w *world) {
		w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		synctest.Wait()
		if got := fmt.Sprint(w.box.rested); got != "[completed]" {
			w.t.Errorf("rested %s", got)
		}
	})
}

func TestWrongSettingsAreRefusedBeforeAnythingRuns(t *testing.T) {
	story(t, nil, func(w *world) {
		body := &agent.Body{Book: book{[]model.Model{w.model}}, Tools: w.box}
		for config, want := range map[string]string{
			`{"kind":"agent","model":"unknown"}`:                                 `model: there is no model "unknown"`,
			`{"kind":"agent","model":"smart","tools":["nope__*"]}`:               `tools: no MCP server "nope" is configured`,
			`{"kind":"agent","model":"smart","history":"some"}`:                  `history: must be fresh or all, got "some"`,
			`{"kind":"agent","model":"smart","tools":["files__*"]}`:              "",
			`{"kind":"agent","model":"unknown","tools":["nope__*"],"history":1}`: "read the body's fields",
		} {
			err := body.Check(loops.Setup{Config: json.RawMessage(config), Claim: true})
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				w.t.Errorf("%s: %v, want %q", config, err, want)
			}
		}
		_, err := w.Start(w.t.Context(), loops.StartRequest{Dir: "/", Spec: agentSpec(func(s *loops.Spec) { s.Body.Model, s.Body.Tools = "unknown", []string{"nope__*"} })})
		if got := loops.FieldErrors(err); len(got) != 2 || got[0].Field != "body.model" || got[1].Field != "body.tools" {
			w.t.Errorf("a start with two problems: %v", err)
		}
		err = (&agent.Body{Book: book{[]model.Model{w.model}}}).Check(loops.Setup{Config: json.RawMessage(`{"model":"smart","tools":["files__*"]}`)})
		if err == nil || !errors.Is(err, loops.ErrInvalid) || !strings.Contains(err.Error(), "tools: no MCP servers are configured here") {
			w.t.Errorf("tools without servers: %v", err)
		}
	})
}
