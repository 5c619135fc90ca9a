package mcpserver

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestApproveAsksThePerson: they see what it is about, and their word counts.
func TestApproveAsksThePerson(t *testing.T) {
	bothEras(t, nil, func(t *testing.T, w *world, p *asker) {
		id, attention := submitted(w, p.talker, "")
		f := p.form("loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve", "message", "looks fine"))
		f.want(t, "params.message", "~Loop "+id+" asks for a decision", "params.message", "~> good?", "params.message", "~> draft 1",
			"params.message", "~Goal: write it", "params.message", "~Cost: ", "params.message", "~The agent in tester proposes: approve.\n> looks fine",
			"params.requestedSchema.properties.decision.enum", "[approve deny]")
		m := p.fill(f, fmt.Sprintf(accepted, `{"decision":"approve"}`))
		m.want(t, "result.structuredContent.status", "completed", "result.structuredContent.stop.reason", "goal.human",
			"result.structuredContent.stop.detail", "approved by person: looks fine", "result.structuredContent.next", "~The user approved.")
	})
}

// TestThePersonsWordBeatsTheAgents, and their reason takes the place of its.
func TestThePersonsWordBeatsTheAgents(t *testing.T) {
	bothEras(t, nil, func(t *testing.T, w *world, p *asker) {
		id, attention := submitted(w, p.talker, "")
		f := p.form("loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve", "message", "looks fine"))
		m := p.fill(f, fmt.Sprintf(accepted, `{"decision":"deny","message":"no dates","extra":1}`))
		m.want(t, "result.structuredContent.status", "your_turn", "result.structuredContent.verdict.feedback", "no dates",
			"result.structuredContent.verdict.reason", "denied by person: no dates", "result.structuredContent.next", "~The user denied.")
	})
}

// TestNobodyThere: closing the form, in whatever way, decides nothing.
func TestNobodyThere(t *testing.T) {
	for name, result := range map[string]string{
		"decline": `{"action":"decline"}`, "cancel": `{"action":"cancel"}`, "decline with a decision": `{"action":"decline","content":{"decision":"approve"}}`,
		"no content": `{"action":"accept"}`, "another decision": fmt.Sprintf(accepted, `{"decision":"set_limits"}`), "a list": fmt.Sprintf(accepted, `["approve"]`),
		"a true decision": fmt.Sprintf(accepted, `{"decision":true}`), "in capitals": fmt.Sprintf(accepted, `{"decision":"APPROVE"}`), "two": fmt.Sprintf(accepted, `{"decision":["approve","deny"]}`),
		"a message of numbers": fmt.Sprintf(accepted, `{"decision":"approve","message":7}`), "an endless message": fmt.Sprintf(accepted, `{"decision":"approve","message":"`+strings.Repeat("x", loops.MaxGoalSize+1)+`"}`),
		"another action": `{"action":"yes","content":{"decision":"approve"}}`, "no action": `{"content":{"decision":"approve"}}`, "null": `null`, "text": `"approve"`,
	} {
		t.Run(name, func(t *testing.T) {
			bothEras(t, nil, func(t *testing.T, w *world, p *asker) {
				id, attention := submitted(w, p.talker, "")
				before := w.state(id)
				for _, call := range [][2]string{
					{"loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve")},
					{"loop_wait", args("loop_id", id)},
				} {
					m := p.fill(p.form(call[0], call[1]), result)
					m.want(t, "result.isError", "<nil>", "result.structuredContent.status", "needs_input", "result.structuredContent.attention.id", attention,
						"result.structuredContent.next", "~nothing was recorded", "result.structuredContent.next", "~loop-mcp approve "+id)
				}
				if now := w.state(id); now.Rev != before.Rev {
					t.Errorf("the loop was changed: %s", now.Summary())
				}
			})
		})
	}
}

// TestAWaitAsksThePerson, once for each thing that the loop asks, and then goes
// on to wait.
func TestAWaitAsksThePerson(t *testing.T) {
	bothEras(t, nil, func(t *testing.T, w *world, p *asker) {
		id, _ := submitted(w, p.talker, "")
		f := p.form("loop_wait", args("loop_id", id))
		f.want(t, "params.message", "~asks for a decision", "params.requestedSchema.required", "[decision]")
		m := p.fill(f, fmt.Sprintf(accepted, `{"decision":"deny","message":"no dates"}`))
		m.want(t, "result.structuredContent.status", "your_turn", "result.structuredContent.timed_out", false, "result.structuredContent.next", "~The user denied ap-")
		w.ok("loop_continue", args("loop_id", id, "attention_id", "it-2", "output", "draft 2", "wait_seconds", 0))
		m = p.fill(p.form("loop_wait", args("loop_id", id, "for", "settled")), fmt.Sprintf(accepted, `{"decision":"approve"}`))
		m.want(t, "result.structuredContent.status", "completed", "result.structuredContent.stop.detail", "approved by person")
	})
}

