package loops_test

import (
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestAPausedLoopGetsOlder: what max_duration counts was shown as of the last
// change, so that a loop which was paused for a minute seemed to be as old as
// before, and one whose body ran seemed to be as old as when that began.
func TestAPausedLoopGetsOlder(t *testing.T) {
	body := loopstest.Script(loopstest.Step{Takes: 10 * time.Second, Result: loops.Result{Output: "not yet"}}, loopstest.Step{Takes: 5 * time.Second, Result: loops.Result{Output: "ok", Done: true}})
	story(t, body, func(w *world) {
		began := time.Now()
		id := w.start(nil)
		older := func(when string, by time.Duration) {
			t.Helper()
			s, err := w.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.Elapsed(s); got != by {
				t.Errorf("%s: %s have passed, %s is shown (%s)", when, by, got, s.Summary())
			}
		}
		time.Sleep(3 * time.Second)
		older("while the body runs", 3*time.Second)
		w.do(id, loops.Request{Action: loops.PauseIt})
		w.attention(id, loops.Paused)
		time.Sleep(70*time.Second - time.Since(began))
		older("while it is paused", 70*time.Second)
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.settled(id, loops.Completed, loops.GoalPredicate)
		time.Sleep(time.Hour)
		older("an hour after its end", 75*time.Second)
	})
}
