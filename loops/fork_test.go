package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// remembering is a step that hands in output with memory and a score.
func remembering(output, memory string, score float64) loopstest.Step {
	return loopstest.Step{Do: func(context.Context, loops.Turn) (loops.Result, error) {
		return loops.Result{Output: output, Memory: json.RawMessage(memory), Score: &score, Done: true}, nil
	}}
}

// threePasses is a script of three passes, then whatever comes.
func threePasses(rest ...loopstest.Step) *loopstest.ScriptedBody {
	return loopstest.Script(append([]loopstest.Step{
		remembering("one", `{"n":1}`, 1), remembering("two", `{"n":2}`, 5), remembering("three ok", `{"n":3}`, 3)}, rest...)...)
}

func (w *world) fork(r loops.ForkRequest) loops.Outcome {
	w.t.Helper()
	out, err := w.Fork(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("Fork: %v", err)
	}
	return out
}

func (w *world) noFork(r loops.ForkRequest, sentinel error, want string) {
	w.t.Helper()
	before := w.loops()
	_, err := w.Fork(w.t.Context(), r)
	if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
		w.t.Fatalf("Fork %+v: got %v, want %v with %q", r, err, sentinel, want)
	}
	if now := w.loops(); now != before {
		w.t.Fatalf("%d loops before the refused fork, %d after", before, now)
	}
}

func (w *world) loops() int {
	w.t.Helper()
	heads, _, err := w.List(w.t.Context(), loops.Filter{Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(heads)
}

func TestForkBeginsWhereTheOriginalWas(t *testing.T) {
	var got loops.Turn
	after := loopstest.Step{Do: func(_ context.Context, turn loops.Turn) (loops.Result, error) {
		got = turn
		return loops.Result{Output: "ok", Done: true}, nil
	}}
	story(t, threePasses(after), func(w *world) {
		id := w.start(nil)
		before := w.settled(id, loops.Completed, loops.GoalPredicate)
		out := w.fork(loops.ForkRequest{Loop: id, Iteration: new(2), Message: "Mind the gap."})
		if diff := cmp.Diff(&loops.Forked{Loop: id, Iteration: 2, Message: "Mind the gap."}, out.Origin.Forked); diff != "" {
			t.Error(diff)
		}
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "files are not restored") {
			t.Errorf("warnings %q", out.Warnings)
		}
		s := w.settled(out.ID, loops.Completed, loops.GoalPredicate)
		if got.Iteration != 1 || got.Pass != 1 || got.Epoch != 1 || got.Output != "two" || string(got.Memory) != `{"n":2}` ||
			got.Feedback != "say ok" || got.Steer != "Mind the gap." || got.Ledger.Starts != 1 || got.Goal != "say ok" {
			t.Errorf("the first turn is %+v", got)
		}
		if s.Ledger.Starts != 1 || s.Ledger.Passes != 1 || s.Iteration != 1 || s.Best == nil || s.Best.Score != 5 {
			t.Errorf("ledger %+v, iteration %d, best %+v", s.Ledger, s.Iteration, s.Best)
		}
		if e := w.events(out.ID); !strings.HasPrefix(e, "created, steer, started, steer_applied") && !strings.HasPrefix(e, "created,steer") {
			t.Logf("events %s", e)
		}
		now, err := w.Get(t.Context(), id)
		if err != nil || now.Rev != before.Rev {
			t.Errorf("the original is at revision %d, was at %d: %v", now.Rev, before.Rev, err)
		}
	})
}

func TestForkOfACompletedLoopHasNoVerdictThatHolds(t *testing.T) {
	story(t, threePasses(loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		out := w.fork(loops.ForkRequest{Loop: id, Goal: "say ok twice", Limits: loops.Limits{MaxPasses: 4}})
		if out.Verdict != nil || out.Feedback != "" || out.Output.Text != "three ok" || string(out.Memory) != `{"n":3}` || out.Origin.Forked.Iteration != 3 {
			t.Errorf("it begins with %+v, %q, %q, %s", out.Verdict, out.Feedback, out.Output.Text, out.Memory)
		}
		if out.Goal() != "say ok twice" || out.Limits.MaxPasses != 4 || out.Limits.MaxFailures != 3 {
			t.Errorf("goal %q, limits %+v", out.Goal(), out.Limits)
		}
		w.settled(out.ID, loops.Completed, loops.GoalPredicate)
	})
}

// The limits of the fork are the spec's: what a person raised for the original is
// not raised for it, and ceilings hold.
func TestForkHasLimitsOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := live(t, loopstest.NewMemory(), threePasses(loopstest.Done("no"), loopstest.Done("ok")), &loops.Options{Ceilings: loops.Limits{MaxPasses: 20}})
		id := w.start(func(s *loops.Spec) { s.Limits.MaxPasses = 2 })
		w.settled(id, loops.Capped, loops.CapPasses)
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxPasses: 9}})
		w.settled(id, loops.Completed, loops.GoalPredicate)
		out := w.fork(loops.ForkRequest{Loop: id, Iteration: new(0)})
		if out.Limits.MaxPasses != 2 || out.Ledger.Passes != 0 || out.Output.Text != "" || out.Memory != nil {
			t.Errorf("limits %+v, ledger %+v, output %q", out.Limits, out.Ledger, out.Output.Text)
		}
		w.settled(out.ID, loops.Completed, loops.GoalPredicate)
		out = w.fork(loops.ForkRequest{Loop: id, Limits: loops.Limits{MaxPasses: 500}})
		if out.Limits.MaxPasses != 20 || !strings.Contains(strings.Join(out.Warnings, "; "), "max_passes") {
			t.Errorf("limits %+v, warnings %q", out.Limits, out.Warnings)
		}
	})
}

