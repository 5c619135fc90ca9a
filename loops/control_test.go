package loops_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func hour(n int) loops.Duration { return loops.Duration(time.Duration(n) * time.Hour) }

// TestCancelAnywhere: within 100 ms from wherever the loop is.
func TestCancelAnywhere(t *testing.T) {
	slow := loops.StopFunc(func(ctx context.Context, _ loops.Evidence) (loops.Verdict, error) {
		<-ctx.Done()
		return loops.Verdict{Usage: loops.Usage{CostUSD: 7}}, ctx.Err()
	})
	for _, test := range []struct {
		name string
		spec func(*loops.Spec)
		step loopstest.Step
		was  loops.Status
	}{
		{"in the body", nil, loopstest.Step{Takes: 9 * time.Minute}, loops.Running},
		{"in a condition", func(s *loops.Spec) { s.Until.All[0].Kind = "slow" }, loopstest.Done("x"), loops.Running},
		{"in a delay", func(s *loops.Spec) { s.Delay = hour(1) }, loopstest.More("x"), loops.Waiting},
		{"in a back-off", func(s *loops.Spec) { s.Retry.Initial, s.Retry.Max = hour(1), hour(1) }, loopstest.Fails(loops.Transient(errors.New("busy"), 0)), loops.Waiting},
		{"while queued", func(s *loops.Spec) { s.Body.Name = "elsewhere" }, loopstest.Done("x"), loops.Queued},
		{"on the client's turn", func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} }, loopstest.Done("x"), loops.YourTurn},
		{"while a person is asked", nil, loopstest.Step{Result: loops.Result{Ask: &loops.Ask{Prompt: "which?"}}}, loops.NeedsInput},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := loopstest.NewMemory()
				body := loopstest.Script(test.step)
				menu := parts(body)
				menu.Stops["slow"] = slow
				here := loops.New(store, menu, nil)
				menu.Handlers = map[string]loops.Body{"worker": body, "elsewhere": body}
				id, err := loops.New(store, menu, nil).Start(t.Context(), loops.StartRequest{Spec: handlerSpec(test.spec)})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- here.Run(ctx) }()
				w := &world{Engine: here, t: t, store: store}
				synctest.Wait()
				if s, _ := w.Get(t.Context(), id.ID); s.Status != test.was {
					t.Fatalf("%s before the cancel: %s", s.Status, s.Why)
				}
				began := time.Now()
				w.do(id.ID, loops.Request{Action: loops.CancelIt})
				w.settled(id.ID, loops.Cancelled, loops.CancelClient)
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("took %s", took)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestCancelFromAnotherProcess reaches the body through the store's feed.
func TestCancelFromAnotherProcess(t *testing.T) {
	story(t, loopstest.Script(loopstest.Step{Takes: 9 * time.Minute}), func(w *world) {
		id := w.start(nil)
		time.Sleep(time.Second)
		other := loops.New(w.store.As("runner-2"), loops.Parts{}, nil)
		if _, err := other.Do(w.t.Context(), id, loops.Request{Action: loops.CancelIt, By: "operator"}); err != nil {
			w.t.Fatal(err)
		}
		began := time.Now()
		w.settled(id, loops.Cancelled, loops.CancelOperator)
		if took := time.Since(began); took > 100*time.Millisecond {
			w.t.Errorf("took %s", took)
		}
	})
}

