package remote_test

import (
	"context"
	"encoding/json"
	"testing"

	"example.com/loop-mcp/loops"
)

func TestHandlerElsewhereDoesTheWork(t *testing.T) {
	story(t, func(w *world) {
		var turns []loops.Turn
		w.serve("worker", loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
			turns = append(turns, t)
			t.Emit(loops.Live{Text: "working"})
			if err := t.Save(ctx, json.RawMessage(`{"half":true}`)); err != nil {
				return loops.Result{}, err
			}
			return loops.Result{Output: "ok", Memory: json.RawMessage(`[1]`), Done: len(turns) == 2, Usage: loops.Usage{InputTokens: 2, OutputTokens: 1, CostUSD: 5}}, nil
		}), nil)
		id := w.start(func(s *loops.Spec) { s.Body.With = json.RawMessage(`{"a":"{{ goal }}"}`) })
		s := w.settled(id, loops.Completed)
		if s.Ledger.Starts != 2 || s.Iteration != 2 || s.Output.Text != "ok" || s.Ledger.TotalTokens != 6 || s.Ledger.CostUSD != 10 || string(s.Memory) != "[1]" {
			t.Errorf("%s: %+v, output %q, memory %s", s.Summary(), s.Ledger, s.Output.Text, s.Memory)
		}
		if got := turns[1]; got.Goal != "say ok" || got.Output != "ok" || string(got.Memory) != "[1]" || string(got.Config) != `{"a":"say ok"}` || got.Ledger.Starts != 2 || got.Loop != id {
			t.Errorf("the second turn is %+v", got)
		}
	})
}