func TestForkOfAFork(t *testing.T) {
	story(t, threePasses(remembering("four", `{"n":4}`, 1), loopstest.Done("ok"), loopstest.Done("ok")), func(w *world) {
		first := w.start(nil)
		w.settled(first, loops.Completed, loops.GoalPredicate)
		second := w.fork(loops.ForkRequest{Loop: first, Iteration: new(1)})
		w.settled(second.ID, loops.Completed, loops.GoalPredicate)
		third := w.fork(loops.ForkRequest{Loop: second.ID, Iteration: new(1)})
		if diff := cmp.Diff([]loops.ID{second.ID, first}, third.Origin.Pins); diff != "" {
			t.Errorf("it pins (-want +got)\n%s", diff)
		}
		if third.Output.Text != "four" || string(third.Memory) != `{"n":4}` {
			t.Errorf("it begins with %q and %s", third.Output.Text, third.Memory)
		}
		w.settled(third.ID, loops.Completed, loops.GoalPredicate)
	})
}

// Before its first iteration a fork is where the original was.
func TestForkOfAForkThatHasNotMoved(t *testing.T) {
	slow := loopstest.Step{Takes: time.Hour, Do: func(context.Context, loops.Turn) (loops.Result, error) { return loops.Result{}, nil }}
	story(t, threePasses(slow, slow), func(w *world) {
		first := w.start(nil)
		w.settled(first, loops.Completed, loops.GoalPredicate)
		second := w.fork(loops.ForkRequest{Loop: first, Iteration: new(2)})
		third := w.fork(loops.ForkRequest{Loop: second.ID})
		s, err := w.Get(t.Context(), third.ID)
		if err != nil || s.Best == nil || s.Best.Score != 5 {
			t.Errorf("its best is %+v, %v", s.Best, err)
		}
		if third.Output.Text != "two" || string(third.Memory) != `{"n":2}` || third.Feedback != "say ok" || third.Origin.Forked.Iteration != 0 {
			t.Errorf("it begins with %q, %s, feedback %q, %+v", third.Output.Text, third.Memory, third.Feedback, third.Origin.Forked)
		}
	})
}

