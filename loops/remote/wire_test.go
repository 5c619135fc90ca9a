package remote_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/remote"
)

func TestResultThatComesTwiceCountsOnce(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		k := r.take()
		if a := k.say(`"type":"result","output":"one","done":false,"usage":{"input_tokens":7}`); !a.OK {
			t.Fatalf("%+v", a)
		}
		again := r.take()
		if a := k.say(`"type":"result","output":"one","done":false,"usage":{"input_tokens":7}`); a.OK || !a.Gone {
			t.Errorf("the result of a start that is over was answered with %+v", a)
		}
		again.say(`"type":"result","output":"two"`)
		s := w.settled(id, loops.Completed)
		if s.Ledger.TotalTokens != 7 || s.Ledger.Starts != 2 || s.Iteration != 2 || s.Output.Text != "two" {
			t.Errorf("%+v, output %q", s.Ledger, s.Output.Text)
		}
		if k.key != string(id)+".1" || again.key != string(id)+".2" {
			t.Errorf("keys are %s and %s", k.key, again.key)
		}
	})
}

func TestOnlyOneServerGetsTheCall(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		first := r.next()
		time.Sleep(1500 * time.Millisecond) // nobody accepts: it is offered again
		second := r.next()
		second.by = "other"
		if first.key != second.key || first.to != second.to {
			t.Fatalf("the second offer is another start: %+v, %+v", first, second)
		}
		if a := second.say(`"type":"accept"`); a.Call == nil {
			t.Fatalf("%+v", a)
		}
		for _, message := range []string{`"type":"accept"`, `"type":"result","output":"stolen"`, `"type":"save","memory":1`, `"type":"heartbeat"`} {
			if a := first.say(message); a.OK || !a.Gone || a.Call != nil {
				t.Errorf("%s of another server was answered with %+v", message, a)
			}
		}
		if a := second.say(`"type":"accept"`); a.Call == nil {
			t.Errorf("an accept whose answer was lost got %+v", a)
		}
		second.say(`"type":"result","output":"mine"`)
		if s := w.settled(id, loops.Completed); s.Output.Text != "mine" || s.Ledger.Starts != 1 {
			t.Errorf("%s after %d starts", s.Output.Text, s.Ledger.Starts)
		}
	})
}

func TestSilentHandlerIsGivenUpAndItsStartRunsAgain(t *testing.T) {
	for _, onCrash := range []string{loops.OnCrashRerun, loops.OnCrashAsk} {
		t.Run(onCrash, func(t *testing.T) {
			story(t, func(w *world) {
				r := w.raw("worker")
				id := w.start(func(s *loops.Spec) { s.Retry.OnCrash = onCrash })
				k := r.take()
				began := time.Now()
				k.say(`"type":"save","memory":{"half":true}`)
				if onCrash == loops.OnCrashAsk {
					s, _, err := w.Wait(w.t.Context(), id, 0, loops.ForAttention, time.Hour, nil)
					if err != nil || s.Status != loops.NeedsInput {
						t.Fatalf("%v: %s", err, s.Summary())
					}
					if _, err := w.Do(w.t.Context(), id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID}); err != nil {
						t.Fatal(err)
					}
				}
				again := r.take()
				if waited := time.Since(began).Round(time.Second); waited < 15*time.Second || waited > 20*time.Second {
					t.Errorf("given up after %s, want a little more than 15 s", waited)
				}
				if again.call.Start != 2 || again.call.Attempt != 1 || again.call.Iteration != 1 || string(again.call.Memory) != `{"half":true}` {
					t.Errorf("repeated as %+v", again.call)
				}
				if a := k.say(`"type":"result","output":"late"`); !a.Gone {
					t.Errorf("a result after its start was given up got %+v", a)
				}
				again.say(`"type":"result","output":"ok"`)
				if s := w.settled(id, loops.Completed); s.Output.Text != "ok" || s.Ledger.Starts != 2 || s.Iteration != 1 {
					t.Errorf("%q, %+v", s.Output.Text, s.Ledger)
				}
			})
		})
	}
}

