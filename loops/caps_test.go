package loops_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestDelayAndBackOffTakeTheirTime, in hours, and count as working time.
func TestDelayAndBackOffTakeTheirTime(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("no"), loopstest.Fails(loops.Transient(errors.New("busy"), 3*time.Hour)), loopstest.Done("ok")), func(w *world) {
		began := time.Now()
		id := w.start(func(s *loops.Spec) { s.Delay, s.Limits.MaxActive = hour(2), hour(24) })
		synctest.Wait()
		s, _ := w.Get(w.t.Context(), id)
		if s.Status != loops.Waiting || s.WaitingFor != "delay" || !s.WaitingUntil.Equal(began.Add(2*time.Hour)) {
			w.t.Errorf("%s for %s until %s", s.Status, s.WaitingFor, s.WaitingUntil)
		}
		s = w.settled(id, loops.Completed, loops.GoalPredicate)
		if took := time.Since(began); took != 5*time.Hour || s.Ledger.ActiveSeconds != 5*3600 {
			w.t.Errorf("took %s, %v s active", took, s.Ledger.ActiveSeconds)
		}
		if f := w.body.Turns()[2].Feedback; f != "say ok" {
			w.t.Errorf("feedback after the back-off: %q", f)
		}
	})
}

// TestTimeThatIsNobodysWorkDoesNotCount: paused, waiting for the client or for
// a person.
func TestTimeThatIsNobodysWorkDoesNotCount(t *testing.T) {
	step := loopstest.Step{Takes: 2 * time.Second, Result: loops.Result{Output: "ok", Done: true}}
	story(t, loopstest.Script(step), func(w *world) {
		id := w.start(func(s *loops.Spec) {
			s.Until.All = append(s.Until.All, loops.Condition{Kind: loops.StopHuman, Question: "Good?"})
		})
		s := w.attention(id, loops.NeedsInput)
		time.Sleep(5 * time.Hour)
		w.do(id, loops.Request{Action: loops.PauseIt})
		time.Sleep(5 * time.Hour)
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.do(id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID})
		if s = w.settled(id, loops.Completed, loops.GoalHuman); s.Ledger.ActiveSeconds != 2 {
			w.t.Errorf("%v s active", s.Ledger.ActiveSeconds)
		}
		client := w.start(func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} })
		time.Sleep(5 * time.Hour)
		w.do(client, loops.Request{Action: loops.Submit, AttentionID: "it-1", Output: "ok"})
		if s = w.settled(client, loops.Completed, loops.GoalPredicate); s.Ledger.ActiveSeconds != 0 {
			w.t.Errorf("the client's turn counts %v s", s.Ledger.ActiveSeconds)
		}
	})
}

func TestIterationTimeoutIsTransient(t *testing.T) {
	story(t, loopstest.Script(loopstest.Step{Takes: time.Hour}, loopstest.Done("ok")), func(w *world) {
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		w.ledger(s, "2 starts, 1 iterations, 1 passes, 0 failures")
		if f := w.body.Turns()[1].Feedback; f != "start 1 took longer than iteration_timeout 10m0s" {
			w.t.Errorf("feedback %q", f)
		}
	})
}

// TestLimitsInTimeCutARunningBody, keep its usage, and go on when raised.
func TestLimitsInTimeCutARunningBody(t *testing.T) {
	for _, test := range []struct {
		limits, raised loops.Limits
		want           loops.StopReason
	}{
		{loops.Limits{MaxDuration: hour(1)}, loops.Limits{MaxDuration: hour(9)}, loops.CapDuration},
		{loops.Limits{MaxActive: hour(1)}, loops.Limits{MaxActive: hour(9)}, loops.CapActive},
	} {
		t.Run(string(test.want), func(t *testing.T) {
			body := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
				<-ctx.Done()
				if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
					t.Errorf("ended because of %v", context.Cause(ctx))
				}
				return loops.Result{Usage: loops.Usage{ToolCalls: 3}}, ctx.Err()
			}}, loopstest.Done("ok"))
			story(t, body, func(w *world) {
				began := time.Now()
				id := w.start(func(s *loops.Spec) { s.Limits = test.limits; s.Limits.IterationTimeout = hour(5) })
				s := w.settled(id, loops.Capped, test.want)
				if took := time.Since(began); took != time.Hour || s.Ledger.ToolCalls != 3 {
					t.Errorf("after %s with %d tool calls", took, s.Ledger.ToolCalls)
				}
				w.do(id, loops.Request{Action: loops.SetLimits, Limits: test.raised})
				w.settled(id, loops.Completed, loops.GoalPredicate)
			})
		})
	}
}

// TestRaisingALimitReachesARunningBody: it is not cut off at the old one.
func TestRaisingALimitReachesARunningBody(t *testing.T) {
	for _, raise := range []loops.Limits{{MaxDuration: hour(5)}, {MaxActive: hour(5)}, {IterationTimeout: hour(5)}} {
		story(t, loopstest.Script(loopstest.Step{Takes: 3 * time.Hour, Result: loops.Result{Output: "ok", Done: true}}), func(w *world) {
			id := w.start(func(s *loops.Spec) {
				s.Limits = loops.Limits{MaxDuration: hour(4), MaxActive: hour(4), IterationTimeout: hour(4)}
				switch {
				case raise.MaxDuration != 0:
					s.Limits.MaxDuration = hour(1)
				case raise.MaxActive != 0:
					s.Limits.MaxActive = hour(1)
				default:
					s.Limits.IterationTimeout = hour(1)
				}
			})
			time.Sleep(time.Minute)
			w.do(id, loops.Request{Action: loops.SetLimits, Limits: raise})
			w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "1 starts, 1 iterations, 1 passes, 0 failures")
		})
	}
}

