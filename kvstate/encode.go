package kvstate

import (
	"maps"
	"slices"

	"example.com/loop-mcp/loops"
)

// header writes a [headerText].
func (w *writer) header(h *header) {
	w.b = append(w.b, '{')
	w.number("v", int64(h.Version))
	w.text("k", string(h.Kind))
	w.text("n", h.Nonce)
	w.text("pn", h.PrevNonce)
	w.unsigned("p", h.Prev)
	w.unsigned("b", h.Base)
	w.unsigned("f", h.Floor)
	w.number("y", h.BaseSize)
	w.number("z", h.Since)
	w.number("q", int64(h.Count))
	w.text("o", h.Origin)
	w.number("x", h.Expires)
	w.list("l", len(h.Lengths), func(i int) { w.bare(int64(h.Lengths[i])) })
	w.flag("c", h.Packed)
	w.text("s", h.Sum)
	if h.Objects != [2]*object{} {
		w.other("ob", h.Objects)
	}
	if limits := listOf(&h.Head.Limits); limits != (limitList{}) {
		w.list("m", len(limits), func(i int) { w.bare(limits[i]) })
	}
	w.object("h", func() { w.head(&h.Head) })
	w.b = append(w.b, '}')
}

func (w *writer) head(h *loops.Head) {
	w.text("id", string(h.ID))
	w.text("name", h.Name)
	w.text("status", string(h.Status))
	w.text("phase", string(h.Phase))
	w.text("summary", h.Summary)
	if len(h.Labels) > 0 {
		w.object("labels", func() {
			for _, name := range slices.Sorted(maps.Keys(h.Labels)) {
				w.member(name)
				w.quote(h.Labels[name])
			}
		})
	}
	w.text("owner", h.Owner)
	w.text("parent", string(h.Parent))
	w.list("pins", len(h.Pins), func(i int) { w.quote(string(h.Pins[i])) })
	w.number("iteration", int64(h.Iteration))
	w.number("pass", int64(h.Pass))
	w.unsigned("epoch", h.Epoch)
	w.unsigned("cursor", h.Cursor)
	w.some("usage", func() { w.ledger(&h.Ledger) })
	w.some("claim", func() {
		w.text("owner", h.Claim.Owner)
		w.text("token", h.Claim.Token)
	})
	w.cancel(h.Cancel)
	w.time("wake_at", h.WakeAt)
	w.text("tell", h.Tell)
	w.time("created_at", h.CreatedAt)
	w.time("updated_at", h.UpdatedAt)
}

func (w *writer) cancel(c *loops.CancelWish) {
	if c != nil {
		w.object("cancel", func() {
			w.text("reason", string(c.Reason))
			w.text("detail", c.Detail)
			w.flag("now", c.Now)
		})
	}
}

func (w *writer) ledger(l *loops.Ledger) {
	w.number("starts", int64(l.Starts))
	w.number("iterations", int64(l.Iterations))
	w.number("passes", int64(l.Passes))
	w.float("active_seconds", l.ActiveSeconds)
	w.usage(&l.Usage)
	w.number("failures", int64(l.Failures))
}

func (w *writer) usage(u *loops.Usage) {
	w.number("input_tokens", u.InputTokens)
	w.number("output_tokens", u.OutputTokens)
	w.number("total_tokens", u.TotalTokens)
	w.money("cost_usd", u.CostUSD)
	w.number("tool_calls", u.ToolCalls)
}
