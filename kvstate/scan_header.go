package kvstate

import (
	"strings"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

// header reads all of a header. false: package json has to.
func (r *scanner) header() bool {
	h := &r.read
	r.object(func(key string) {
		switch key {
		case "v":
			h.Version = r.int()
		case "k":
			r.string(&r.kind)
		case "n":
			r.string(&h.Nonce)
		case "pn":
			r.string(&h.PrevNonce)
		case "p":
			h.Prev = r.uint64()
		case "b":
			h.Base = r.uint64()
		case "f":
			h.Floor = r.uint64()
		case "y":
			h.BaseSize = r.int64()
		case "z":
			h.Since = r.int64()
		case "q":
			h.Count = r.int()
		case "o":
			r.string(&h.Origin)
		case "x":
			h.Expires = r.int64()
		case "l":
			for i := range h.Lengths {
				r.between(i)
				h.Lengths[i] = r.int()
			}
			r.skip(']')
		case "m":
			for i := range h.Limits {
				r.between(i)
				h.Limits[i] = r.int64()
			}
			r.skip(']')
		case "s":
			r.string(&h.Sum)
		case "c":
			h.Packed = strings.HasPrefix(r.text[r.at:], "true")
			r.gone = r.gone || !h.Packed
			r.at += len("true")
		case "crc": // is none of the header's fields
			r.quoted()
		case "h":
			r.object(func(key string) { r.head(key, &h.Head) })
		default: // such as objects
			r.giveUp()
		}
	})
	if r.gone || r.at != len(r.text) {
		return false
	}
	r.take()
	h.Kind, h.Head.ID, h.Head.Parent = kind(r.kind), loops.ID(r.id), loops.ID(r.above)
	h.Head.Status, h.Head.Phase = loops.Status(r.status), loops.Phase(r.phase)
	return true
}

// head reads one member of a head.
func (r *scanner) head(key string, h *loops.Head) {
	switch key {
	case "id":
		r.string(&r.id)
	case "name":
		r.string(&h.Name)
	case "status":
		r.string(&r.status)
	case "phase":
		r.string(&r.phase)
	case "summary":
		r.string(&h.Summary)
	case "parent":
		r.string(&r.above)
	case "tell":
		r.string(&h.Tell)
	case "owner":
		r.string(&h.Owner)
	case "labels":
		h.Labels = map[string]string{}
		r.object(func(key string) {
			start, end := r.quoted()
			r.gone = r.gone || !utf8.ValidString(key) || !utf8.ValidString(r.text[start:end])
			h.Labels[strings.Clone(key)] = strings.Clone(r.text[start:end])
		})
	case "pins":
		h.Pins = r.ids()
	case "iteration":
		h.Iteration = r.int()
	case "pass":
		h.Pass = r.int()
	case "epoch":
		h.Epoch = r.uint64()
	case "cursor":
		h.Cursor = r.uint64()
	case "usage":
		r.object(func(key string) { r.ledger(key, &h.Ledger) })
	case "limits":
		r.object(func(key string) { r.limits(key, &h.Limits) })
	case "claim":
		r.object(func(key string) {
			switch key {
			case "owner":
				r.string(&h.Claim.Owner)
			case "token":
				r.string(&h.Claim.Token)
			default:
				r.giveUp()
			}
		})
	case "wake_at":
		h.WakeAt = r.time()
	case "created_at":
		h.CreatedAt = r.time()
	case "updated_at":
		h.UpdatedAt = r.time()
	default: // such as a wish to cancel
		r.giveUp()
	}
}

func (r *scanner) ledger(key string, l *loops.Ledger) {
	switch key {
	case "starts":
		l.Starts = r.int()
	case "iterations":
		l.Iterations = r.int()
	case "passes":
		l.Passes = r.int()
	case "active_seconds":
		l.ActiveSeconds = r.float()
	case "input_tokens":
		l.InputTokens = r.int64()
	case "output_tokens":
		l.OutputTokens = r.int64()
	case "total_tokens":
		l.TotalTokens = r.int64()
	case "tool_calls":
		l.ToolCalls = r.int64()
	case "failures":
		l.Failures = r.int()
	case "cost_usd":
		l.CostUSD = r.money()
	default:
		r.giveUp()
	}
}

func (r *scanner) limits(key string, l *loops.Limits) {
	switch key {
	case "max_iterations":
		l.MaxIterations = r.count()
	case "max_passes":
		l.MaxPasses = r.count()
	case "max_duration":
		l.MaxDuration = r.duration()
	case "max_active":
		l.MaxActive = r.duration()
	case "iteration_timeout":
		l.IterationTimeout = r.duration()
	case "max_total_tokens":
		l.MaxTotalTokens = r.count()
	case "max_cost_usd":
		l.MaxCostUSD = r.money()
	case "max_tool_calls":
		l.MaxToolCalls = r.count()
	case "max_failures":
		l.MaxFailures = r.count()
	default:
		r.giveUp()
	}
}
