package kvstate

import "example.com/loop-mcp/loops"

// iteration leaves out the verdict: it is joined from the decision when it is read.
func (w *writer) iteration(it *loops.Iteration) {
	w.number("iteration", int64(it.Iteration))
	w.number("pass", int64(it.Pass))
	w.unsigned("epoch", it.Epoch)
	w.flag("ok", it.OK)
	w.flag("done", it.Done)
	w.output("output", it.Output)
	w.text("error", it.Error)
	w.score("score", it.Score)
	w.raw("memory", it.Memory)
	w.some("usage", func() { w.usage(&it.Usage) })
	w.time("started_at", it.StartedAt)
	w.time("ended_at", it.EndedAt)
}

func (w *writer) event(e *loops.Event) {
	w.unsigned("cursor", e.Cursor)
	w.time("at", e.At)
	w.text("type", string(e.Type))
	w.text("text", e.Text)
}

func (w *writer) verdict(v *loops.Verdict) {
	w.number("iteration", int64(v.Iteration))
	w.number("pass", int64(v.Pass))
	w.text("kind", v.Kind)
	w.texts("members", v.Members)
	w.flag("met", v.Met)
	w.text("reason", v.Reason)
	w.flag("impossible", v.Impossible)
	w.text("feedback", v.Feedback)
	w.list("criteria", len(v.Criteria), func(i int) {
		w.members(func() { w.ruling(&v.Criteria[i]) })
	})
	w.list("evidence", len(v.Evidence), func(i int) {
		w.members(func() { w.exhibit(&v.Evidence[i]) })
	})
	w.text("model", v.Model)
	w.text("prompt_hash", v.PromptHash)
	w.some("usage", func() { w.usage(&v.Usage) })
	w.flag("self_reported", v.SelfReported)
	w.text("error", v.Error)
	w.text("fingerprint", v.Fingerprint)
}

func (w *writer) ruling(r *loops.Ruling) {
	w.text("id", r.ID)
	w.text("status", r.Status)
	w.texts("quotes", r.Quotes)
	w.text("note", r.Note)
}

func (w *writer) exhibit(e *loops.Exhibit) {
	w.text("source", e.Source)
	w.flag("observed", e.Observed)
	w.text("text", e.Text)
	w.text("hash", e.Hash)
}
