package loops_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func TestStartWhoseDoerIsGoneRunsAgain(t *testing.T) {
	body := loopstest.Script(loopstest.Fails(loops.CutOff(errors.New("the handler is gone"))), loopstest.Done("ok"))
	story(t, body, func(w *world) {
		id := w.start(nil)
		s := w.settled(id, loops.Completed, loops.GoalPredicate)
		w.ledger(s, "2 starts, 1 iterations, 1 passes, 0 failures")
		if s.Ledger.ActiveSeconds != 1 {
			t.Errorf("active for %v s, want the back-off of 1 s", s.Ledger.ActiveSeconds)
		}
		if turns := body.Turns(); turns[1].Attempt != 1 || turns[1].Ledger.Starts != 2 {
			t.Errorf("repeated as attempt %d, start %d; a crash is not the body's fault", turns[1].Attempt, turns[1].Ledger.Starts)
		}
	})
}

func TestStartsThatAreCutOffAgainAndAgainStopAtTheCap(t *testing.T) {
	story(t, loopstest.Script(loopstest.Fails(loops.CutOff(errors.New("gone")))), func(w *world) {
		s := w.settled(w.start(func(s *loops.Spec) { s.Limits.MaxIterations = 4 }), loops.Capped, loops.CapIterations)
		w.ledger(s, "4 starts, 0 iterations, 0 passes, 0 failures")
	})
}

func TestCutOffStartAsksWhenItMust(t *testing.T) {
	body := loopstest.Script(loopstest.Fails(loops.CutOff(errors.New("gone"))), loopstest.Done("ok"))
	story(t, body, func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Retry.OnCrash = loops.OnCrashAsk })
		s := w.attention(id, loops.NeedsInput)
		w.do(id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID, By: "person"})
		w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "2 starts, 1 iterations, 1 passes, 0 failures")
	})
}

func TestCutOffStartOfAPausedLoopWaitsForItsResume(t *testing.T) {
	body := loopstest.Script(loopstest.Step{Takes: time.Minute, Err: loops.CutOff(errors.New("gone"))}, loopstest.Done("ok"))
	story(t, body, func(w *world) {
		id := w.start(nil)
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.PauseIt})
		w.attention(id, loops.Paused)
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "2 starts, 1 iterations, 1 passes, 0 failures")
	})
}

// elsewhere is a body that somebody serves from time to time.
type elsewhere struct {
	*loopstest.ScriptedBody
	there atomic.Bool
}

func (b *elsewhere) Run(ctx context.Context, t loops.Turn) (loops.Result, error) {
	if !b.there.Load() {
		return loops.Result{}, loops.Unserved(errors.New("nobody took it"))
	}
	return b.ScriptedBody.Run(ctx, t)
}

func (b *elsewhere) Check(s loops.Setup) error {
	if s.Claim && !b.there.Load() {
		return &loops.FieldError{Field: "name", Problem: "nobody serves it"}
	}
	return nil
}

func (b *elsewhere) Warn(loops.Setup) []string { return []string{"nobody serves it yet"} }

func TestLoopThatNobodyServesWaitsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &elsewhere{ScriptedBody: loopstest.Script(loopstest.More("still"), loopstest.Done("ok"))}
		menu := parts(nil)
		menu.Handlers = nil
		menu.Elsewhere = func(name string) loops.Body { return body }
		w := liveWith(t, loopstest.NewMemory(), menu, nil)
		out, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil)})
		if err != nil || len(out.Warnings) != 1 {
			t.Fatalf("started with %v, %v; want one warning", out.Warnings, err)
		}
		time.Sleep(time.Minute)
		s, err := w.Get(t.Context(), out.ID)
		if err != nil || s.Status != loops.Queued || !strings.Contains(s.Why, "body.name: nobody serves it") {
			t.Fatalf("%v, %s because of %q", err, s.Status, s.Why)
		}
		body.there.Store(true)
		w.ledger(w.settled(out.ID, loops.Completed, loops.GoalPredicate), "2 starts, 2 iterations, 1 passes, 0 failures")
	})
}

func TestLoopThatNobodyServesEndsWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &elsewhere{ScriptedBody: loopstest.Script()}
		w := liveWith(t, loopstest.NewMemory(), loops.Parts{Elsewhere: func(string) loops.Body { return body }, Stops: parts(nil).Stops}, nil)
		id := w.start(func(s *loops.Spec) { s.Limits.MaxDuration = loops.Duration(time.Hour) })
		began := time.Now()
		w.ledger(w.settled(id, loops.Capped, loops.CapDuration), "0 starts, 0 iterations, 0 passes, 0 failures")
		if took := time.Since(began); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("capped after %s", took)
		}
	})
}

func TestStartThatNobodyBeganIsNotChargedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &elsewhere{ScriptedBody: loopstest.Script(loopstest.Step{Result: loops.Result{Output: "still"}, Takes: time.Minute}, loopstest.Done("ok"))}
		body.there.Store(true)
		menu := parts(body)
		w := liveWith(t, loopstest.NewMemory(), menu, nil)
		id := w.start(nil)
		time.Sleep(time.Second)
		body.there.Store(false) // while the first iteration runs: the second start is charged with its commit
		time.Sleep(time.Hour)
		s, err := w.Get(t.Context(), id)
		if err != nil || s.Status != loops.Queued || s.Ledger.Starts != 2 || s.Ledger.ActiveSeconds > 61 {
			t.Fatalf("%v: %s with %d starts, active for %v s; want queued with 2", err, s.Status, s.Ledger.Starts, s.Ledger.ActiveSeconds)
		}
		body.there.Store(true)
		w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "2 starts, 2 iterations, 1 passes, 0 failures")
	})
}

func TestFaultOfReadsEveryMark(t *testing.T) {
	err := errors.New("x")
	for want, marked := range map[loops.Fault]error{
		{Kind: loops.FaultFailed}:                              err,
		{Kind: loops.FaultPermanent, Provider: true}:           loops.Permanent(loops.Provider(err)),
		{Kind: loops.FaultTransient, After: time.Second}:       loops.Transient(err, time.Second),
		{Kind: loops.FaultRateLimited, After: 2 * time.Second}: loops.RateLimited(err, 2*time.Second),
		{Kind: loops.FaultCutOff}:                              loops.CutOff(err),
		{Kind: loops.FaultUnserved}:                            loops.Unserved(err),
	} {
		if got := loops.FaultOf(marked); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if !errors.Is(marked, err) {
			t.Errorf("%s hides its cause", want.Kind)
		}
	}
}
