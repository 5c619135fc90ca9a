package kvstate

import (
	"encoding/json"
	"strconv"
	"time"

	"example.com/loop-mcp/loops"
)

// Headers are written by hand: package json takes a fifth of the time of a
// commit for it. They are read with package json; a test with every field set
// holds the two together.

// writer appends the members of a JSON object.
type writer struct {
	b   []byte
	err error
}

func (w *writer) key(name string) {
	if last := w.b[len(w.b)-1]; last != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *writer) number(name string, n int64) {
	if n != 0 {
		w.key(name)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *writer) text(name, text string) {
	if text == "" {
		return
	}
	w.key(name)
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			w.value(text)
			return
		}
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, text...)
	w.b = append(w.b, '"')
}

func (w *writer) time(name string, t time.Time) {
	if !t.IsZero() {
		w.key(name)
		w.b = append(w.b, '"')
		w.b = t.AppendFormat(w.b, time.RFC3339Nano)
		w.b = append(w.b, '"')
	}
}

// other writes what is rare or has its own form.
func (w *writer) other(name string, v any) {
	w.key(name)
	w.value(v)
}

func (w *writer) value(v any) {
	data, err := json.Marshal(v)
	w.b = append(w.b, data...)
	if err != nil {
		w.err = err
	}
}

// entry writes what is JSON already.
func (w *writer) entry(name string, raw json.RawMessage) {
	if raw != nil {
		w.key(name)
		w.b = append(w.b, raw...)
	}
}

// within adds a member to the object that was written last, which has others.
func (w *writer) within(name string, raw json.RawMessage) {
	if len(raw) > 0 && len(w.b) > 0 {
		w.b = w.b[:len(w.b)-1]
		w.entry(name, raw)
		w.b = append(w.b, '}')
	}
}

func (w *writer) entries(name string, list []json.RawMessage) {
	if len(list) == 0 {
		return
	}
	w.key(name)
	w.b = append(w.b, '[')
	for i, raw := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, raw...)
	}
	w.b = append(w.b, ']')
}

func (w *writer) object(name string, members func()) {
	w.key(name)
	w.b = append(w.b, '{')
	members()
	w.b = append(w.b, '}')
}

// json returns the header as JSON.
func (h *header) json() ([]byte, error) {
	w := &writer{b: append(make([]byte, 0, 1200), '{')}
	w.number("v", int64(h.Version))
	w.text("k", string(h.Kind))
	w.text("n", h.Nonce)
	w.text("pn", h.PrevNonce)
	w.number("p", int64(h.Prev))
	w.number("b", int64(h.Base))
	w.number("f", int64(h.Floor))
	w.number("y", h.BaseSize)
	w.number("z", h.Since)
	w.number("q", int64(h.Count))
	w.text("o", h.Origin)
	w.number("x", h.Expires)
	w.key("l")
	w.b = append(strconv.AppendInt(append(w.b, '['), int64(h.Lengths[0]), 10), ',')
	w.b = append(strconv.AppendInt(w.b, int64(h.Lengths[1]), 10), ']')
	if h.Packed {
		w.other("c", true)
	}
	w.text("s", h.Sum)
	if h.Objects != [2]*object{} {
		w.other("ob", h.Objects)
	}
	w.object("h", func() { w.head(&h.Head) })
	w.b = append(w.b, '}')
	return w.b, w.err
}

func (w *writer) head(h *loops.Head) {
	w.text("id", string(h.ID))
	w.text("name", h.Name)
	w.text("status", string(h.Status))
	w.text("phase", string(h.Phase))
	w.text("summary", h.Summary)
	if len(h.Labels) > 0 {
		w.other("labels", h.Labels)
	}
	w.text("owner", h.Owner)
	w.text("parent", string(h.Parent))
	if len(h.Pins) > 0 {
		w.other("pins", h.Pins)
	}
	w.number("iteration", int64(h.Iteration))
	w.number("pass", int64(h.Pass))
	w.number("epoch", int64(h.Epoch))
	w.number("cursor", int64(h.Cursor))
	w.object("usage", func() { w.ledger(&h.Ledger) })
	w.object("limits", func() { w.limits(&h.Limits) })
	if h.Claim != (loops.Claim{}) {
		w.object("claim", func() {
			w.text("owner", h.Claim.Owner)
			w.text("token", h.Claim.Token)
		})
	}
	if h.Cancel != nil {
		w.other("cancel", h.Cancel)
	}
	w.time("wake_at", h.WakeAt)
	w.text("tell", h.Tell)
	w.time("created_at", h.CreatedAt)
	w.time("updated_at", h.UpdatedAt)
}

func (w *writer) ledger(l *loops.Ledger) {
	w.number("starts", int64(l.Starts))
	w.number("iterations", int64(l.Iterations))
	w.number("passes", int64(l.Passes))
	if l.ActiveSeconds != 0 {
		w.other("active_seconds", l.ActiveSeconds)
	}
	w.number("input_tokens", l.InputTokens)
	w.number("output_tokens", l.OutputTokens)
	w.number("total_tokens", l.TotalTokens)
	if l.CostUSD != 0 {
		w.other("cost_usd", l.CostUSD)
	}
	w.number("tool_calls", l.ToolCalls)
	w.number("failures", int64(l.Failures))
}

func (w *writer) limits(l *loops.Limits) {
	w.number("max_iterations", int64(l.MaxIterations))
	w.number("max_passes", int64(l.MaxPasses))
	w.duration("max_duration", l.MaxDuration)
	w.duration("max_active", l.MaxActive)
	w.duration("iteration_timeout", l.IterationTimeout)
	w.number("max_total_tokens", int64(l.MaxTotalTokens))
	if l.MaxCostUSD != 0 {
		w.other("max_cost_usd", l.MaxCostUSD)
	}
	w.number("max_tool_calls", int64(l.MaxToolCalls))
	w.number("max_failures", int64(l.MaxFailures))
}

func (w *writer) duration(name string, d loops.Duration) {
	if d != 0 {
		w.text(name, d.String())
	}
}