// TestAWorkersQuestionReachesThePerson and the answer the worker, without the
// agent in between.
func TestAWorkersQuestionReachesThePerson(t *testing.T) {
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, loopstest.Script(loopstest.Step{Result: loops.Result{Ask: &loops.Ask{Prompt: "Which \x1b[31mone?"}}}, loopstest.Done("ok")), nil)
				p := &asker{newTalker(t, w.s, era, forms)}
				id := w.startHandler("")
				f := p.form("loop_wait", args("loop_id", id, "for", "settled"))
				f.want(t, "params.message", "~Loop "+id+" asks:\n\n> Which [31mone?\n", "params.requestedSchema.required", "[answer]")
				m := p.fill(f, fmt.Sprintf(accepted, `{"answer":"the second"}`))
				m.want(t, "result.structuredContent.status", "completed", "result.structuredContent.next", "~The user answered q-")
				found := false
				for _, e := range w.ok("loop_inspect", args("loop_id", id, "view", "events")).answer["items"].([]any) {
					found = found || e.(map[string]any)["text"] == "answered by person: the second"
				}
				if !found {
					t.Error("the journal does not say who answered")
				}
			})
		})
	}
}

// TestOfferedNextToThosesWhoCanAsk: the client's model is sent to the call that
// asks the user, and after a closed form elsewhere.
func TestNextOfALoopThatAsks(t *testing.T) {
	bothEras(t, &Options{Approvals: "person"}, func(t *testing.T, w *world, p *asker) {
		id, _ := submitted(w, p.talker, "")
		m := p.ask("loop_wait", args("loop_id", id, "wait_seconds", 0))
		m.want(t, "result.structuredContent.status", "needs_input", "result.structuredContent.next", "~call loop_wait with loop_id "+id, "result.structuredContent.next", "~asks the user")
	})
}

// TestWithApprovalsPersonAFormCounts and the agent's own word does not.
func TestWithApprovalsPersonAFormCounts(t *testing.T) {
	opts := &Options{Approvals: "person"}
	bothEras(t, opts, func(t *testing.T, w *world, p *asker) {
		id, attention := submitted(w, p.talker, "")
		approve := args("loop_id", id, "attention_id", attention, "decision", "approve")
		plain := newTalker(t, w.s, map[bool]string{true: "modern", false: "legacy"}[p.modern != ""], noForms)
		plain.ask("loop_approve", approve).want(t, "result.isError", true, "result.content.0.text", "~person_required", "result.content.0.text", "~loop-mcp approve "+id)
		m := p.fill(p.form("loop_approve", approve), fmt.Sprintf(accepted, `{"decision":"approve"}`))
		m.want(t, "result.structuredContent.status", "completed")
	})
}

// TestLimitsChangeWhenThePersonAgrees.
func TestLimitsChangeWhenThePersonAgrees(t *testing.T) {
	bothEras(t, &Options{Approvals: "person"}, func(t *testing.T, w *world, p *asker) {
		id, _ := submitted(w, p.talker, "")
		raise := args("loop_id", id, "decision", "set_limits", "limits", map[string]any{"max_passes": 12}, "message", "two more")
		f := p.form("loop_approve", raise)
		f.want(t, "params.message", "~May the limits of loop "+id, "params.message", "~> max_passes 10 → 12", "params.message", "~asks for this.\n> two more")
		p.fill(f, fmt.Sprintf(accepted, `{"decision":"deny","message":"10 is\nplenty"}`)).want(t, "result.isError", true, "result.content.0.text", "~not_agreed", "result.content.0.text", "~10 is plenty")
		p.fill(p.form("loop_approve", raise), `{"action":"cancel"}`).want(t, "result.structuredContent.limits.max_passes", 10, "result.structuredContent.next", "~nothing was recorded")
		f = p.form("loop_approve", raise)
		p.fill(f, fmt.Sprintf(accepted, `{"decision":"approve"}`)).want(t, "result.structuredContent.limits.max_passes", 12, "result.structuredContent.next", "~The user approved")
		w.ok("loop_inspect", args("loop_id", id, "view", "events")).want(t, "items.5.text", "max_passes 10 → 12 by person")
		if p.modern == "" {
			return
		}
		if _, err := w.e.Do(t.Context(), loops.ID(id), loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxPasses: 11}, By: "operator"}); err != nil {
			t.Fatal(err)
		}
		p.fill(f, fmt.Sprintf(accepted, `{"decision":"approve"}`)).want(t, "result.structuredContent.limits.max_passes", 11) // said once, done once
	})
}

