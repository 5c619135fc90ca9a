package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestOnIterationSeesEachOnce, also those that failed.
func TestOnIterationSeesEachOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string // written and read one after the other: one claim, and a commit after the last write
		w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.More("a"), loopstest.Fails(errors.New("boom")), loopstest.Done("ok")),
			&loops.Options{OnIteration: func(s loops.State, it loops.Iteration) {
				seen = append(seen, fmt.Sprint(it.Iteration, it.Output.Text, it.Error, s.Status))
			}})
		w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		if got := fmt.Sprint(seen); got != "[1arunning 2boomrunning 3okrunning]" {
			t.Errorf("seen %s", got)
		}
	})
}

// TestWaitIsLevelTriggered and a timeout is a normal answer.
func TestWaitIsLevelTriggered(t *testing.T) {
	story(t, loopstest.Script(loopstest.Step{Takes: time.Minute, Result: loops.Result{Output: "ok", Done: true}}), func(w *world) {
		id := w.start(nil)
		synctest.Wait()
		wait := func(cursor uint64, f loops.WaitFor, d, took time.Duration, timedOut bool) loops.State {
			w.t.Helper()
			began := time.Now()
			s, late, err := w.Wait(w.t.Context(), id, cursor, f, d, nil)
			if err != nil || late != timedOut || time.Since(began) != took {
				w.t.Errorf("%s after %d: timed out %t after %s, %v", f, cursor, late, time.Since(began), err)
			}
			return s
		}
		s := wait(0, loops.ForChange, time.Second, 0, false)
		wait(s.Cursor, loops.ForChange, time.Second, time.Second, true)
		wait(0, loops.ForSettled, 0, 0, true)
		wait(0, loops.ForSettled, 9*time.Second, 9*time.Second, true)
		wait(s.Cursor, loops.ForChange, time.Hour, 50*time.Second, false)
		for _, f := range []loops.WaitFor{loops.ForSettled, loops.ForAttention} {
			if s = wait(0, f, time.Hour, 0, false); s.Status != loops.Completed {
				w.t.Errorf("%s: %s", f, s.Status)
			}
		}
		if _, _, err := w.Wait(w.t.Context(), "nobody-aaaa", 0, loops.ForSettled, time.Hour, nil); !errors.Is(err, loops.ErrNotFound) {
			w.t.Errorf("an unknown loop: %v", err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if _, _, err := w.Wait(ctx, w.start(nil), 0, loops.ForSettled, time.Hour, nil); !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("an ended call: %v", err)
		}
	})
}

func TestWatchShowsEachChange(t *testing.T) {
	story(t, loopstest.Script(loopstest.Step{Takes: time.Second, Result: loops.Result{Output: "ok", Done: true}}), func(w *world) {
		var seen []string
		id := w.start(nil)
		for h, err := range w.Watch(w.t.Context(), id) {
			if err != nil {
				w.t.Fatal(err)
			}
			seen = append(seen, string(h.Status))
			if h.Status.Settled() {
				break
			}
		}
		if got := strings.Join(seen, " "); !strings.HasSuffix(got, "running completed") {
			w.t.Errorf("seen %s", got)
		}
	})
}

// TestListPagesThroughManyLoops: what needs attention first, then live, then
// settled ones, the newest first, each once.
func TestListPagesThroughManyLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.Done("ok")), nil)
		kinds := []func(*loops.Spec){
			func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} },
			func(s *loops.Spec) {
				s.Delay = hour(1)
				s.Until.All[0].Kind = loops.StopClaim
				s.Body.With = json.RawMessage(`{"wait":true}`)
			},
			nil,
		}
		for n := range 250 {
			out, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(kinds[n%3]), Labels: map[string]string{"team": fmt.Sprint("t", n%2)}})
			if err != nil {
				t.Fatal(err)
			}
			if n%3 == 1 {
				w.do(out.ID, loops.Request{Action: loops.CancelIt})
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		page, seen, groups := "", map[loops.ID]bool{}, ""
		var last loops.Head
		for n := 0; ; n++ {
			heads, next, err := w.List(t.Context(), loops.Filter{Limit: 40, Page: page})
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range heads {
				group := "settled"
				if !h.Status.Settled() {
					group = "attention"
				}
				if seen[h.ID] = true; !strings.HasSuffix(groups, group) {
					groups += " " + group
				} else if h.UpdatedAt.After(last.UpdatedAt) {
					t.Errorf("%s before %s", last.ID, h.ID)
				}
				last = h
			}
			if page = next; next == "" {
				break
			}
		}
		if len(seen) != 250 || groups != " attention settled" {
			t.Errorf("%d loops in the order%s", len(seen), groups)
		}
		some, _, err := w.List(t.Context(), loops.Filter{Statuses: []loops.Status{loops.YourTurn}, Labels: map[string]string{"team": "t0"}, Limit: 100})
		if err != nil || len(some) != 42 {
			t.Errorf("%d of the team's loops wait for the client, %v", len(some), err)
		}
		for want, f := range map[string]loops.Filter{
			`status: unknown status "done"`:     {Statuses: []loops.Status{"done"}},
			`page: "??" is not a page of this`:  {Page: "??"},
			"page: ":                            {Page: "bm8"},
			"limit: must be at least 1, got -1": {Limit: -1},
		} {
			if _, _, err := w.List(t.Context(), f); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%+v: %v", f, err)
			}
		}
	})
}

// TestHeadsStaySmall whatever the texts.
func TestHeadsStaySmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nasty := strings.Repeat("<\"&\\", 16000)
		labels := map[string]string{}
		for n := range 8 {
			labels[fmt.Sprint(n, strings.Repeat("<", 62))] = strings.Repeat("<", 63)
		}
		w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.Step{Takes: time.Minute, Err: loops.Permanent(errors.New(nasty))}), nil)
		spec := handlerSpec(func(s *loops.Spec) { s.Name = strings.Repeat("n", 63); s.Goal = nasty })
		if _, err := w.Start(t.Context(), loops.StartRequest{Spec: spec, Labels: labels}); err == nil || !strings.HasPrefix(err.Error(), "labels: take ") {
			t.Errorf("labels that need too much room: %v", err)
		}
		for n := range labels {
			labels[n] = "x"
		}
		for n := 3; n < 8; n++ {
			delete(labels, fmt.Sprint(n, strings.Repeat("<", 62)))
		}
		for _, cancel := range []bool{false, true} {
			out, err := w.Start(t.Context(), loops.StartRequest{Spec: spec, Labels: labels})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if cancel {
				w.do(out.ID, loops.Request{Action: loops.CancelIt, Message: nasty})
			} else {
				w.settled(out.ID, loops.Failed, loops.FailBody)
			}
			for h := range w.Watch(t.Context(), out.ID) {
				if summary, _ := json.Marshal(h.Summary); len(summary) > 500 {
					t.Errorf("a summary of %d bytes", len(summary))
				}
				data, err := json.Marshal(h)
				if err != nil || len(data) > 4<<10 {
					t.Errorf("%s: a head of %d bytes, %v", h.Status, len(data), err)
				}
				if h.Status.Settled() {
					break
				}
			}
		}
	})
}