func TestForkWhileABodyRuns(t *testing.T) {
	long := loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		if err := turn.Save(ctx, json.RawMessage(`{"half":true}`)); err != nil {
			return loops.Result{}, err
		}
		time.Sleep(10 * time.Minute)
		return loops.Result{Output: "ok at last", Done: true}, nil
	}}
	story(t, loopstest.Script(remembering("one", `{"n":1}`, 1), long, loopstest.Done("ok")), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.IterationTimeout = loops.Duration(time.Hour) })
		time.Sleep(time.Minute)
		out := w.fork(loops.ForkRequest{Loop: id})
		if out.Origin.Forked.Iteration != 1 || string(out.Memory) != `{"n":1}` || out.Output.Text != "one" {
			t.Errorf("forked %+v with %s and %q", out.Origin.Forked, out.Memory, out.Output.Text)
		}
		w.settled(out.ID, loops.Completed, loops.GoalPredicate)
		if s := w.settled(id, loops.Completed, loops.GoalPredicate); s.Output.Text != "ok at last" || s.Ledger.Starts != 2 {
			t.Errorf("the original ended with %q after %d starts", s.Output.Text, s.Ledger.Starts)
		}
	})
}

// What a body saved inside a start is part of the iteration that it came to, also
// when its result names no memory.
func TestForkHasWhatWasSavedInsideAnIteration(t *testing.T) {
	saving := func(memory, output string) loopstest.Step {
		return loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			return loops.Result{Output: output, Done: true}, turn.Save(ctx, json.RawMessage(memory))
		}}
	}
	story(t, loopstest.Script(saving(`1`, "no"), saving(`2`, "no"), loopstest.Done("ok"), loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		for n, want := range map[int]string{1: "1", 2: "2", 3: "2"} {
			if out := w.fork(loops.ForkRequest{Loop: id, Iteration: &n}); string(out.Memory) != want {
				t.Errorf("after iteration %d the memory is %s, want %s", n, out.Memory, want)
			}
		}
		l, err := w.History(t.Context(), id)
		if err != nil || l.Iterations[2].Memory != nil {
			t.Errorf("an iteration that changed no memory has %s, %v", l.Iterations[2].Memory, err)
		}
	})
}

func TestForkInEveryStatus(t *testing.T) {
	human := func(s *loops.Spec) {
		s.Body = loops.BodySpec{Kind: loops.BodyClient}
		s.Until = &loops.Until{All: []loops.Condition{{Kind: loops.StopHuman, Question: "good?"}}}
	}
	for status, prepare := range map[loops.Status]func(w *world) loops.ID{
		loops.YourTurn: func(w *world) loops.ID { return w.start(human) },
		loops.NeedsInput: func(w *world) loops.ID {
			id := w.start(human)
			w.do(id, loops.Request{Action: loops.Submit, AttentionID: "it-1", Output: "a draft"})
			w.attention(id, loops.NeedsInput)
			return id
		},
		loops.Paused: func(w *world) loops.ID {
			id := w.start(human)
			w.do(id, loops.Request{Action: loops.PauseIt})
			return id
		},
		loops.Cancelled: func(w *world) loops.ID {
			id := w.start(human)
			w.do(id, loops.Request{Action: loops.CancelIt})
			return id
		},
	} {
		t.Run(string(status), func(t *testing.T) {
			story(t, loopstest.Script(), func(w *world) {
				id := prepare(w)
				if s, err := w.Get(w.t.Context(), id); err != nil || s.Status != status {
					w.t.Fatalf("the original is %s, %v", s.Status, err)
				}
				out := w.fork(loops.ForkRequest{Loop: id})
				if out.Status != loops.YourTurn || out.Attention == nil || out.Attention.ID != "it-1" || out.Stop != nil || out.Pause != nil {
					w.t.Errorf("the fork is %s with %+v", out.Status, out.Attention)
				}
			})
		})
	}
}