// TestAConditionIsCutAtTheCap, and what others found out is kept and paid for.
func TestAConditionIsCutAtTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		menu := loops.Parts{Handlers: map[string]loops.Body{"worker": loopstest.Script(loopstest.Done("ok"))}, Stops: map[string]loops.StopCondition{
			loops.StopPredicate: loops.StopFunc(func(context.Context, loops.Evidence) (loops.Verdict, error) {
				asked["predicate"]++
				return loops.Verdict{Met: true, Usage: loops.Usage{CostUSD: 5}}, nil
			}),
			"second": loops.StopFunc(func(ctx context.Context, _ loops.Evidence) (loops.Verdict, error) {
				if asked["second"]++; asked["second"] == 1 {
					<-ctx.Done()
					return loops.Verdict{}, ctx.Err()
				}
				return loops.Verdict{Met: true}, nil
			}),
		}}
		e := loops.New(loopstest.NewMemory(), menu, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		w := &world{Engine: e, t: t}
		id := w.start(func(s *loops.Spec) {
			s.Until.All = []loops.Condition{{Kind: loops.StopPredicate, Expression: "true"}, {Kind: "second"}}
			s.Limits.MaxActive = hour(1)
		})
		s := w.settled(id, loops.Capped, loops.CapActive)
		if s.Ledger.CostUSD != 5 || s.Ledger.ActiveSeconds != 3600 {
			t.Errorf("%s, %v s", s.Ledger.CostUSD, s.Ledger.ActiveSeconds)
		}
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxActive: hour(2)}})
		w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "1 starts, 1 iterations, 1 passes, 0 failures")
		if fmt.Sprint(asked) != "map[predicate:1 second:2]" {
			t.Errorf("asked %v", asked)
		}
		cancel()
		<-ended
	})
}

func TestTheBestOutputIsTheResult(t *testing.T) {
	score := func(n float64) loopstest.Step {
		return loopstest.Step{Result: loops.Result{Output: fmt.Sprintf(`{"score": %v}`, n), Done: true}}
	}
	story(t, loopstest.Script(score(30), score(90), score(60)), func(w *world) {
		s := w.settled(w.start(func(s *loops.Spec) { s.Result, s.Limits.MaxPasses = loops.ResultBest, 3 }), loops.Capped, loops.CapPasses)
		if s.Output.Text != `{"score": 90}` || *s.Score != 90 || s.Best.Iteration != 2 {
			w.t.Errorf("output %q, best %+v", s.Output.Text, s.Best)
		}
	})
}

func TestLiveLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.Done("ok")), &loops.Options{LiveLoops: 2})
		client := func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} }
		id := w.start(client)
		w.start(client)
		_, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil)})
		if !errors.Is(err, loops.ErrRefused) || err.Error() != "live_loops: 2 loops are live and live_loops is 2; cancel one (loop_list shows them) or ask the operator to raise live_loops" {
			t.Errorf("a third loop: %v", err)
		}
		w.do(id, loops.Request{Action: loops.CancelIt})
		w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
	})
}

// TestOneWorkerAndTwoLoops: the second one waits, and is not forgotten.
func TestOneWorkerAndTwoLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := loopstest.Script(loopstest.Step{Takes: time.Minute, Result: loops.Result{Output: "ok", Done: true}})
		w := live(t, loopstest.NewMemory(), body, &loops.Options{Workers: 1})
		began := time.Now()
		first, second := w.start(nil), w.start(nil)
		w.settled(first, loops.Completed, loops.GoalPredicate)
		w.settled(second, loops.Completed, loops.GoalPredicate)
		if took := time.Since(began); took != 2*time.Minute {
			t.Errorf("took %s", took)
		}
	})
}

// TestEnforcementOfCommands says what each report can hold.
func TestEnforcementOfCommands(t *testing.T) {
	const each, never = loops.PerIteration, loops.NotMetered
	for usage, want := range map[string]loops.Enforcements{
		"":                      {MaxCostUSD: never, MaxTotalTokens: never, MaxToolCalls: never},
		loops.UsageNone:         {MaxCostUSD: never, MaxTotalTokens: never, MaxToolCalls: never},
		loops.UsageJSON:         {MaxCostUSD: each, MaxTotalTokens: each, MaxToolCalls: each},
		loops.UsageClaudeJSON:   {MaxCostUSD: each, MaxTotalTokens: each, MaxToolCalls: never},
		loops.UsageCodexJSON:    {MaxCostUSD: never, MaxTotalTokens: each, MaxToolCalls: never},
		loops.UsageGeminiJSON:   {MaxCostUSD: never, MaxTotalTokens: each, MaxToolCalls: each},
		loops.UsageOpencodeJSON: {MaxCostUSD: each, MaxTotalTokens: each, MaxToolCalls: each},
	} {
		s := loops.State{Origin: loops.Origin{Spec: loops.Spec{Body: loops.BodySpec{Kind: loops.BodyCommand, Usage: usage}}}}
		if got := s.Enforcements(); got != want {
			t.Errorf("usage %q: %+v, want %+v", usage, got, want)
		}
	}
}
