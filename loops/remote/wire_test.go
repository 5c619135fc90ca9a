package remote_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/remote"
	"github.com/google/go-cmp/cmp"
)

// A handler whose answer was lost once believed that its work was refused.
func TestResultThatComesTwiceCountsOnce(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		k := r.take()
		const result = `"type":"result","output":"one","done":false,"usage":{"input_tokens":7}`
		if a := k.say(result); !a.OK {
			t.Fatalf("%+v", a)
		}
		again := r.take()
		other, late := k, k
		other.by, late.key = "other", again.key
		time.Sleep(10 * time.Second)
		if a := k.say(result); !a.OK || a.Gone || a.Error != "" {
			t.Errorf("the result that had counted was answered with %+v", a)
		}
		for name, a := range map[string]remote.Answer{
			"another server's result": other.say(result), "the result of another start": late.say(result),
			"a heartbeat": k.say(`"type":"heartbeat"`), "what is no message": k.send(`{"type":"result",`),
		} {
			if a.OK || !a.Gone {
				t.Errorf("%s after the start was over was answered with %+v", name, a)
			}
		}
		again.say(`"type":"result","output":"two"`)
		s := w.settled(id, loops.Completed)
		if s.Ledger.TotalTokens != 7 || s.Ledger.Starts != 2 || s.Iteration != 2 || s.Output.Text != "two" {
			t.Errorf("%+v, output %q", s.Ledger, s.Output.Text)
		}
		time.Sleep(2 * time.Minute)
		if a := k.say(result); a.OK || !a.Gone {
			t.Errorf("the result of a start of long ago was answered with %+v", a)
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
		if a := k.say(`"type":"result","output":"never mind","usage":{"cost_usd":0.5}`); !a.OK {
			t.Errorf("a report that had counted was answered with %+v", a)
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

func TestNobodyServesTheHandler(t *testing.T) {
	story(t, func(w *world) {
		out, err := w.Start(w.t.Context(), loops.StartRequest{Spec: spec(nil)})
		if err != nil {
			t.Fatal(err)
		}
		want := `name: nobody serves the handler "worker": the loop waits until somebody does, for example loop-mcp handler worker -- PROGRAM`
		if diff := cmp.Diff([]string{"body." + want}, out.Warnings); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Hour)
		if s := w.get(out.ID); s.Status != loops.Queued || !strings.Contains(s.Why, want) || s.Ledger.Starts != 0 {
			t.Errorf("%s with %d starts: %q", s.Status, s.Ledger.Starts, s.Why)
		}
		r := w.raw("worker")
		began := time.Now()
		k := r.take()
		if time.Since(began) > 3*time.Second {
			t.Errorf("taken %s after the handler came", time.Since(began))
		}
		k.say(`"type":"result","output":"ok"`)
		if s := w.settled(out.ID, loops.Completed); s.Ledger.Starts != 1 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

func TestHandlerThatLeavesBetweenTwoStarts(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		k := r.take()
		k.say(`"type":"result","output":"one","done":false`) // the commit charges the second start
		r.nc.Close()
		time.Sleep(time.Hour)
		s := w.get(id)
		if s.Status != loops.Queued || s.Ledger.Starts != 2 || s.Iteration != 1 || !strings.Contains(s.Why, "nobody serves") || s.Ledger.ActiveSeconds > 5 {
			t.Fatalf("%s, %+v: %q", s.Status, s.Ledger, s.Why)
		}
		k = w.raw("worker").take()
		if k.call.Start != 2 || k.call.Attempt != 1 {
			t.Errorf("goes on with %+v", k.call)
		}
		k.say(`"type":"result","output":"two"`)
		if s := w.settled(id, loops.Completed); s.Ledger.Starts != 2 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

func TestServerThatSaysItHasRoomAndTakesNothing(t *testing.T) {
	story(t, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		for range 5 {
			k := r.next()
			r.publish(k.to, fmt.Sprintf(`{"v":1,"type":"busy","key":%q,"text":"not now"}`, k.key))
		}
		time.Sleep(500 * time.Millisecond)
		s := w.get(id)
		if s.Status != loops.Queued || !strings.Contains(s.Why, `all servers of the handler "worker" are busy: not now`) || s.Ledger.Starts != 1 {
			t.Errorf("%s, %+v: %q", s.Status, s.Ledger, s.Why)
		}
		r.take().say(`"type":"result","output":"ok"`)
		if s := w.settled(id, loops.Completed); s.Ledger.Starts != 1 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

func TestServerWithoutRoomIsWaitedFor(t *testing.T) {
	story(t, func(w *world) {
		release := make(chan struct{})
		w.serve("worker", blocks(release), &remote.ServeOptions{Starts: 1})
		first, second := w.start(nil), w.start(nil)
		time.Sleep(time.Minute)
		a, b := w.get(first), w.get(second)
		if a.Status == loops.Queued {
			a, b = b, a
		}
		if a.Status != loops.Running || b.Status != loops.Queued || !strings.Contains(b.Why, "are busy") || b.Ledger.Starts > 1 {
			t.Errorf("%s and %s: %q", a.Status, b.Status, b.Why)
		}
		close(release)
		w.settled(first, loops.Completed)
		w.settled(second, loops.Completed)
	})
}

func TestNamesThatNoHandlerElsewhereHas(t *testing.T) {
	story(t, func(w *world) {
		for _, name := range []string{"a b", "*", ">", "a.*", ".a", "a.", "a..b", "é", strings.Repeat("a", 65), "a\tb", "$SYS"} {
			_, err := w.Start(w.t.Context(), loops.StartRequest{Spec: spec(func(s *loops.Spec) { s.Body.Name = name })})
			if err == nil || !strings.Contains(err.Error(), "body.name") {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, name := range []string{"a", "A-1_b", "team.render", strings.Repeat("a", 64)} {
			if err := remote.CheckName(name); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
	})
}
