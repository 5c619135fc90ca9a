package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"github.com/mark3labs/mcp-go/mcp"
)

func TestClientDrivenLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		r := w.ok("loop_start", `{"name":"draft","goal":"write it","until":{"all":[{"kind":"human","question":"good?"}]},"labels":{"team":"docs"},"request_id":"r1"}`)
		r.want(t, "loop_id", "draft-0001", "status", "your_turn", "attention.kind", "iteration", "iteration", 0, "pass", 1, "epoch", 1,
			"output_truncated", false, "usage.starts", 1, "limits.max_passes", 10, "enforcement.max_cost_usd", "not_metered", "reused", false,
			"runs_while", "this test runs", "timed_out", nil)
		if brief, _ := r.get("attention.prompt").(string); !strings.Contains(brief, "write it") {
			t.Errorf("the brief does not tell the goal: %q", brief)
		}
		attention := r.get("attention.id").(string)
		for _, part := range []string{"loop_continue", "draft-0001", attention} {
			if next := r.get("next").(string); !strings.Contains(next, part) {
				t.Errorf("next %q does not name %q", next, part)
			}
		}
		w.ok("loop_start", `{"name":"draft","goal":"write it","until":{"all":[{"kind":"human","question":"good?"}]},"labels":{"team":"docs"},"request_id":"r1"}`).want(t, "loop_id", "draft-0001", "reused", true)
		w.fails("loop_start", `{"name":"draft","goal":"write more","until":{"all":[{"kind":"human","question":"good?"}]},"request_id":"r1"}`, "request_id")

		// The answer to a submit waits for what comes of it.
		r = w.ok("loop_continue", args("loop_id", "draft-0001", "attention_id", attention, "output", "first draft",
			"usage", map[string]any{"input_tokens": 100, "output_tokens": 20, "cost_usd": 0.25, "tool_calls": 3}, "request_id", "s1"))
		r.want(t, "status", "needs_input", "attention.kind", "approval", "attention.prompt", r.get("attention.prompt"), "iteration", 1,
			"output", "first draft", "usage.total_tokens", 120, "usage.cost_usd", 0.25, "timed_out", false, "limits", nil, "reused", false)
		w.ok("loop_continue", args("loop_id", "draft-0001", "attention_id", attention, "output", "first draft", "request_id", "s1")).want(t, "reused", true)
		w.ok("loop_inspect", args("loop_id", "draft-0001", "view", "iteration")).want(t, "items.0.usage.total_tokens", 120, "items.0.output", "first draft")
		w.fails("loop_continue", args("loop_id", "draft-0001", "attention_id", attention, "output", "again"), "needs_input")
		w.fails("loop_approve", args("loop_id", "draft-0001", "decision", "approve"), "attention_id", r.get("attention.id").(string))

		denied := w.ok("loop_approve", args("loop_id", "draft-0001", "decision", "deny", "attention_id", r.get("attention.id"), "message", "too short"))
		if denied.get("limits") == nil {
			t.Errorf("loop_approve shows no limits: %s", denied.text)
		}
		r = w.ok("loop_wait", args("loop_id", "draft-0001"))
		r.want(t, "status", "your_turn", "pass", 2, "verdict.met", false, "verdict.decided_by", "human")
		if brief := r.get("attention.prompt").(string); !strings.Contains(brief, "too short") {
			t.Errorf("the brief does not pass on the feedback: %q", brief)
		}
		r = w.ok("loop_continue", args("loop_id", "draft-0001", "attention_id", r.get("attention.id"), "output", "a longer draft"))
		w.ok("loop_approve", args("loop_id", "draft-0001", "decision", "approve", "attention_id", r.get("attention.id")))
		w.ok("loop_wait", args("loop_id", "draft-0001", "for", "settled")).want(t, "status", "completed", "stop.reason", "goal.human",
			"stop.resumable", false, "output", "a longer draft", "timed_out", false, "usage.passes", 2)

		// A completed loop goes on when something is missing.
		w.fails("loop_continue", args("loop_id", "draft-0001", "action", "reopen"), "message")
		w.ok("loop_continue", args("loop_id", "draft-0001", "action", "reopen", "message", "add a title")).want(t, "status", "your_turn", "epoch", 2)
		w.ok("loop_cancel", args("loop_id", "draft-0001", "reason", "enough")).want(t, "status", "cancelled", "stop.reason", "cancel.client", "already_settled", false)
		w.ok("loop_cancel", args("loop_id", "draft-0001")).want(t, "already_settled", true)
		if w.opened != 1 {
			t.Errorf("the engine was opened %d times, want once", w.opened)
		}
	})
}

func TestHandlerLoopWithWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("almost")
		step.Takes = time.Second
		w := newWorld(t, loopstest.Script(step, step, loopstest.Done("ok")), nil)
		r := w.ok("loop_start", strings.Replace(handlerArgs, "%s", `,"wait_seconds":30`, 1))
		r.want(t, "status", "completed", "stop.reason", "goal.predicate", "usage.passes", 3, "output", "ok", "timed_out", false, "verdict.met", true)
	})
}

func TestWaitIsLevelTriggeredAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := loopstest.Done("no")
		slow.Takes = time.Hour
		w := newWorld(t, loopstest.Script(slow), nil)
		id := w.startHandler(``)
		synctest.Wait()
		for _, tt := range []struct {
			args  string
			takes time.Duration
			note  string
		}{
			{`,"wait_seconds":0`, 0, ""},
			{``, 20 * time.Second, ""},
			{`,"wait_seconds":7`, 7 * time.Second, ""},
			{`,"wait_seconds":50`, 50 * time.Second, ""},
			{`,"wait_seconds":51`, 50 * time.Second, "capped at 50"},
			{`,"wait_seconds":100000000`, 50 * time.Second, "capped at 50"},
		} {
			begin := time.Now()
			r := w.ok("loop_wait", `{"loop_id":"`+id+`"`+tt.args+`}`)
			r.want(t, "timed_out", true, "status", "running", "phase", "body")
			if took := time.Since(begin); took != tt.takes {
				t.Errorf("wait with %q took %s, want %s", tt.args, took, tt.takes)
			}
			if next := r.get("next").(string); !strings.Contains(next, tt.note) || !strings.Contains(next, "loop_wait") {
				t.Errorf("next = %q, want %q and loop_wait", next, tt.note)
			}
		}
		begin := time.Now()
		r := w.ok("loop_wait", args("loop_id", id, "for", "change"))
		r.want(t, "timed_out", false, "events_dropped", 0)
		if took := time.Since(begin); took != 0 || r.get("events.0.type") != "created" {
			t.Errorf("a change after cursor 0 is there already: took %s, %s", took, r.text)
		}
		r = w.ok("loop_wait", args("loop_id", id, "for", "change", "cursor", r.get("cursor"), "wait_seconds", 1))
		r.want(t, "timed_out", true, "events", nil)
		w.fails("loop_wait", args("loop_id", id, "cursor", 1000), "cursor", "last event is")
	})
}

// TestTheCallIsNotTheLoop: a call that goes away leaves the loop alone.
func TestTheCallIsNotTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("ok")
		step.Takes = time.Minute
		w := newWorld(t, loopstest.Script(step), nil)
		id := w.startHandler(``)
		ctx, cancel := contextAfter(t, 5*time.Second)
		defer cancel()
		r := w.callWith(ctx, "loop_wait", args("loop_id", id), "")
		if r.isError { // a script that pipes its calls and closes stdin reads this answer
			t.Fatalf("a wait cut short tells where the loop is, got: %s", r.text)
		}
		r.want(t, "loop_id", id, "status", "running", "timed_out", true)
		w.ok("loop_wait", args("loop_id", id, "wait_seconds", 50))
		w.ok("loop_wait", args("loop_id", id, "wait_seconds", 50)).want(t, "status", "completed", "usage.starts", 1)

		ctx, cancel = contextAfter(t, 5*time.Second)
		defer cancel()
		r = w.callWith(ctx, "loop_start", strings.Replace(handlerArgs, "%s", `,"wait_seconds":30`, 1), "")
		if r.isError {
			t.Fatalf("a start whose wait was cancelled stands: %s", r.text)
		}
		r.want(t, "loop_id", "say-0002", "timed_out", true)
	})
}

func TestPauseSteerResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("no")
		step.Takes = 10 * time.Second
		body := loopstest.Script(step, loopstest.Done("ok"))
		w := newWorld(t, body, nil)
		id := w.startHandler(``)
		time.Sleep(time.Second)
		r := w.ok("loop_pause", args("loop_id", id, "reason", "lunch"))
		r.want(t, "status", "running")
		if next := r.get("next").(string); !strings.Contains(next, "safe point") {
			t.Errorf("next = %q", next)
		}
		r = w.ok("loop_wait", args("loop_id", id))
		r.want(t, "status", "paused", "pause.reason", "client", "timed_out", false)
		w.ok("loop_continue", args("loop_id", id, "message", "say OK in lower case")).want(t, "status", "paused")
		w.ok("loop_inspect", args("loop_id", id, "view", "why")).want(t, "items.0.status", "paused")
		w.ok("loop_continue", args("loop_id", id, "wait_seconds", 20)).want(t, "status", "completed", "output", "ok")
		if turns := body.Turns(); turns[len(turns)-1].Steer != "say OK in lower case" {
			t.Errorf("the body saw the steer %q", turns[len(turns)-1].Steer)
		}
	})
}

