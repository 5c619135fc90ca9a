package judge

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

// pinned resolves every name of a shelf.
type pinned struct{ shelf }

func (p pinned) Resolve(name, _ string) (loops.ModelRef, error) {
	if name == "" {
		name = "fast"
	}
	models, err := p.Open(name, "")
	if err != nil {
		return loops.ModelRef{}, err
	}
	return loops.ModelRef{Name: name, ID: models[0].Info().ID, Priced: models[0].Info().Price != nil}, nil
}

// bench is an engine with a judge; outputs are what the worker hands in, the
// last one again and again.
func bench(t *testing.T, m model.Model, until []loops.Condition, change func(*loops.Spec), outputs ...string) (*loops.Engine, loops.ID) {
	t.Helper()
	var steps []loopstest.Step
	for _, text := range outputs {
		steps = append(steps, loopstest.Done(text))
	}
	book := pinned{shelf{"fast": {m}}}
	e := loops.New(loopstest.NewMemory(), loops.Parts{
		Handlers: map[string]loops.Body{"writer": loopstest.Script(steps...)},
		Stops:    Stops(command.Policy{}, nil, book), Models: book,
	}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	spec := loops.Spec{Goal: "Write a report about tides.", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "writer"}, Until: &loops.Until{All: until}}
	if change != nil {
		change(&spec)
	}
	out, err := e.Start(t.Context(), loops.StartRequest{Spec: spec, Source: loops.SourceLibrary, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return e, out.ID
}

func tidesCondition() []loops.Condition {
	c := tidesJudge()
	c.Kind = loops.StopJudge
	return []loops.Condition{c}
}

func waitFor(t *testing.T, e *loops.Engine, id loops.ID, f loops.WaitFor) loops.State {
	t.Helper()
	s, late, err := e.Wait(t.Context(), id, 0, f, 48*time.Hour, nil)
	if err != nil || late {
		t.Fatalf("%s: late %t, %v", s.Status, late, err)
	}
	return s
}

func TestALoopGoesOnUntilTheJudgeIsConvinced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := loopstest.NewModel(cheap(), replies(tidesOpen(), tidesDone())...)
		e, id := bench(t, m, tidesCondition(), nil, "The moon raises two bulges of water. [1] Harbour office", tides)
		s := waitFor(t, e, id, loops.ForSettled)
		if s.Status != loops.Completed || s.Stop.Reason != loops.GoalJudge || s.Ledger.Passes != 2 || len(m.Requests()) != 3 {
			t.Fatalf("%s %+v after %d passes and %d calls", s.Status, s.Stop, s.Ledger.Passes, len(m.Requests()))
		}
		usage, cost := m.Billed()
		if s.Ledger.TotalTokens != usage.Total() || int64(s.Ledger.CostUSD) != cost || len(s.ByModel) == 0 || s.ByModel[0].Role != loops.RoleJudge {
			t.Errorf("billed %+v for %d, the ledger has %+v", usage, cost, s.Ledger.Usage)
		}
		l, err := e.History(t.Context(), id)
		if err != nil || len(l.Verdicts) != 2 || l.Verdicts[0].Met || l.Verdicts[1].PromptHash != promptHash() || l.Verdicts[1].Model != "north/one" {
			t.Errorf("%+v, %v", l.Verdicts, err)
		}
	})
}

func TestAJudgeThatCallsItImpossibleBlocksTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := loopstest.NewModel(cheap(), replies(say("impossible", "The tables of 2025 were never printed.", [4]string{"cause", "met", "E1", "The moon raises two bulges"}, [4]string{"sources", "not_met", "E1", "[1] Harbour office"}))...)
		e, id := bench(t, m, tidesCondition(), nil, tides)
		s := waitFor(t, e, id, loops.ForSettled)
		if s.Status != loops.Blocked || s.Stop.Reason != loops.BlockedImpossible || !strings.Contains(s.Stop.Detail, "never printed") || len(m.Requests()) != 2 {
			t.Errorf("%s %+v", s.Status, s.Stop)
		}
	})
}

func TestAJudgeThatIsDownPausesTheLoopAndChargesNoPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		m := loopstest.NewModel(cheap(), loopstest.Reply{Do: func(context.Context, model.Request) (model.Answer, error) {
			if down {
				return model.Answer{}, &model.Error{Kind: model.ServerError, Unbilled: true, Err: errors.New("503")}
			}
			return loopstest.Says(tidesDone()).Answer, nil
		}})
		e, id := bench(t, m, tidesCondition(), nil, tides)
		s := waitFor(t, e, id, loops.ForAttention)
		if s.Status != loops.Paused || s.Pause.Reason != "judge_unavailable" || s.Ledger.Passes != 0 || s.Ledger.Starts != 1 || s.Owed == nil {
			t.Fatalf("%s %+v, %+v", s.Status, s.Pause, s.Ledger)
		}
		down = false
		if _, err := e.Do(t.Context(), id, loops.Request{Action: loops.ResumeIt}); err != nil {
			t.Fatal(err)
		}
		s = waitFor(t, e, id, loops.ForSettled)
		if s.Status != loops.Completed || s.Ledger.Starts != 1 || s.Ledger.Passes != 1 {
			t.Errorf("%s %+v, %+v", s.Status, s.Stop, s.Ledger)
		}
	})
}

func TestAJudgeWithAWrongKeyFailsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, id := bench(t, loopstest.NewModel(cheap(), loopstest.Breaks(model.BadKey)), tidesCondition(), nil, tides)
		s := waitFor(t, e, id, loops.ForSettled)
		if s.Status != loops.Failed || s.Stop.Reason != loops.FailJudge || s.Ledger.Passes != 0 || !strings.Contains(s.Stop.Detail, "API key") {
			t.Errorf("%s %+v", s.Status, s.Stop)
		}
	})
}

func TestAJudgeWithoutMoneyCapsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := loopstest.NewModel(cheap(), replies(tidesDone())...)
		e, id := bench(t, m, tidesCondition(), func(s *loops.Spec) { s.Limits.MaxCostUSD = 9_000 }, tides)
		s := waitFor(t, e, id, loops.ForSettled)
		_, cost := m.Billed()
		if s.Status != loops.Capped || s.Stop.Reason != loops.CapCost || cost > 9_000 {
			t.Errorf("%s %+v, billed %d", s.Status, s.Stop, cost)
		}
	})
}

func TestProseOfAJudgeNeverCompletesALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := loopstest.NewModel(cheap(), replies("Yes, but two tests still fail.")...)
		e, id := bench(t, m, tidesCondition(), nil, tides)
		s := waitFor(t, e, id, loops.ForAttention)
		if s.Status != loops.Paused || s.Pause.Reason != "judge_unavailable" || !strings.Contains(s.Pause.Detail, "gave no usable answer") || s.Ledger.Passes != 0 {
			t.Errorf("%s %+v %+v", s.Status, s.Pause, s.Ledger)
		}
	})
}
