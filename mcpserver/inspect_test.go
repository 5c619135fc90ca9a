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
	"github.com/google/go-cmp/cmp"
)

// worked is a world with one completed loop of n passes, each with an output
// of size bytes.
func worked(t *testing.T, n, size int) (*world, string) {
	t.Helper()
	var steps []loopstest.Step
	for i := 1; i < n; i++ {
		steps = append(steps, loopstest.Done(fmt.Sprintf("no %d %s", i, strings.Repeat("x", size))))
	}
	w := newWorld(t, loopstest.Script(append(steps, loopstest.Done("ok"))...), nil)
	id := w.startHandler(fmt.Sprintf(`,"limits":{"max_passes":%d},"wait_seconds":50,"stall":{"passes":0}`, n+1))
	w.ok("loop_wait", args("loop_id", id)).want(t, "status", "completed", "iteration", n)
	return w, id
}

func keysOf(v any) []string {
	m, _ := v.(map[string]any)
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestInspectViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id := worked(t, 3, 10)
		view := func(view string, more ...any) reply {
			return w.ok("loop_inspect", args(append([]any{"loop_id", id, "view", view}, more...)...))
		}
		plain := w.ok("loop_inspect", args("loop_id", id))
		plain.want(t, "items", nil, "status", "completed", "limits.max_passes", 4, "next_page", nil)
		if got := view("summary").text; got != plain.text {
			t.Errorf("summary is not the default:\n%s\n%s", got, plain.text)
		}
		view("output").want(t, "items.0.text", "ok", "items.1", nil)
		view("output", "iteration", 2).want(t, "items.0.text", "no 2 xxxxxxxxxx")

		r := view("iterations")
		r.want(t, "items.0.iteration", 1, "items.0.pass", 1, "items.0.epoch", 1, "items.0.ok", true, "items.0.output", "no 1 xxxxxxxxxx",
			"items.0.usage.cost_usd", 0, "items.0.verdict.met", false, "items.2.iteration", 3, "items.2.verdict.met", true, "items.3", nil)
		view("iteration").want(t, "items.0.iteration", 3, "items.1", nil)
		view("iteration", "iteration", 1).want(t, "items.0.iteration", 1, "items.0.output", "no 1 xxxxxxxxxx")

		view("verdicts").want(t, "items.0.iteration", 1, "items.0.kind", "contains", "items.0.met", false, "items.0.feedback", "say ok",
			"items.0.cost_usd", 0, "items.0.self_reported", false, "items.2.met", true, "items.3", nil)
		view("verdicts", "iteration", 2).want(t, "items.0.iteration", 2, "items.1", nil)
		view("events").want(t, "items.0.type", "created", "items.0.cursor", 1)
		view("spec").want(t, "items.0.goal", "say ok", "items.0.limits.max_passes", 4, "items.0.spec_truncated", nil)
		view("why").want(t, "items.0.status", "completed", "items.0.reason", "goal.predicate", "items.0.rule", stopRules[loops.GoalPredicate]+" Decisive: until.all[0] (contains).")
		view("live").want(t, "items", []any{})

		want := map[string][]string{
			"output": {"text"}, "events": {"at", "cursor", "text", "type"}, "why": {"actions", "evidence", "reason", "rule", "status"},
			"iterations": {"ended_at", "epoch", "iteration", "ok", "output", "output_truncated", "pass", "started_at", "usage", "verdict"},
			"verdicts":   {"cost_usd", "feedback", "iteration", "kind", "met", "pass", "reason", "self_reported"},
		}
		for name, keys := range want {
			got := map[string]bool{}
			for _, k := range keysOf(view(name).get("items.0")) {
				got[k] = true
			}
			all := map[string]bool{}
			for _, k := range keys {
				all[k] = true
			}
			if diff := cmp.Diff(all, got); diff != "" {
				t.Errorf("keys of an item of %s:\n%s", name, diff)
			}
		}
	})
}

func TestInspectLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("ok")
		step.Takes = time.Minute
		w := newWorld(t, loopstest.Script(step), nil)
		id := w.startHandler(``)
		time.Sleep(30 * time.Second)
		r := w.ok("loop_inspect", args("loop_id", id, "view", "live"))
		r.want(t, "items.0.silent_seconds", 30, "items.0.text", "")
	})
}

func TestInspectLiveShowsTheLastMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Step{Do: func(_ context.Context, turn loops.Turn) (loops.Result, error) {
			turn.Emit(loops.Live{Text: "long ago\n"})
			time.Sleep(50 * time.Second)
			turn.Emit(loops.Live{Text: "Let me look "})
			turn.Emit(loops.Live{Text: "at \x1b[2Jit."})
			turn.Emit(loops.Live{Tool: "read_file"})
			time.Sleep(15 * time.Second)
			turn.Emit(loops.Live{Text: strings.Repeat("grün ", 100) + "end"})
			time.Sleep(2 * time.Minute)
			return loops.Result{Output: "ok", Done: true}, nil
		}}
		w := newWorld(t, loopstest.Script(step), nil)
		id := w.startHandler(``)
		live := func(rest ...any) reply {
			return w.ok("loop_inspect", args(append([]any{"loop_id", id, "view", "live"}, rest...)...))
		}
		time.Sleep(55 * time.Second)
		live().want(t, "items.0.text", "long ago\nLet me look at \x1b[2Jit.\n› read_file\n", "items.0.tool", "read_file", "items.0.silent_seconds", 5)
		time.Sleep(15 * time.Second)
		r := live("max_chars", 100)
		r.want(t, "items.0.tool", nil, "items.0.silent_seconds", 5)
		if text := r.get("items.0.text").(string); !strings.HasPrefix(text, "…") || !strings.HasSuffix(text, "grün end") || len(text) > 110 {
			t.Errorf("100 characters of the end are %q", text)
		}
		time.Sleep(90 * time.Second)
		live().want(t, "items.0.silent_seconds", 95)
		time.Sleep(time.Minute)
		live().want(t, "status", "completed", "items", []any{})
	})
}

// What another process works on says its text there, too.
func TestInspectLiveOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeEngine{state: loops.State{ID: "far-aaaa", Status: loops.Running}, said: []loops.LiveLine{
			{At: time.Now().Add(-3 * time.Second), Live: loops.Live{Text: "hello"}}, {At: time.Now().Add(-2 * time.Second), Live: loops.Live{Tool: "grep"}}}}
		items, err := liveItems(t.Context(), f, f.state, window{chars: 1000})
		if diff := cmp.Diff([]liveItem{{Text: "hello\n› grep\n", Tool: "grep", SilentSeconds: 2}}, items); diff != "" || err != nil {
			t.Errorf("%v, (-want +got):\n%s", err, diff)
		}
		f.state.Status = loops.Completed
		if items, err := liveItems(t.Context(), f, f.state, window{chars: 1000}); err != nil || len(items) > 0 {
			t.Errorf("a loop that has settled says %+v, %v", items, err)
		}
		f.err = loops.ErrClosed
		if _, err := liveItems(t.Context(), f, f.state, window{chars: 1000}); !errors.Is(err, loops.ErrClosed) {
			t.Errorf("a store that is closed: %v", err)
		}
	})
}

// TestPagesJoinToTheWhole: pages follow one another without a gap or a
// repetition, also when the loop is large.
func TestPagesJoinToTheWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id := worked(t, 7, 300)
		for view, key := range map[string]string{"iterations": "iteration", "events": "cursor", "verdicts": "iteration"} {
			var got, want []any
			page, pages := "", 0
			for {
				a := []any{"loop_id", id, "view", view, "limit", 2}
				if page != "" {
					a = append(a, "page", page)
				}
				r := w.ok("loop_inspect", args(a...))
				for i := 0; r.get(fmt.Sprintf("items.%d", i)) != nil; i++ {
					got = append(got, r.get(fmt.Sprintf("items.%d.%s", i, key)))
				}
				pages++
				next, more := r.get("next_page").(string)
				if !more {
					break
				}
				if !strings.Contains(r.get("next").(string), "next_page") {
					t.Errorf("%s: next does not say that there is more: %s", view, r.get("next"))
				}
				page = next
			}
			whole := w.ok("loop_inspect", args("loop_id", id, "view", view, "limit", 100))
			for i := 0; whole.get(fmt.Sprintf("items.%d", i)) != nil; i++ {
				want = append(want, whole.get(fmt.Sprintf("items.%d.%s", i, key)))
			}
			if diff := cmp.Diff(want, got); diff != "" || pages < 3 {
				t.Errorf("%s in %d pages:\n%s", view, pages, diff)
			}
		}
	})
}

func TestOutputPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := "ok " + strings.Repeat("漢字 \"quoted\"\n", 40_000)
		w := newWorld(t, loopstest.Script(loopstest.Done(big)), nil)
		id := w.startHandler(`,"wait_seconds":5`)
		r := w.ok("loop_inspect", args("loop_id", id))
		r.want(t, "output_truncated", true)
		if next := r.get("next").(string); !strings.Contains(next, "view output") {
			t.Errorf("next = %q", next)
		}
		var got strings.Builder
		page := ""
		for {
			a := []any{"loop_id", id, "view", "output", "max_chars", 100_000}
			if page != "" {
				a = append(a, "page", page)
			}
			r := w.ok("loop_inspect", args(a...))
			if n := len(r.text); n > 104_000 {
				t.Fatalf("a page of %d bytes", n)
			}
			got.WriteString(r.get("items.0.text").(string))
			next, more := r.get("next_page").(string)
			if !more {
				break
			}
			page = next
		}
		if got.String() != big {
			t.Errorf("the pages join to %d bytes, want %d", got.Len(), len(big))
		}
		w.fails("loop_inspect", args("loop_id", id, "view", "output", "page", "output.4"), "page")
	})
}

// TestInspectIsBounded: 2 KB beside the snapshot, unless more is asked for.
func TestInspectIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id := worked(t, 25, 20_000)
		for view, limit := range map[string]int{"summary": 2600, "iterations": 14_000, "verdicts": 8000, "events": 5000, "output": 4000, "iteration": 4000, "spec": 10_000, "why": 5000} {
			if r := w.ok("loop_inspect", args("loop_id", id, "view", view)); len(r.text) > limit {
				t.Errorf("%s takes %d bytes", view, len(r.text))
			}
		}
		small := w.ok("loop_inspect", args("loop_id", id, "view", "iteration", "iteration", 3, "max_chars", 200))
		large := w.ok("loop_inspect", args("loop_id", id, "view", "iteration", "iteration", 3, "max_chars", 60_000))
		large.want(t, "items.0.output_truncated", false)
		small.want(t, "items.0.output_truncated", true)
		if len(large.text) < 20_000 || len(small.text) > 3000 {
			t.Errorf("max_chars has no effect: %d and %d bytes", len(small.text), len(large.text))
		}
	})
}

func TestSpecIsClipped(t *testing.T) {
	s := loops.Spec{Goal: strings.Repeat("g", 64<<10), Context: strings.Repeat("c", 64<<10)}
	s.Body = loops.BodySpec{Prompt: strings.Repeat("p", 256<<10), Stdin: strings.Repeat("s", 256<<10), With: mustJSON(strings.Repeat("w", 1<<20))}
	short := shortSpec(s, maxSpec)
	if n := len(mustJSON(short)); n > maxSpec || !short.Truncated {
		t.Errorf("%d bytes, truncated %t", n, short.Truncated)
	}
	s.Until = &loops.Until{Any: []loops.Condition{{Kind: "predicate", Expression: strings.Repeat("e", 1<<20)}}}
	if short := shortSpec(s, maxSpec); len(mustJSON(short)) > maxSpec || s.Until == nil {
		t.Errorf("%d bytes with a long expression", len(mustJSON(short)))
	}
	if s.Goal = "x"; len(s.Context) != 64<<10 {
		t.Error("the spec itself was changed")
	}
}

// TestEventsAreBounded: the newest ones that fit, and how many do not.
func TestEventsAreBounded(t *testing.T) {
	var all []loops.Event
	for i := uint64(1); i <= 500; i++ {
		all = append(all, loops.Event{Cursor: i, Type: loops.EventIteration, Text: strings.Repeat("e", 300)})
	}
	for _, tt := range []struct {
		cursor, last uint64
		atLeast      int
	}{{0, 500, 5}, {490, 500, 5}, {499, 500, 1}, {500, 500, 0}, {0, 3, 3}} {
		got := newestEvents(all, tt.cursor, tt.last)
		if len(got) < tt.atLeast || len(got) > maxEvents || len(mustJSON(got)) > maxEventsSize+10 {
			t.Errorf("%d..%d: %d events, %d bytes", tt.cursor, tt.last, len(got), len(mustJSON(got)))
		}
		for i, e := range got {
			if want := tt.last - uint64(len(got)) + uint64(i) + 1; e.Cursor != want {
				t.Errorf("%d..%d: event %d has cursor %d, want %d", tt.cursor, tt.last, i, e.Cursor, want)
			}
		}
	}
	f := &fakeEngine{state: loops.State{ID: "fix-aaaa", Status: loops.Completed, Cursor: 500}, events: all[100:]}
	a := Snapshot(f, f.state, nil)
	if err := addEvents(t.Context(), f, &a, 50); err != nil || *a.EventsDropped != 450-len(a.Events.([]Event)) {
		t.Errorf("%d events, %d dropped, %v", len(a.Events.([]Event)), *a.EventsDropped, err)
	}
}
