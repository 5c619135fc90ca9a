package loops_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// world is a store with one working engine, in virtual time.
type world struct {
	*loops.Engine
	t     *testing.T
	store *loopstest.Memory
	body  *loopstest.ScriptedBody
	stop  func()          // ends the worker and waits for it
	seen  func() []string // what OnIteration told, in the tests that ask
}

// until is met when the output contains the text.
func contains(text string) loops.StopCondition {
	return loops.StopFunc(func(_ context.Context, e loops.Evidence) (loops.Verdict, error) {
		met := strings.Contains(e.Output, text)
		return loops.Verdict{Met: met, Reason: fmt.Sprintf("output contains %q: %t", text, met), Feedback: "say " + text}, nil
	})
}

func parts(body loops.Body) loops.Parts {
	return loops.Parts{Handlers: map[string]loops.Body{"worker": body}, Stops: map[string]loops.StopCondition{"contains": contains("ok")}}
}

// live starts an engine on store and works on its loops until the test ends.
func live(t *testing.T, store loops.Store, body loops.Body, opts *loops.Options) *world {
	t.Helper()
	return liveWith(t, store, parts(body), opts)
}

// liveWith is live with other parts.
func liveWith(t *testing.T, store loops.Store, menu loops.Parts, opts *loops.Options) *world {
	t.Helper()
	e := loops.New(store, menu, opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	w := &world{Engine: e, t: t}
	w.store, _ = store.(*loopstest.Memory)
	w.body, _ = menu.Handlers["worker"].(*loopstest.ScriptedBody)
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(w.stop)
	return w
}

// story runs a test in virtual time with a scripted body.
func story(t *testing.T, body *loopstest.ScriptedBody, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(live(t, loopstest.NewMemory(), body, nil)) })
}

func handlerSpec(change func(*loops.Spec)) loops.Spec {
	s := loops.Spec{Name: "story", Goal: "say ok", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"},
		Until: &loops.Until{All: []loops.Condition{{Kind: "contains"}}}}
	if change != nil {
		change(&s)
	}
	return s
}

func (w *world) start(change func(*loops.Spec)) loops.ID {
	w.t.Helper()
	out, err := w.Start(w.t.Context(), loops.StartRequest{Spec: handlerSpec(change)})
	if err != nil {
		w.t.Fatalf("Start: %v", err)
	}
	return out.ID
}

// settled waits until the loop rests and checks how it ended.
func (w *world) settled(id loops.ID, status loops.Status, reason loops.StopReason) loops.State {
	w.t.Helper()
	s, timedOut, err := w.Wait(w.t.Context(), id, 0, loops.ForSettled, 100*time.Hour, nil)
	if err != nil || timedOut {
		w.t.Fatalf("Wait: timed out %t, %v; %s", timedOut, err, s.Summary())
	}
	if s.Status != status || s.Stop.Reason != reason {
		w.t.Fatalf("ended as %s (%s): %s; want %s (%s)", s.Status, s.Stop.Reason, s.Stop.Detail, status, reason)
	}
	return s
}

func (w *world) attention(id loops.ID, status loops.Status) loops.State {
	w.t.Helper()
	s, _, err := w.Wait(w.t.Context(), id, 0, loops.ForAttention, 100*time.Hour, nil)
	if err != nil || s.Status != status {
		w.t.Fatalf("Wait: %v, status %s, want %s", err, s.Status, status)
	}
	return s
}

func (w *world) do(id loops.ID, r loops.Request) loops.Outcome {
	w.t.Helper()
	out, err := w.Do(w.t.Context(), id, r)
	if err != nil {
		w.t.Fatalf("%s: %v", r.Action, err)
	}
	return out
}

func (w *world) refused(id loops.ID, r loops.Request, want string) {
	w.t.Helper()
	_, err := w.Do(w.t.Context(), id, r)
	if err == nil || !strings.Contains(err.Error(), want) {
		w.t.Fatalf("%s: got %v, want a refusal with %q", r.Action, err, want)
	}
}

func (w *world) events(id loops.ID) string {
	w.t.Helper()
	l, err := w.History(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	var types []string
	for i, e := range l.Events {
		if e.Cursor != uint64(i+1) {
			w.t.Errorf("event %d has cursor %d", i, e.Cursor)
		}
		types = append(types, string(e.Type))
	}
	return strings.Join(types, " ")
}

func ledger(s loops.State) string {
	return fmt.Sprintf("%d starts, %d iterations, %d passes, %d failures", s.Ledger.Starts, s.Ledger.Iterations, s.Ledger.Passes, s.Ledger.Failures)
}

func (w *world) ledger(s loops.State, want string) {
	w.t.Helper()
	if got := ledger(s); got != want {
		w.t.Fatalf("ledger: %s; want %s", got, want)
	}
}