// TestCancelThatRacesTheClaim: a cancel written before the worker knows that it
// has the loop.
func TestCancelThatRacesTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		body := loopstest.Script(loopstest.Step{Takes: 9 * time.Minute})
		id := prepare(t, store, body, nil)
		w := live(t, lateClaim(store, func() {
			if _, err := loops.New(store, loops.Parts{}, nil).Do(t.Context(), id, loops.Request{Action: loops.CancelIt}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second) // the feed has told it long before the worker goes on
		}), body, nil)
		began := time.Now()
		w.settled(id, loops.Cancelled, loops.CancelClient)
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestCancelModeReachesTheBody(t *testing.T) {
	for _, now := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			want := map[bool]error{false: loops.ErrCancelled, true: loops.ErrCancelNow}[now]
			var cause error
			w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.Step{Do: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return loops.Result{Output: "too late", Done: true, Usage: loops.Usage{ToolCalls: 1}}, nil
			}}), nil)
			id := w.start(nil)
			synctest.Wait()
			w.do(id, loops.Request{Action: loops.CancelIt, Now: now})
			s := w.settled(id, loops.Cancelled, loops.CancelClient)
			if !errors.Is(cause, want) || s.Output.Text != "" || s.Ledger.ToolCalls != 1 {
				t.Errorf("cause %v, output %q, %d tool calls", cause, s.Output.Text, s.Ledger.ToolCalls)
			}
		})
	}
}

// TestABodyThatIgnoresItsContext is left behind, and harms nobody.
func TestABodyThatIgnoresItsContext(t *testing.T) {
	for _, now := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var late loops.Turn
			deaf := loopstest.Step{Takes: time.Hour, Deaf: true}
			body := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
				late = turn
				return loopstest.Script(deaf).Run(ctx, turn)
			}})
			w := live(t, loopstest.NewMemory(), body, nil)
			id := w.start(nil)
			synctest.Wait()
			began := time.Now()
			w.do(id, loops.Request{Action: loops.CancelIt, Now: now})
			w.settled(id, loops.Cancelled, loops.CancelClient)
			if took, want := time.Since(began), map[bool]time.Duration{false: 5 * time.Second, true: time.Second}[now]; took != want {
				t.Errorf("the loop waited %s, want %s", took, want)
			}
			late.Emit(loops.Live{Text: "still here"})
			time.Sleep(2 * time.Hour)
		})
	}
}

func TestPanicsAreFailuresWithTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := loopstest.Script(loopstest.Step{Panic: "index 7"}, loopstest.Done("first"), loopstest.Done("ok"))
		menu := parts(body)
		n := 0
		menu.Stops["contains"] = loops.StopFunc(func(ctx context.Context, e loops.Evidence) (loops.Verdict, error) {
			if n++; n == 1 {
				panic("nil map")
			}
			return contains("ok").Judge(ctx, e)
		})
		w := live(t, loopstest.NewMemory(), body, nil)
		w.stop()
		w.Engine = loops.New(w.store, menu, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		id := w.start(nil)
		w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "3 starts, 3 iterations, 2 passes, 0 failures")
		cancel()
		<-ended
		turns := body.Turns()
		if f := turns[1].Feedback; !strings.Contains(f, "the body panicked: index 7") || !strings.Contains(f, "script.go") {
			t.Errorf("feedback after the body's panic: %q", f)
		}
		if f := turns[2].Feedback; !strings.Contains(f, "The check could not be asked: the condition panicked: nil map") {
			t.Errorf("feedback after the condition's panic: %q", f)
		}
	})
}

