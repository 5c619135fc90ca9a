package loops_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func TestLiveTextOfTheLastMinuteAndWhatFollows(t *testing.T) {
	speaks := loopstest.Step{Do: func(_ context.Context, turn loops.Turn) (loops.Result, error) {
		turn.Emit(loops.Live{Text: "old"})
		time.Sleep(2 * time.Minute)
		turn.Emit(loops.Live{Text: "Let me "})
		turn.Emit(loops.Live{Text: "look."})
		turn.Emit(loops.Live{Tool: "files__read"})
		turn.Emit(loops.Live{}) // a heartbeat
		time.Sleep(time.Second)
		turn.Emit(loops.Live{Text: "Done."})
		time.Sleep(time.Second)
		return loops.Result{Output: "ok", Done: true}, nil
	}}
	story(t, loopstest.Script(speaks), func(w *world) {
		id := w.start(nil)
		time.Sleep(2*time.Minute + time.Millisecond)
		synctest.Wait()
		recent, err := w.Recent(w.t.Context(), id)
		if diff := cmp.Diff("Let me look.\n› files__read\n", loops.Said(recent)); diff != "" || err != nil {
			w.t.Error(diff, err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		defer cancel()
		var lines []loops.LiveLine
		for l, err := range w.Follow(ctx, id) {
			if err != nil {
				w.t.Fatal(err)
			}
			lines = append(lines, l)
		}
		if diff := cmp.Diff("Let me look.\n› files__read\nDone.", loops.Said(lines)); diff != "" {
			w.t.Error(diff)
		}
		w.settled(id, loops.Completed, loops.GoalPredicate)
		time.Sleep(5 * time.Minute)
		if recent, err := w.Recent(w.t.Context(), id); err != nil || len(recent) > 0 {
			w.t.Errorf("after minutes there is %v, %v", recent, err)
		}
	})
}

// TestReaderOfASilentLoopHearsItsNextStart: what is kept was forgotten meanwhile.
func TestReaderOfASilentLoopHearsItsNextStart(t *testing.T) {
	speaks := loopstest.Step{Do: func(_ context.Context, turn loops.Turn) (loops.Result, error) {
		turn.Emit(loops.Live{Text: "hello"})
		return loops.Result{Output: "no", Done: turn.Iteration > 1}, nil
	}}
	story(t, loopstest.Script(speaks, speaks), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Delay = loops.Duration(time.Hour) })
		ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Hour)
		defer cancel()
		heard := 0
		for range w.Follow(ctx, id) {
			heard++
		}
		if heard != 2 {
			w.t.Errorf("heard %d lines, want 2", heard)
		}
	})
}

func TestSaidBeginsALineForEachStart(t *testing.T) {
	lines := []loops.LiveLine{{Start: 1, Live: loops.Live{Text: "a"}}, {Start: 1, Live: loops.Live{Text: "b"}}, {Start: 2, Live: loops.Live{Text: "c\n"}}, {Start: 2, Live: loops.Live{Tool: "t"}}, {Start: 3, Live: loops.Live{Text: "d"}}}
	if diff := cmp.Diff("ab\nc\n› t\nd", loops.Said(lines)); diff != "" {
		t.Error(diff)
	}
}