// TestNoFormForWhatIsRefusedAnyway.
func TestNoFormForWhatIsRefusedAnyway(t *testing.T) {
	bothEras(t, nil, func(t *testing.T, w *world, p *asker) {
		id, attention := submitted(w, p.talker, "")
		for want, a := range map[string]string{
			"stale_attention":          args("loop_id", id, "attention_id", "ap-99", "decision", "approve"),
			"it is " + attention:       args("loop_id", id, "decision", "approve"),
			"no loop \"draft-0099\"":   args("loop_id", "draft-0099", "attention_id", attention, "decision", "deny"),
			"limits: is missing":       args("loop_id", id, "decision", "set_limits"),
			"max_passes: must be at l": args("loop_id", id, "decision", "set_limits", "limits", map[string]any{"max_passes": -1}),
		} {
			p.ask("loop_approve", a).want(t, "result.isError", true, "result.content.0.text", "~"+want)
		}
	})
}

// TestALateAnswerOfTwo: the first one wins; the other client's form is closed
// and its call says so.
func TestALateAnswerOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		first, second := &asker{newTalker(t, w.s, "legacy", forms)}, &asker{newTalker(t, w.s, "legacy", forms)}
		third := &asker{newTalker(t, w.s, "modern", forms)}
		fourth := &asker{newTalker(t, w.s, "legacy", forms)}
		id, attention := submitted(w, first.talker, "")
		wait := args("loop_id", id, "for", "settled")
		f, g := first.form("loop_wait", wait), second.form("loop_wait", wait)
		h := third.form("loop_wait", wait)
		k := fourth.form("loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve"))
		m := second.fill(g, fmt.Sprintf(accepted, `{"decision":"approve"}`))
		m.want(t, "result.structuredContent.status", "completed", "result.structuredContent.next", "~The user approved")
		got := first.read()
		if len(got) != 2 {
			t.Fatalf("the other client got %v", got)
		}
		message(got[0]).want(t, "method", "notifications/cancelled", "params.requestId", f.message["id"], "params.reason", "the loop asks this no longer")
		message(got[1]).want(t, "result.structuredContent.status", "completed", "result.structuredContent.next", "~the loop moved on before they answered")
		if got = fourth.read(); len(got) != 2 {
			t.Fatalf("the client with loop_approve got %v", got)
		}
		message(got[0]).want(t, "method", "notifications/cancelled", "params.requestId", k.message["id"])
		message(got[1]).want(t, "result.isError", true, "result.content.0.text", "~does not allow approve")
		first.answer(f.message, fmt.Sprintf(accepted, `{"decision":"deny"}`))
		third.fill(h, fmt.Sprintf(accepted, `{"decision":"deny"}`)).want(t, "result.structuredContent.status", "completed", "result.structuredContent.next", "~the loop moved on before they answered")
		if s := w.state(id); s.Stop == nil || s.Stop.Detail != "approved by person" {
			t.Errorf("%+v", s.Stop)
		}
	})
}

// TestTheWaitEndsTheQuestion: the form is closed, and that is a normal answer.
func TestTheWaitEndsTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := &asker{newTalker(t, w.s, "legacy", forms)}
		id, attention := submitted(w, p.talker, "")
		for call, ends := range map[[2]string]time.Duration{
			{"loop_wait", args("loop_id", id, "wait_seconds", 5)}:                                              5 * time.Second,
			{"loop_wait", args("loop_id", id, "for", "settled")}:                                               20 * time.Second,
			{"loop_wait", args("loop_id", id, "for", "change", "cursor", w.state(id).Cursor)}:                  20 * time.Second,
			{"loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve")}:            50 * time.Second,
			{"loop_approve", args("loop_id", id, "decision", "set_limits", "limits", args2("max_passes", 12))}: 50 * time.Second,
		} {
			f := p.form(call[0], call[1])
			time.Sleep(ends - time.Second)
			if got := p.read(); len(got) != 0 {
				t.Fatalf("%s: too early: %v", call, got)
			}
			time.Sleep(time.Second)
			got := p.read()
			if len(got) != 2 {
				t.Fatalf("%s: %v", call, got)
			}
			message(got[0]).want(t, "method", "notifications/cancelled", "params.requestId", f.message["id"], "params.reason", "nobody answered in time")
			message(got[1]).want(t, "result.structuredContent.status", "needs_input", "result.structuredContent.limits.max_passes", map[bool]string{true: "10", false: "<nil>"}[call[0] == "loop_approve"])
			if call[0] == "loop_wait" {
				message(got[1]).want(t, "result.structuredContent.timed_out", true, "result.structuredContent.next", "~has not answered yet")
			}
		}
	})
}