func TestHandlersThatAlwaysGoSilentStopAtTheCap(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(func(s *loops.Spec) { s.Limits.MaxIterations = 3 })
		for range 3 {
			r.take()
		}
		if s := w.settled(id, loops.Capped); s.Ledger.Starts != 3 || s.Iteration != 0 {
			t.Errorf("%+v", s.Ledger)
		}
		select {
		case <-r.offers:
			t.Error("a start above the cap was offered")
		default:
		}
	})
}

func TestSlowHandlerHasUntilItsIterationTimeout(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(func(s *loops.Spec) {
			s.Limits.IterationTimeout, s.Retry.MaxAttempts = loops.Duration(5*time.Minute), 1
		})
		k := r.take()
		var a remote.Answer
		for range 200 {
			if time.Sleep(2 * time.Second); a.Cancel == "" {
				a = k.say(`"type":"heartbeat"`)
			}
		}
		if a.Cancel != "graceful" || a.Reason != "time" {
			t.Errorf("told %+v", a)
		}
		s := w.get(id)
		if s.Ledger.Starts != 2 || s.Iteration != 1 || !strings.Contains(s.Feedback, "iteration_timeout") {
			t.Errorf("%s, %q", s.Summary(), s.Feedback)
		}
	})
}

func TestCancelReachesTheHandlerAndItsReportStillCounts(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		k := r.next()
		sub, err := r.nc.SubscribeSync("me.control")
		if err != nil {
			t.Fatal(err)
		}
		k.say(`"type":"accept","control":"me.control"`)
		began := time.Now()
		if _, err := w.Do(w.t.Context(), id, loops.Request{Action: loops.CancelIt}); err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsgWithContext(w.t.Context())
		if err != nil || time.Since(began) > 100*time.Millisecond {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		if want := fmt.Sprintf(`{"v":1,"key":%q,"cancel":"graceful","reason":"cancelled"}`, k.key); string(m.Data) != want {
			t.Errorf("told %s, want %s", m.Data, want)
		}
		if a := k.say(`"type":"result","output":"never mind","usage":{"cost_usd":0.5}`); !a.OK {
			t.Errorf("%+v", a)
		}
		s := w.settled(id, loops.Cancelled)
		if s.Ledger.CostUSD != loops.Dollar/2 || s.Iteration != 0 || s.Output.Text != "" {
			t.Errorf("%+v, output %q", s.Ledger, s.Output.Text)
		}
		if a := k.say(`"type":"result","output":"x","usage":{"cost_usd":0.5}`); !a.Gone {
			t.Errorf("%+v", a)
		}
		if s := w.get(id); s.Ledger.CostUSD != loops.Dollar/2 {
			t.Errorf("what came after the end was counted: %s", s.Ledger.CostUSD)
		}
	})
}

func TestCancelDoesNotWaitForADeafHandler(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		r.take()
		began := time.Now()
		if _, err := w.Do(w.t.Context(), id, loops.Request{Action: loops.CancelIt, Now: true}); err != nil {
			t.Fatal(err)
		}
		if w.settled(id, loops.Cancelled); time.Since(began) > time.Second {
			t.Errorf("took %s", time.Since(began))
		}
	})
}

