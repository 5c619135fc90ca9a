package kvstate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"example.com/loop-mcp/loops"
)

// state leaves out what the head of the record says: see [header.complete].
func (w *writer) state(s *loops.State) {
	w.text("id", string(s.ID))
	w.text("why", s.Why)
	w.text("waiting_for", s.WaitingFor)
	w.time("waiting_since", s.WaitingSince)
	w.time("waiting_until", s.WaitingUntil)
	w.number("iteration", int64(s.Iteration))
	w.number("attempt", int64(s.Attempt))
	w.flag("open", s.Open)
	w.flag("held", s.Held)

	w.output("output", s.Output)
	w.score("score", s.Score)
	w.best(s.Best)
	w.raw("memory", s.Memory)
	w.flag("unkept", s.Unkept)
	w.text("feedback", s.Feedback)
	w.text("answer", s.Answer)
	w.list("steers", len(s.Steers), func(i int) {
		w.members(func() {
			w.text("text", s.Steers[i].Text)
			w.flag("seen", s.Steers[i].Seen)
		})
	})

	if s.Verdict != nil {
		w.object("verdict", func() { w.verdict(s.Verdict) })
	}
	w.owed(s.Owed)
	w.flag("checked", s.Checked)
	w.attention(s.Attention)
	w.stop(s.Stop)
	w.pause(s.Pause)
	w.some("intent", func() {
		w.pause(s.Intent.Pause)
		w.cancel(s.Intent.Cancel)
	})

	w.spending(s)
	w.notes(s.Notes)
	w.number("waits", int64(s.Waits))

	w.some("progress", func() { w.progress(&s.Progress) })
	w.some("claim", func() { w.number("commit", int64(s.Claim.Commit)) })
	w.texts("taken", s.Taken)
	w.list("requests", len(s.Requests), func(i int) {
		w.members(func() {
			w.text("id", s.Requests[i].ID)
			w.text("action", string(s.Requests[i].Action))
		})
	})
	w.duration("elapsed", s.Elapsed)
}

// spending writes what calls are made, set aside and paid for.
func (w *writer) spending(s *loops.State) {
	w.list("reserved", len(s.Reserved), func(i int) {
		w.members(func() { w.reserved(&s.Reserved[i]) })
	})
	w.number("grants", int64(s.Grants))
	w.some("metered", func() { w.usage(&s.Metered) })
	w.list("by_model", len(s.ByModel), func(i int) {
		w.members(func() { w.modelUsage(&s.ByModel[i]) })
	})
	if len(s.Children) > 0 {
		w.object("children", func() {
			for _, id := range slices.Sorted(maps.Keys(s.Children)) {
				w.member(string(id))
				w.members(func() { w.drawn(s.Children[id]) })
			}
		})
	}
	w.unsigned("changes", s.Changes)
	if s.Short != nil {
		w.object("short", func() {
			w.text("reason", string(s.Short.Reason))
			w.number("limit", s.Short.Limit)
		})
	}
}

func (w *writer) reserved(r *loops.Reserved) {
	w.text("id", r.ID)
	w.text("role", r.Role)
	w.text("model", r.Model)
	w.text("path", r.Path)
	w.some("usage", func() { w.usage(&r.Usage) })
}

func (w *writer) modelUsage(u *loops.ModelUsage) {
	w.text("role", u.Role)
	w.text("model", u.Model)
	w.number("calls", u.Calls)
	w.number("input_tokens", u.InputTokens)
	w.number("output_tokens", u.OutputTokens)
	w.money("cost_usd", u.CostUSD)
}

func (w *writer) drawn(d loops.Drawn) {
	w.some("spent", func() { w.usage(&d.Spent) })
	w.some("aside", func() { w.usage(&d.Aside) })
	w.unsigned("at", d.At)
}

func (w *writer) output(name string, t loops.Text) {
	w.some(name, func() {
		w.text("text", t.Text)
		w.number("size", t.Size)
		w.text("blob", t.Blob)
	})
}

func (w *writer) best(b *loops.Best) {
	if b != nil {
		w.object("best", func() {
			w.number("iteration", int64(b.Iteration))
			w.float("score", b.Score)
			w.output("output", b.Output)
		})
	}
}

func (w *writer) owed(j *loops.Judgement) {
	if j == nil {
		return
	}
	w.object("owed", func() {
		w.flag("first", j.First)
		if len(j.Results) > 0 {
			w.object("results", func() {
				for _, path := range slices.Sorted(maps.Keys(j.Results)) {
					v := j.Results[path]
					w.member(path)
					w.members(func() { w.verdict(&v) })
				}
			})
		}
		if len(j.Metered) > 0 {
			w.object("metered", func() {
				for _, path := range slices.Sorted(maps.Keys(j.Metered)) {
					u := j.Metered[path]
					w.member(path)
					w.members(func() { w.usage(&u) })
				}
			})
		}
		w.number("tries", int64(j.Tries))
	})
}

func (w *writer) attention(a *loops.Attention) {
	if a != nil {
		w.object("attention", func() {
			w.text("kind", a.Kind)
			w.text("id", a.ID)
			w.text("prompt", a.Prompt)
			w.time("since", a.Since)
			w.text("cause", a.Cause)
			w.text("path", a.Path)
		})
	}
}

func (w *writer) stop(s *loops.Stop) {
	if s != nil {
		w.object("stop", func() {
			w.text("reason", string(s.Reason))
			w.text("detail", s.Detail)
			w.text("decided_by", s.DecidedBy)
			w.flag("self_declared", s.SelfDeclared)
			w.flag("resumable", s.Resumable)
			w.texts("actions", s.Actions)
		})
	}
}

func (w *writer) pause(p *loops.Pause) {
	if p != nil {
		w.object("pause", func() {
			w.text("reason", p.Reason)
			w.text("detail", p.Detail)
		})
	}
}

// notes writes what conditions said is JSON.
func (w *writer) notes(notes map[string]json.RawMessage) {
	if len(notes) == 0 {
		return
	}
	w.object("notes", func() {
		for _, path := range slices.Sorted(maps.Keys(notes)) {
			note := notes[path]
			if note == nil {
				note = json.RawMessage("null")
			}
			if !loops.ValidJSON(note) {
				w.err = fmt.Errorf("the note of %s is not JSON", path)
			}
			w.member(path)
			w.b = append(w.b, note...)
		}
	})
}

func (w *writer) progress(p *loops.Progress) {
	w.text("output_hash", p.OutputHash)
	w.number("same_output", int64(p.SameOutput))
	w.text("evidence_hash", p.EvidenceHash)
	w.number("same_evidence", int64(p.SameEvidence))
	w.text("error", p.Error)
	w.number("same_error", int64(p.SameError))
	w.number("protected_pass", int64(p.ProtectedPass))
}