func args2(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// TestAPausedLoopAsksNothing: its form is withdrawn, and comes again when the
// loop goes on within the same call.
func TestAPausedLoopAsksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := &asker{newTalker(t, w.s, "legacy", forms)}
		id, _ := submitted(w, p.talker, "")
		f := p.form("loop_wait", args("loop_id", id, "for", "settled"))
		w.ok("loop_pause", args("loop_id", id))
		p.one().want(t, "method", "notifications/cancelled", "params.requestId", f.message["id"])
		w.ok("loop_continue", args("loop_id", id, "action", "resume"))
		m := p.one()
		m.want(t, "method", "elicitation/create")
		p.answer(m, fmt.Sprintf(accepted, `{"decision":"approve"}`))
		p.one().want(t, "result.structuredContent.status", "completed", "result.structuredContent.next", "~The user approved")
	})
}

// TestProgressGoesOnWhileThePersonThinks: clients that end silent calls do not
// end this one.
func TestProgressGoesOnWhileThePersonThinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := &asker{newTalker(t, w.s, "legacy", forms)}
		id, _ := submitted(w, p.talker, "")
		p.ask("loop_wait", args("loop_id", id, "wait_seconds", 50), `"_meta":{"progressToken":"p"}`).want(t, "method", "elicitation/create")
		time.Sleep(35 * time.Second)
		got := p.read()
		if len(got) != 3 {
			t.Errorf("%d messages in 35 s: %v", len(got), got)
		}
		for _, m := range got {
			message(m).want(t, "method", "notifications/progress", "params.message", "~needs_input")
		}
	})
}

// TestAClientThatEndsInTheMiddle: the loop keeps waiting, whether the call was
// cancelled or the client is gone.
func TestAClientThatEndsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		for _, tool := range []string{"loop_wait", "loop_approve"} {
			p := &asker{newTalker(t, w.s, "legacy", forms)}
			id, attention := submitted(w, p.talker, "")
			call := args("loop_id", id)
			if tool == "loop_approve" {
				call = args("loop_id", id, "attention_id", attention, "decision", "approve")
			}
			f := p.form(tool, call)
			p.write(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, p.last)
			p.one().want(t, "method", "notifications/cancelled", "params.requestId", f.message["id"])
			p.answer(f.message, fmt.Sprintf(accepted, `{"decision":"approve"}`))
			if got := p.read(); len(got) > 0 {
				t.Errorf("after the end of the call: %v", got)
			}
			p.form(tool, call)
			p.hangUp()
			if s := w.state(id); s.Status != loops.NeedsInput || s.Attention.ID != attention {
				t.Errorf("%s: %s", tool, s.Summary())
			}
		}
	})
}

// TestAClientThatLies declares forms and has none: its user is not there.
func TestAClientThatLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Approvals: "person"})
		p := &asker{newTalker(t, w.s, "legacy", forms)}
		id, attention := submitted(w, p.talker, "")
		for _, call := range [][2]string{{"loop_wait", args("loop_id", id)}, {"loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve")}} {
			f := p.form(call[0], call[1])
			p.write(`{"jsonrpc":"2.0","id":%q,"error":{"code":-32601,"message":"Method\nnot found"}}`, f.message["id"])
			p.one().want(t, "result.isError", "<nil>", "result.structuredContent.status", "needs_input", "result.structuredContent.next", "~the client answered with error -32601: Method not found. ")
		}
	})
}

// TestWhoCannotAskIsAskedNothing, in either era, and records what it passes on
// as the client's.
func TestWhoCannotAskIsAskedNothing(t *testing.T) {
	for _, era := range eras {
		for _, caps := range []string{noForms, `{"elicitation":{"url":{}}}`} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				p := newTalker(t, w.s, era, caps)
				id, attention := submitted(w, p, "")
				p.ask("loop_wait", args("loop_id", id)).want(t, "result.structuredContent.status", "needs_input", "result.structuredContent.next", "~let them decide, then call loop_approve")
				m := p.ask("loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve"))
				m.want(t, "result.structuredContent.stop.detail", "approved by client")
			})
		}
	}
}

// TestStartingAndHandingInAskDuringTheCallOnly: their answer is needed even when
// nobody sits there, so it is not put off for a form.
func TestStartingAndHandingInAskDuringTheCallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		for _, era := range eras {
			p := &asker{newTalker(t, w.s, era, forms)}
			m := p.ask("loop_start", fmt.Sprintf(clientArgs, ""))
			id := m.at("result.structuredContent.loop_id").(string)
			call := args("loop_id", id, "attention_id", "it-1", "output", "draft 1")
			if era == "modern" {
				p.ask("loop_continue", call).want(t, "result.structuredContent.status", "needs_input", "result.structuredContent.next", "~call loop_wait")
				continue
			}
			m = p.fill(p.form("loop_continue", call), fmt.Sprintf(accepted, `{"decision":"approve"}`))
			m.want(t, "result.structuredContent.status", "completed", "result.structuredContent.next", "~The user approved")
		}
	})
}