func TestWhatAHandlerMayNotSay(t *testing.T) {
	for name, c := range map[string]struct{ message, want string }{
		"no JSON":                 {`hello`, `sent what it should not`},
		"not an object":           {`[]`, `must be an object`},
		"unknown field":           {`{"v":1,"key":KEY,"by":"me","type":"result","outptu":"x"}`, `outptu: unknown key, did you mean output?`},
		"unknown type":            {`{"v":1,"key":KEY,"by":"me","type":"finish"}`, `type: must be accept, busy, heartbeat`},
		"no type":                 {`{"v":1,"key":KEY,"by":"me"}`, `type: must be accept, busy`},
		"output is a number":      {`{"v":1,"key":KEY,"by":"me","type":"result","output":1}`, `output: must be a text, got 1`},
		"done is a text":          {`{"v":1,"key":KEY,"by":"me","type":"result","done":"yes"}`, `done: must be true or false`},
		"score is a text":         {`{"v":1,"key":KEY,"by":"me","type":"result","score":"high"}`, `score: must be a number`},
		"score is too large":      {`{"v":1,"key":KEY,"by":"me","type":"result","score":1e999}`, `score`},
		"negative tokens":         {`{"v":1,"key":KEY,"by":"me","type":"result","usage":{"input_tokens":-1}}`, `usage.input_tokens: must not be negative, got -1`},
		"too many tokens":         {`{"v":1,"key":KEY,"by":"me","type":"result","usage":{"output_tokens":2000000000000}}`, `usage.output_tokens: is too large`},
		"negative money":          {`{"v":1,"key":KEY,"by":"me","type":"result","usage":{"cost_usd":-0.5}}`, `usage.cost_usd: must not be negative`},
		"unknown usage":           {`{"v":1,"key":KEY,"by":"me","type":"result","usage":{"tokens":5}}`, `usage.tokens: unknown key`},
		"limits in a result":      {`{"v":1,"key":KEY,"by":"me","type":"result","limits":{"max_iterations":1000}}`, `limits: unknown key`},
		"a verdict":               {`{"v":1,"key":KEY,"by":"me","type":"result","verdict":{"met":true}}`, `verdict: unknown key`},
		"ask without words":       {`{"v":1,"key":KEY,"by":"me","type":"result","ask":{"approval":true}}`, `ask.prompt: is missing`},
		"ask and error":           {`{"v":1,"key":KEY,"by":"me","type":"result","ask":{"prompt":"?"},"error":{"message":"x"}}`, `ask: does not go with an error`},
		"error without words":     {`{"v":1,"key":KEY,"by":"me","type":"result","error":{"kind":"permanent"}}`, `error.message: is missing`},
		"unknown kind of error":   {`{"v":1,"key":KEY,"by":"me","type":"result","error":{"message":"x","kind":"fatal"}}`, `error.kind: must be failed, permanent`},
		"negative wait":           {`{"v":1,"key":KEY,"by":"me","type":"result","error":{"message":"x","kind":"transient","retry_after_seconds":-1}}`, `error.retry_after_seconds: must be 0 to`},
		"wait of a failure":       {`{"v":1,"key":KEY,"by":"me","type":"result","error":{"message":"x","retry_after_seconds":1}}`, `error.retry_after_seconds: goes with the kinds`},
		"text in a result":        {`{"v":1,"key":KEY,"by":"me","type":"result","text":"x"}`, `text: does not go with the type result`},
		"output in an emit":       {`{"v":1,"key":KEY,"by":"me","type":"emit","output":"x"}`, `output: does not go with the type emit`},
		"memory in a heartbeat":   {`{"v":1,"key":KEY,"by":"me","type":"heartbeat","memory":1}`, `memory: does not go with the type heartbeat`},
		"part of what":            {`{"v":1,"key":KEY,"by":"me","type":"part","field":"goal","text":"x"}`, `field: must be output or memory`},
		"part with a gap":         {`{"v":1,"key":KEY,"by":"me","type":"part","field":"output","offset":5,"text":"x"}`, `offset: there are 0 bytes of output before this part, not 5`},
		"negative offset":         {`{"v":1,"key":KEY,"by":"me","type":"part","field":"output","offset":-5,"text":"x"}`, `offset: must not be negative`},
		"part too large":          {`{"v":1,"key":KEY,"by":"me","type":"part","field":"memory","offset":16777216,"text":"x"}`, `memory: is larger than the 16777216 bytes`},
		"parts that did not come": {`{"v":1,"key":KEY,"by":"me","type":"result","parts":{"output":5}}`, `parts.output: says 5 bytes, and 0 came`},
		"parts of what":           {`{"v":1,"key":KEY,"by":"me","type":"result","parts":{"goal":5}}`, `parts.goal: must be output or memory`},
		"twice the same key":      {`{"v":1,"key":KEY,"by":"me","type":"result","done":true,"done":false}`, `done`},
		"control character":       {`{"v":1,"key":KEY,"by":"me","type":"emit","tool":"\u0007"}`, `tool`},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				r := w.raw("worker")
				id := w.start(func(s *loops.Spec) { s.Limits.MaxFailures = 1 })
				k := r.take()
				message := strings.ReplaceAll(c.message, "KEY", fmt.Sprintf("%q", k.key))
				if a := k.send(message); a.OK || a.Error == "" {
					t.Errorf("answered with %+v", a)
				}
				s := w.settled(id, loops.Failed)
				if !strings.Contains(s.Stop.Detail, c.want) || !strings.Contains(s.Stop.Detail, `the handler "worker"`) {
					t.Errorf("failed with %q, want %q and the handler's name", s.Stop.Detail, c.want)
				}
				if s.Limits.MaxIterations == 1000 || s.Verdict != nil && s.Verdict.Met {
					t.Errorf("limits %+v, verdict %+v", s.Limits, s.Verdict)
				}
			})
		})
	}
}