// TestPauseAndResumeInEachLiveStatus: nothing moves while paused, nothing is
// lost after it.
func TestPauseAndResumeInEachLiveStatus(t *testing.T) {
	question := loopstest.Step{Result: loops.Result{Output: "hm", Ask: &loops.Ask{Prompt: "which?"}}}
	client := func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} }
	for _, test := range []struct {
		name string
		spec func(*loops.Spec)
		step loopstest.Step
		back loops.Status
	}{
		{"running", nil, loopstest.Step{Takes: time.Minute, Result: loops.Result{Output: "x"}}, ""},
		{"waiting", func(s *loops.Spec) { s.Delay = hour(1) }, loopstest.More("x"), ""},
		{"your_turn", client, loopstest.More("x"), loops.YourTurn},
		{"needs_input", nil, question, loops.NeedsInput},
	} {
		t.Run(test.name, func(t *testing.T) {
			story(t, loopstest.Script(test.step, loopstest.Done("ok")), func(w *world) {
				id := w.start(test.spec)
				synctest.Wait()
				before, _ := w.Get(w.t.Context(), id)
				w.do(id, loops.Request{Action: loops.PauseIt, Message: "lunch"})
				s := w.attentionOf(id, loops.Paused)
				if s.Pause.Reason != loops.PauseClient || s.Pause.Detail != "lunch" || s.Claim != (loops.Claim{}) {
					w.t.Errorf("pause %+v, claim %+v", s.Pause, s.Claim)
				}
				time.Sleep(20 * time.Hour)
				if again, _ := w.Get(w.t.Context(), id); again.Rev != s.Rev {
					w.t.Fatalf("a paused loop became %s", again.Summary())
				}
				w.do(id, loops.Request{Action: loops.ResumeIt})
				if test.back == "" {
					w.settled(id, loops.Completed, loops.GoalPredicate)
					return
				}
				s = w.attentionOf(id, test.back)
				if s.Attention.ID != before.Attention.ID {
					w.t.Errorf("attention %s became %s", before.Attention.ID, s.Attention.ID)
				}
			})
		})
	}
}

// attentionOf waits for a loop that rests in status.
func (w *world) attentionOf(id loops.ID, status loops.Status) loops.State {
	w.t.Helper()
	for {
		s, _, err := w.Wait(w.t.Context(), id, 0, loops.ForAttention, time.Hour, nil)
		if err != nil || s.Status.Settled() {
			w.t.Fatalf("%v: %s", err, s.Summary())
		}
		if s.Status == status {
			return s
		}
		time.Sleep(time.Second)
	}
}

// TestIntentsThatRaceACommit are merged with the result, whatever they are.
func TestIntentsThatRaceACommit(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(*loops.State)
		want  loops.Status
	}{
		{"pause", func(s *loops.State) { s.Intent.Pause = &loops.Pause{Reason: loops.PauseClient} }, loops.Paused},
		{"cancel", func(s *loops.State) {
			s.Status, s.Phase, s.Intent.Cancel = loops.Cancelling, "", &loops.CancelWish{Reason: loops.CancelClient}
		}, loops.Cancelled},
		{"limits", func(s *loops.State) { s.Limits.MaxIterations = 1 }, loops.Capped},
		{"steer", func(s *loops.State) { s.Steers = append(s.Steers, loops.Steer{Text: "say ok"}) }, loops.Completed},
	} {
		t.Run(test.name, func(t *testing.T) {
			story(t, loopstest.Script(loopstest.Step{Takes: time.Second, Result: loops.Result{Output: "paid", Done: true}}, loopstest.Done("ok")), func(w *world) {
				id := w.start(nil)
				synctest.Wait()
				w.store.FailNext(id, loopstest.Fault{Write: test.write})
				s, _, _ := w.Wait(w.t.Context(), id, 0, loops.ForAttention, time.Hour, nil)
				if s.Status != test.want || s.Iteration < 1 || !strings.HasPrefix(w.journal(id), "paid") {
					w.t.Errorf("%s, iterations %s", s.Summary(), w.journal(id))
				}
				if test.name == "steer" && w.body.Turns()[1].Steer != "say ok" {
					w.t.Errorf("the next start was told %q", w.body.Turns()[1].Steer)
				}
			})
		})
	}
}

// TestSteerBetweenAttempts reaches the repeated start.
func TestSteerBetweenAttempts(t *testing.T) {
	story(t, loopstest.Script(loopstest.Fails(loops.Transient(errors.New("busy"), time.Hour)), loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.SteerIt, Message: "use the mirror"})
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if turn := w.body.Turns()[1]; turn.Steer != "use the mirror" || turn.Attempt != 2 || turn.Feedback != "busy" {
			w.t.Errorf("attempt %d, steer %q, feedback %q", turn.Attempt, turn.Steer, turn.Feedback)
		}
	})
}

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
