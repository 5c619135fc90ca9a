package remote_test

import (
	"fmt"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

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