func TestMessagesOfOtherStartsAreRefusedAndChangeNothing(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		k := r.take()
		for _, message := range []string{
			`{"v":1,"key":"other-abcd.1","by":"me","type":"result","output":"x"}`,
			`{"v":1,"key":"","by":"me","type":"result","output":"x"}`,
			`{"v":2,"key":KEY,"by":"me","type":"result","output":"x"}`,
			`{"key":KEY,"by":"me","type":"result","output":"x"}`,
			`{"v":1,"key":KEY,"type":"result","output":"x"}`,
			`{"v":1,"key":KEY,"by":"you","type":"result","output":"x"}`,
		} {
			if a := k.send(strings.ReplaceAll(message, "KEY", fmt.Sprintf("%q", k.key))); a.OK || a.Error == "" {
				t.Errorf("%s was answered with %+v", message, a)
			}
		}
		if s := w.get(id); s.Status != loops.Running || s.Iteration != 0 {
			t.Errorf("%s", s.Summary())
		}
		k.say(`"type":"result","output":"ok"`)
		w.settled(id, loops.Completed)
	})
}

func TestEveryKindOfFailureKeepsItsMeaning(t *testing.T) {
	for kind, c := range map[string]struct {
		status loops.Status
		reason loops.StopReason
		starts int
	}{
		"failed": {loops.Failed, loops.FailFailures, 1}, "permanent": {loops.Failed, loops.FailBody, 1},
		"transient": {loops.Completed, loops.GoalClaimed, 2}, "rate_limited": {loops.Completed, loops.GoalClaimed, 1}, "cut_off": {loops.Completed, loops.GoalClaimed, 2},
	} {
		t.Run(kind, func(t *testing.T) {
			story(t, func(w *world) {
				r := w.raw("worker")
				id := w.start(func(s *loops.Spec) { s.Limits.MaxFailures = 1 })
				k := r.take()
				k.say(fmt.Sprintf(`"type":"result","usage":{"total_tokens":3},"error":{"message":"it broke","kind":%q}`, kind))
				if c.status == loops.Completed {
					again := r.take()
					if same := again.key == k.key; same != (kind == "rate_limited") {
						t.Errorf("goes on as %s after %s", again.key, k.key)
					}
					again.say(`"type":"result","output":"ok"`)
				}
				s := w.settled(id, c.status)
				if s.Stop.Reason != c.reason || s.Ledger.Starts != c.starts || s.Ledger.TotalTokens != 3 {
					t.Errorf("%s: %s, %+v", s.Stop.Reason, s.Stop.Detail, s.Ledger)
				}
				if c.status == loops.Failed && !strings.Contains(s.Stop.Detail, "handler worker: it broke") {
					t.Errorf("the reason does not name the handler: %s", s.Stop.Detail)
				}
			})
		})
	}
}

func TestHandlerAsksAPerson(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		r.take().say(`"type":"result","output":"?","ask":{"prompt":"Which one?"}`)
		s, _, err := w.Wait(w.t.Context(), id, 0, loops.ForAttention, time.Hour, nil)
		if err != nil || s.Attention == nil || s.Attention.Prompt != "Which one?" {
			t.Fatalf("%v: %s", err, s.Summary())
		}
		if _, err := w.Do(w.t.Context(), id, loops.Request{Action: loops.AnswerIt, Message: "the left one", AttentionID: s.Attention.ID}); err != nil {
			t.Fatal(err)
		}
		k := r.take()
		if k.call.Answer != "the left one" {
			t.Errorf("the answer is %q", k.call.Answer)
		}
		k.say(`"type":"result"`)
		w.settled(id, loops.Completed)
	})
}
