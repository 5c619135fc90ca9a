package loops_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// ender is a body that never comes to an end, and ends what a dead worker left.
type ender struct {
	loops.BodyFunc
	ended []loops.ID
}

func (e *ender) EndLeftovers(id loops.ID, _ string) { e.ended = append(e.ended, id) }

// bereft is a loop whose only process was killed while its body ran, and an engine
// of a process that only looks.
func bereft(t *testing.T) (e *loops.Engine, id loops.ID, body *ender) {
	t.Helper()
	body = &ender{BodyFunc: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		<-ctx.Done()
		return loops.Result{}, context.Cause(ctx)
	}}
	store := loopstest.NewMemory()
	id = live(t, store, body, nil).start(nil)
	synctest.Wait()
	store.Kill(store.Runner())
	return loops.New(store.As("looks"), parts(body), nil), id, body
}

// It was shown as running for good when no process came that works on loops.
func TestALoopWhoseWorkerWasKilledIsShownAsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, id, _ := bereft(t)
		s, err := e.Get(t.Context(), id)
		if err != nil || s.Status != loops.Queued || s.Phase != "" || !strings.Contains(s.Why, "is gone") {
			t.Errorf("%s, why %q, %v", s.Summary(), s.Why, err)
		}
		if l, err := e.History(t.Context(), id); err != nil || l.Status != loops.Queued || l.Why != s.Why {
			t.Errorf("in its history it is %s, %v", l.Status, err)
		}
		for status, want := range map[loops.Status]int{loops.Queued: 1, loops.Running: 0} {
			heads, _, err := e.List(t.Context(), loops.Filter{Statuses: []loops.Status{status}})
			if err != nil || len(heads) != want {
				t.Fatalf("%d loops are %s, want %d; %v", len(heads), status, want, err)
			}
			if want == 1 && (heads[0].Status != loops.Queued || !strings.HasPrefix(heads[0].Summary, string(id)+" queued")) {
				t.Errorf("listed as %s: %s", heads[0].Status, heads[0].Summary)
			}
		}
	})
}

// A cancel and a pause were promised for a moment that nobody was there to bring.
func TestALoopWhoseWorkerWasKilledObeysAtOnce(t *testing.T) {
	for action, want := range map[loops.Action]loops.Status{loops.CancelIt: loops.Cancelled, loops.PauseIt: loops.Paused} {
		t.Run(string(action), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, id, body := bereft(t)
				out, err := e.Do(t.Context(), id, loops.Request{Action: action})
				if err != nil || out.Status != want || len(body.ended) != 1 {
					t.Errorf("it is %s, what was left was ended %d times, %v; want %s", out.Status, len(body.ended), err, want)
				}
				if s, err := e.Get(t.Context(), id); err != nil || s.Status != want {
					t.Errorf("stored is %s, %v", s.Status, err)
				}
			})
		})
	}
}

func TestALoopWhoseWorkerLivesObeysIt(t *testing.T) {
	story(t, loopstest.Script(loopstest.Step{Do: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		<-ctx.Done()
		return loops.Result{}, context.Cause(ctx)
	}}), func(w *world) {
		id := w.start(nil)
		synctest.Wait()
		e := loops.New(w.store.As("looks"), parts(w.body), nil)
		if out, err := e.Do(t.Context(), id, loops.Request{Action: loops.PauseIt}); err != nil || out.Status != loops.Running {
			t.Errorf("it is %s, %v; want running to the end of its iteration", out.Status, err)
		}
		if s, err := e.Get(t.Context(), id); err != nil || s.Status != loops.Running {
			t.Errorf("it is %s, %v", s.Status, err)
		}
		w.do(id, loops.Request{Action: loops.CancelIt})
		w.settled(id, loops.Cancelled, loops.CancelClient)
	})
}