func TestForkAskedForTwice(t *testing.T) {
	story(t, threePasses(loopstest.Done("no"), loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		r := loops.ForkRequest{Loop: id, RequestID: "f1", Message: "again"}
		one := w.fork(r)
		w.do(id, loops.Request{Action: loops.Reopen, Message: "more"}) // "the last iteration" is another one now
		w.settled(id, loops.Completed, loops.GoalPredicate)
		two := w.fork(r)
		if one.Reused || !two.Reused || two.ID != one.ID {
			t.Errorf("twice gave %s and %s, reused %t", one.ID, two.ID, two.Reused)
		}
		for name, change := range map[string]func(*loops.ForkRequest){
			"another iteration": func(r *loops.ForkRequest) { r.Iteration = new(1) },
			"another message":   func(r *loops.ForkRequest) { r.Message = "else" },
			"another goal":      func(r *loops.ForkRequest) { r.Goal = "say no" },
			"another original":  func(r *loops.ForkRequest) { r.Loop = one.ID },
		} {
			r := r
			change(&r)
			if _, err := w.Fork(t.Context(), r); !errors.Is(err, loops.ErrRefused) || !strings.Contains(err.Error(), "request_id_conflict") {
				t.Errorf("%s under the same request id: %v", name, err)
			}
		}
		if _, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil), RequestID: "f1"}); !errors.Is(err, loops.ErrRefused) {
			t.Errorf("a start under the request id of a fork: %v", err)
		}
		r.RequestID = "f1"
		r.Iteration = new(3)
		if again := w.fork(r); !again.Reused || again.ID != one.ID {
			t.Errorf("the iteration by its number gave %s, reused %t", again.ID, again.Reused)
		}
	})
}

func TestForkThatIsRefusedStoresNothing(t *testing.T) {
	story(t, threePasses(), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		w.noFork(loops.ForkRequest{Loop: "none-aaaa"}, loops.ErrNotFound, "none-aaaa")
		w.noFork(loops.ForkRequest{Loop: "none-aaaa", RequestID: "r"}, loops.ErrNotFound, "none-aaaa")
		w.noFork(loops.ForkRequest{Loop: "../etc"}, loops.ErrInvalid, "loop_id")
		w.noFork(loops.ForkRequest{Loop: id, Iteration: new(4)}, loops.ErrInvalid, "iterations 1 to 3, got 4")
		w.noFork(loops.ForkRequest{Loop: id, Iteration: new(-1)}, loops.ErrInvalid, "at least 0")
		w.noFork(loops.ForkRequest{Loop: id, Message: " \n"}, loops.ErrInvalid, "message: is empty")
		w.noFork(loops.ForkRequest{Loop: id, Message: strings.Repeat("x", loops.MaxGoalSize+1)}, loops.ErrInvalid, "message: is 65537 bytes")
		w.noFork(loops.ForkRequest{Loop: id, RequestID: strings.Repeat("x", 200)}, loops.ErrInvalid, "request_id")
		w.noFork(loops.ForkRequest{Loop: id, Goal: "{{ inputs.nope }}"}, loops.ErrInvalid, "goal")
		w.noFork(loops.ForkRequest{Loop: id, Limits: loops.Limits{MaxPasses: -1}}, loops.ErrInvalid, "limits.max_passes")
		w.noFork(loops.ForkRequest{Loop: id, Body: &loops.BodySpec{Kind: loops.BodyHandler, Name: "nobody"}}, loops.ErrInvalid, "no handler \"nobody\"")
		w.noFork(loops.ForkRequest{Loop: id, Until: &loops.Until{}}, loops.ErrInvalid, "until")
	})
}

// Iterations that a compacted journal has no more can't be forked from.
func TestForkFromBeforeTheJournalBegins(t *testing.T) {
	story(t, threePasses(loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		e := loops.New(shortened{w.store, 2}, parts(w.body), nil)
		for _, n := range []int{0, 1} {
			if _, err := e.Fork(t.Context(), loops.ForkRequest{Loop: id, Iteration: &n}); err == nil || !strings.Contains(err.Error(), "begins with iteration 3") {
				t.Errorf("from iteration %d: %v", n, err)
			}
		}
		if _, err := e.Fork(t.Context(), loops.ForkRequest{Loop: id, Iteration: new(3)}); err != nil {
			t.Error(err)
		}
	})
}

// shortened is a store whose journals lack the first iterations.
type shortened struct {
	loops.Store
	lost int
}

func (s shortened) History(ctx context.Context, id loops.ID) (loops.Loop, error) {
	l, err := s.Store.History(ctx, id)
	l.Iterations = l.Iterations[s.lost:]
	return l, err
}