// TestMessageIsAnAnswerOrASteer: what a message means is inferred from the
// loop, and the same for a repeated request.
func TestMessageIsAnAnswerOrASteer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := loopstest.Step{Result: loops.Result{Output: "?", Ask: &loops.Ask{Prompt: "which one?"}}}
		body := loopstest.Script(ask, loopstest.Done("ok"))
		w := newWorld(t, body, nil)
		id := w.startHandler(``)
		r := w.ok("loop_wait", args("loop_id", id))
		r.want(t, "status", "needs_input", "attention.kind", "question", "attention.prompt", "which one?")
		if next := r.get("next").(string); !strings.Contains(next, "Ask the user") || !strings.Contains(next, "loop_continue") {
			t.Errorf("next = %q", next)
		}
		w.ok("loop_continue", args("loop_id", id, "message", "the red one", "request_id", "a")).want(t, "reused", false)
		w.ok("loop_continue", args("loop_id", id, "message", "the red one", "request_id", "a")).want(t, "reused", true)
		w.ok("loop_wait", args("loop_id", id, "for", "settled")).want(t, "status", "completed")
		if turns := body.Turns(); turns[1].Answer != "the red one" || turns[1].Steer != "" {
			t.Errorf("the body saw answer %q and steer %q", turns[1].Answer, turns[1].Steer)
		}
	})
}

func TestRaisingALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loopstest.Script(loopstest.Done("1"), loopstest.Done("2"), loopstest.Done("ok")), nil)
		id := w.startHandler(`,"limits":{"max_passes":2}`)
		r := w.ok("loop_wait", args("loop_id", id))
		r.want(t, "status", "capped", "stop.reason", "cap.passes", "output", "2")
		w.fails("loop_continue", args("loop_id", id), "cap_not_raised", "max_passes")
		w.ok("loop_inspect", args("loop_id", id, "view", "why")).want(t, "items.0.reason", "cap.passes", "items.0.rule", stopRules[loops.CapPasses])
		w.ok("loop_approve", args("loop_id", id, "decision", "set_limits", "limits", map[string]any{"max_passes": 5})).want(t, "limits.max_passes", 5, "epoch", 2)
		w.ok("loop_wait", args("loop_id", id)).want(t, "status", "completed", "output", "ok")
	})
}

func TestCancelReachesTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("no")
		step.Takes = time.Hour
		w := newWorld(t, loopstest.Script(step), nil)
		id := w.startHandler(``)
		time.Sleep(time.Second)
		begin := time.Now()
		w.ok("loop_cancel", args("loop_id", id, "mode", "now")).want(t, "status", "cancelled", "timed_out", false)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("cancel took %s", took)
		}
	})
}

func TestApprovalsByAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Approvals: "person"})
		id := w.startClient(``)
		r := w.ok("loop_wait", args("loop_id", id))
		r = w.ok("loop_continue", args("loop_id", id, "attention_id", r.get("attention.id"), "output", "x"))
		r.want(t, "status", "needs_input")
		if next := r.get("next").(string); !strings.Contains(next, "loop-mcp approve "+id) || strings.Contains(next, "loop_approve") {
			t.Errorf("next = %q", next)
		}
		for _, decision := range []string{"approve", "deny"} {
			w.fails("loop_approve", args("loop_id", id, "decision", decision, "attention_id", r.get("attention.id")), "person", "loop-mcp approve "+id)
		}
		w.fails("loop_approve", args("loop_id", id, "decision", "set_limits", "limits", map[string]any{"max_passes": 99}), "person")
		w.ok("loop_inspect", args("loop_id", id)).want(t, "status", "needs_input", "limits.max_passes", 10)
	})
}

func TestDryRunStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		r := w.ok("loop_start", strings.Replace(handlerArgs, "%s", `,"dry_run":true,"limits":{"max_passes":1000000000}`, 1))
		r.want(t, "dry_run", true, "loop_id", nil, "spec.goal", "say ok", "spec.limits.max_passes", 10000)
		if r.get("warnings.0") == nil {
			t.Errorf("no warning about the clamped limit: %s", r.text)
		}
		w.ok("loop_list", `{}`).want(t, "items.0", nil)
		w.fails("loop_start", `{"goal":"x","dry_run":true}`, "no_stop_condition", "until")
	})
}

func TestUnknownIDNamesRecentOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		w.fails("loop_wait", `{"loop_id":"nope-7k3q"}`, "nope-7k3q", "loop_start")
		for range 4 {
			w.startClient(``)
			time.Sleep(time.Second)
		}
		w.startClient(`,"labels":{"a":"b"}`)
		want := []string{"draft-0005", "draft-0004", "draft-0003"}
		calls := map[string]string{
			"loop_wait": `{"loop_id":"nope-7k3q"}`, "loop_inspect": `{"loop_id":"nope-7k3q"}`, "loop_pause": `{"loop_id":"nope-7k3q"}`,
			"loop_continue": `{"loop_id":"nope-7k3q"}`, "loop_cancel": `{"loop_id":"nope-7k3q"}`,
			"loop_approve": `{"loop_id":"nope-7k3q","decision":"set_limits","limits":{"max_passes":3}}`,
		}
		for tool, a := range calls {
			if r := w.fails(tool, a, want...); r.detail.Code != "not_found" || strings.Contains(r.text, "draft-0001") {
				t.Errorf("%s: %s (%s)", tool, r.text, r.detail.Code)
			}
		}
	})
}

// TestUnknownIDPrefersTheName: a model that forgot the end of an id remembers
// its beginning.
func TestUnknownIDPrefersTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loopstest.Script(loopstest.Done("ok")), nil)
		w.startHandler(`,"wait_seconds":5`)
		for range 5 {
			time.Sleep(time.Second)
			w.startClient(``)
		}
		w.fails("loop_wait", `{"loop_id":"say-7k3q"}`, "most recent ones are say-0001, draft-0006, draft-0005,")
		w.fails("loop_wait", `{"loop_id":"say"}`, "loop_id")
		w.fails("loop_wait", `{"loop_id":"sayings-7k3q"}`, "most recent ones are draft-0006, draft-0005, draft-0004,")
	})
}

func TestListPagesAndFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loopstest.Script(loopstest.Done("ok")), nil)
		for range 3 {
			w.startHandler(`,"wait_seconds":5`)
			time.Sleep(time.Second)
		}
		mine := w.startClient(`,"labels":{"team":"docs"}`)
		r := w.ok("loop_list", `{"limit":2}`)
		r.want(t, "items.0.loop_id", mine, "items.0.status", "your_turn", "items.1.loop_id", "say-0003", "items.2", nil)
		r = w.ok("loop_list", args("limit", 2, "page", r.get("next_page")))
		r.want(t, "items.0.loop_id", "say-0002", "items.1.loop_id", "say-0001", "next_page", nil)
		w.ok("loop_list", `{"labels":{"team":"docs"}}`).want(t, "items.0.loop_id", mine, "items.1", nil)
		w.ok("loop_list", `{"status":["completed"]}`).want(t, "items.2.status", "completed", "items.3", nil)
		w.ok("loop_list", `{"status":["failed"]}`).want(t, "items", []any{})
		w.fails("loop_list", `{"page":"../../etc/passwd"}`, "page")
	})
}

func TestDamagedLoopIsShown(t *testing.T) {
	d, ok := explain(errors.Join(loops.ErrDamaged))
	if !ok || d.Code != "damaged" {
		t.Errorf("explain = %+v, %t", d, ok)
	}
}

// TestAStoreThatWasGivenUp: the engine is closed while the server lives, and the
// client is told why, not that the server ends.
func TestAStoreThatWasGivenUp(t *testing.T) {
	opened := 0
	closed := loopstest.NewMemory()
	w := newTools(func(context.Context) (engineAPI, error) {
		if opened++; opened > 1 {
			return nil, errors.New("a newer program hosts the store: restart this client")
		}
		return loops.New(closed, loops.Parts{}, nil), nil
	})
	if _, err := w.engine(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := w.errorResult(t.Context(), "loop_list", fmt.Errorf("list loops: %w", loops.ErrClosed))
		if text := r.Content[0].(mcp.TextContent).Text; !strings.Contains(text, "restart this client") {
			t.Errorf("the client is told %q", text)
		}
	}
	w = newTools(func(context.Context) (engineAPI, error) {
		return loops.New(loopstest.NewMemory(), loops.Parts{}, nil), nil
	})
	if text := w.errorResult(t.Context(), "loop_list", loops.ErrClosed).Content[0].(mcp.TextContent).Text; !strings.Contains(text, "removed or replaced") {
		t.Errorf("when there is another store the client is told %q", text)
	}
	w = newTools(func(context.Context) (engineAPI, error) { return nil, loops.ErrClosed })
	r := w.errorResult(t.Context(), "loop_list", loops.ErrClosed)
	if text := r.Content[0].(mcp.TextContent).Text; !strings.Contains(text, "shutting down") {
		t.Errorf("at the end of the server the client is told %q", text)
	}
}

func newTools(open func(context.Context) (engineAPI, error)) *tools {
	return toolsFor(open, nil)
}
