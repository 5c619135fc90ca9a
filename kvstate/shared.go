package kvstate

import "example.com/loop-mcp/loops"

// The head of a record and the state in its checkpoint have much in common. From
// format 2 on the head alone has it: a third of a small record, which every commit
// writes. Id and iteration are in both: they show that the two belong together.

// complete gives a state that was read what the head says. [writer.state] writes
// none of it.
func (h *header) complete(st *loops.State) {
	if h.Version < 2 {
		return
	}
	head := &h.Head
	st.Status, st.Phase, st.Tell = head.Status, head.Phase, head.Tell
	st.WakeAt, st.UpdatedAt = head.WakeAt, head.UpdatedAt
	st.Limits, st.Ledger = head.Limits, head.Ledger
	st.Pass, st.Epoch, st.Cursor = head.Pass, head.Epoch, head.Cursor
	st.Claim.Owner, st.Claim.Token = head.Claim.Owner, head.Claim.Token
}

// limitList is limits in the order of their fields: numbers, nanoseconds,
// millionths of a dollar. A limit that is added to the type comes last.
type limitList [9]int64

func listOf(l *loops.Limits) limitList {
	return limitList{
		int64(l.MaxIterations), int64(l.MaxPasses), int64(l.MaxDuration), int64(l.MaxActive), int64(l.IterationTimeout),
		int64(l.MaxTotalTokens), int64(l.MaxCostUSD), int64(l.MaxToolCalls), int64(l.MaxFailures),
	}
}

func (l limitList) limits() loops.Limits {
	return loops.Limits{
		MaxIterations: loops.Count(l[0]), MaxPasses: loops.Count(l[1]),
		MaxDuration: loops.Duration(l[2]), MaxActive: loops.Duration(l[3]), IterationTimeout: loops.Duration(l[4]),
		MaxTotalTokens: loops.Count(l[5]), MaxCostUSD: loops.USD(l[6]), MaxToolCalls: loops.Count(l[7]), MaxFailures: loops.Count(l[8]),
	}
}
