package loops_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// work runs an engine until the returned function is called.
func work(e *loops.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			panic(err)
		}
	}
}

// A body is a function; a stop condition is one, too.
func Example() {
	draft := loops.BodyFunc(func(_ context.Context, t loops.Turn) (loops.Result, error) {
		text := t.Output + "word "
		return loops.Result{Output: text, Done: true}, nil
	})
	long := loops.StopFunc(func(_ context.Context, e loops.Evidence) (loops.Verdict, error) {
		n := len(strings.Fields(e.Output))
		return loops.Verdict{Met: n >= 3, Reason: fmt.Sprintf("%d words", n), Feedback: "write more"}, nil
	})
	e := loops.New(loopstest.NewMemory(), loops.Parts{
		Handlers: map[string]loops.Body{"draft": draft},
		Stops:    map[string]loops.StopCondition{"long-enough": long},
	}, nil)
	defer work(e)()

	out, err := e.Start(context.Background(), loops.StartRequest{Spec: loops.Spec{
		Goal:  "A draft of three words",
		Body:  loops.BodySpec{Kind: loops.BodyHandler, Name: "draft"},
		Until: &loops.Until{All: []loops.Condition{{Kind: "long-enough"}}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, _, _ := e.Wait(context.Background(), out.ID, 0, loops.ForSettled, time.Minute, nil)
	fmt.Println(s.Status, s.Stop.Reason, "after", s.Ledger.Passes, "passes:", s.Verdict.Reason)
	// Output: completed goal.predicate after 3 passes: 3 words
}

// Steering reaches the next start.
func ExampleEngine_Do_steer() {
	ctx := context.Background()
	e := loops.New(loopstest.NewMemory(), loops.Parts{Handlers: map[string]loops.Body{
		"greeter": loops.BodyFunc(func(_ context.Context, t loops.Turn) (loops.Result, error) {
			if t.Steer == "" {
				return loops.Result{Ask: &loops.Ask{Prompt: "Which language?"}}, nil
			}
			return loops.Result{Output: t.Answer + ", " + t.Steer, Done: true}, nil
		}),
	}}, nil)
	defer work(e)()

	out, err := e.Start(ctx, loops.StartRequest{Spec: loops.Spec{Goal: "Greet", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "greeter"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, _, _ := e.Wait(ctx, out.ID, 0, loops.ForAttention, time.Minute, nil)
	fmt.Println(s.Status, s.Attention.Prompt)
	for _, r := range []loops.Request{
		{Action: loops.SteerIt, Message: "politely"},
		{Action: loops.AnswerIt, AttentionID: s.Attention.ID, Message: "French"},
	} {
		if _, err := e.Do(ctx, out.ID, r); err != nil {
			fmt.Println(err)
		}
	}
	s, _, _ = e.Wait(ctx, out.ID, 0, loops.ForSettled, time.Minute, nil)
	fmt.Println(s.Output.Text, s.Stop.Reason)
	// Output:
	// needs_input Which language?
	// French, politely goal.claimed
}

// A capped loop keeps its latest output and goes on when its cap is raised.
func ExampleEngine_Do_raiseACap() {
	ctx := context.Background()
	e := loops.New(loopstest.NewMemory(), loops.Parts{Handlers: map[string]loops.Body{
		"counter": loops.BodyFunc(func(_ context.Context, t loops.Turn) (loops.Result, error) {
			return loops.Result{Output: fmt.Sprint(t.Iteration), Done: t.Iteration == 3}, nil
		}),
	}}, nil)
	defer work(e)()

	out, err := e.Start(ctx, loops.StartRequest{Spec: loops.Spec{
		Name: "count", Goal: "Count to three", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "counter"}, Limits: loops.Limits{MaxIterations: 2},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, _, _ := e.Wait(ctx, out.ID, 0, loops.ForSettled, time.Minute, nil)
	fmt.Println(s.Output.Text, s.Stop.Detail)
	fmt.Println(s.Stop.Actions[0])
	if _, err = e.Do(ctx, out.ID, loops.Request{Action: loops.ResumeIt}); err != nil {
		fmt.Println(strings.ReplaceAll(err.Error(), string(out.ID), "count-7k3q"))
	}
	if _, err = e.Do(ctx, out.ID, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxIterations: 5}}); err != nil {
		fmt.Println(err)
	}
	s, _, _ = e.Wait(ctx, out.ID, 0, loops.ForSettled, time.Minute, nil)
	fmt.Println(s.Output.Text, s.Status, "in epoch", s.Epoch)
	// Output:
	// 2 max_iterations: 2 of 2 starts used
	// raise max_iterations above 2 with loop_approve (decision set_limits); the loop then goes on
	// cap_not_raised: count-7k3q has no room for another start: max_iterations: 2 of 2 starts used; raise max_iterations above 2 with loop_approve (decision set_limits)
	// 3 completed in epoch 2
}
