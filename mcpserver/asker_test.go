package mcpserver

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// eras are the two ways to be asked.
var eras = []string{"legacy", "modern"}

// bothEras runs a test with a client of each era that can be asked.
func bothEras(t *testing.T, opts *Options, test func(t *testing.T, w *world, p *asker)) {
	t.Helper()
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, loopstest.Script(loopstest.Done("ok")), opts)
				test(t, w, &asker{newTalker(t, w.s, era, forms)})
			})
		})
	}
}

// asker is a talker of either era whose person answers.
type asker struct{ *talker }

// form1 is the form that a call led to.
type form1 struct {
	message
	tool, args string
}

// form calls a tool that has to ask the person, and returns the form.
func (p *asker) form(tool, args string) form1 {
	p.t.Helper()
	m := p.ask(tool, args)
	f := form1{m, tool, args}
	if p.modern == "" {
		m.want(p.t, "method", "elicitation/create")
		return f
	}
	m.want(p.t, "result.resultType", "input_required", "result.inputRequests.person.method", "elicitation/create", "result.inputRequests.person.params.mode", "form")
	f.message = message{"params": m.at("result.inputRequests.person.params"), "state": m.at("result.requestState")}
	return f
}

// fill answers the form and returns what comes next: the call's result, or
// another form.
func (p *asker) fill(f form1, result string) message {
	p.t.Helper()
	if p.modern == "" {
		p.answer(f.message, result)
		return p.one()
	}
	return p.ask(f.tool, f.args, retry(f, result)...)
}

// retry is what a call of the new era is repeated with.
func retry(f form1, result string) []string {
	state, _ := json.Marshal(f.message["state"])
	return []string{fmt.Sprintf(`"inputResponses":{"person":%s},"requestState":%s`, result, state)}
}

// submitted starts a client loop, hands in and returns the loop and what it asks.
func submitted(w *world, p *talker, more string) (id, attention string) {
	w.t.Helper()
	id = w.startClient(more)
	w.ok("loop_continue", args("loop_id", id, "attention_id", "it-1", "output", "draft 1", "wait_seconds", 0))
	synctest.Wait()
	r := w.ok("loop_inspect", args("loop_id", id))
	r.want(w.t, "status", "needs_input")
	return id, r.get("attention.id").(string)
}

func (w *world) state(id string) loops.State {
	w.t.Helper()
	s, err := w.e.Get(w.t.Context(), loops.ID(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}
