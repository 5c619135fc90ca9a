package mcpserver

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func TestForkOverTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns []loops.Turn
		step := func(output string) loopstest.Step {
			return loopstest.Step{Do: func(_ context.Context, turn loops.Turn) (loops.Result, error) {
				turns = append(turns, turn)
				return loops.Result{Output: output, Done: true}, nil
			}}
		}
		w := newWorld(t, loopstest.Script(step("no"), step("ok"), step("ok then")), nil)
		id := w.startHandler(`,"wait_seconds":50,"labels":{"team":"a"}`)
		w.ok("loop_wait", args("loop_id", id)).want(t, "status", "completed")
		r := w.ok("loop_fork", `{"loop_id":"`+id+`","iteration":1,"goal":"say it ok","limits":{"max_passes":7},"message":"Gently.","request_id":"r1"}`)
		r.want(t, "loop_id", "say-0002", "forked_from.loop_id", id, "forked_from.iteration", 1, "reused", false, "iteration", 0, "limits.max_passes", 7,
			"usage.starts", 0, "warnings.0", "files are not restored: the fork works on them as they are now", "output", "no")
		w.ok("loop_wait", args("loop_id", "say-0002", "wait_seconds", 50)).want(t, "status", "completed", "output", "ok then", "forked_from", nil)
		last := turns[2]
		if last.Goal != "say it ok" || last.Steer != "Gently." || last.Feedback != "say ok" || last.Output != "no" || last.Iteration != 1 {
			t.Errorf("the fork's first turn: %+v", last)
		}
		again := w.ok("loop_fork", `{"loop_id":"`+id+`","iteration":1,"goal":"say it ok","limits":{"max_passes":7},"message":"Gently.","request_id":"r1"}`)
		again.want(t, "loop_id", "say-0002", "reused", true)
		w.fails("loop_fork", `{"loop_id":"`+id+`","message":"Else.","request_id":"r1"}`, "request_id_conflict")
		w.ok("loop_inspect", args("loop_id", "say-0002")).want(t, "forked_from.loop_id", id)
		w.ok("loop_list", `{"labels":{"team":"a"}}`).want(t, "items.1.loop_id", "say-0002")
	})
}

// A client gets the brief of its first iteration in the answer.
func TestForkOfAClientLoopIsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		id := w.startClient(``)
		w.ok("loop_continue", args("loop_id", id, "attention_id", "it-1", "output", "a draft", "memory", map[string]any{"seen": 1}))
		r := w.ok("loop_fork", args("loop_id", id, "message", "Shorter, please."))
		r.want(t, "status", "your_turn", "attention.kind", "iteration", "attention.id", "it-1")
		brief, _ := r.get("attention.prompt").(string)
		for _, part := range []string{"write it", "Shorter, please.", `{"seen":1}`} {
			if !strings.Contains(brief, part) {
				t.Errorf("the brief lacks %q:\n%s", part, brief)
			}
		}
	})
}
