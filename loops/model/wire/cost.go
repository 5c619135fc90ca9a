package wire

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Cost is what a provider says in the usage of an answer that the call cost, in
// micro-dollars, rounded up; nil: it says nothing. OpenRouter does; for calls
// with a key of one's own behind it, what the vendor takes comes on top.
func Cost(usage json.RawMessage) *int64 {
	var u struct {
		Cost        json.RawMessage `json:"cost"` // dollars
		OwnKey      bool            `json:"is_byok"`
		CostDetails struct {
			Upstream json.RawMessage `json:"upstream_inference_cost"`
		} `json:"cost_details"`
	}
	if json.Unmarshal(usage, &u) != nil {
		return nil
	}
	dollars, ok := number(u.Cost)
	if !ok {
		return nil
	}
	if upstream, ok := number(u.CostDetails.Upstream); ok && u.OwnKey {
		dollars += upstream
	}
	micros := math.Ceil(dollars*1e6 - 1e-6) // less what is an error of binary fractions
	n := int64(min(max(0, micros), 1e15))
	return &n
}

func number(raw json.RawMessage) (float64, bool) {
	f, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	return f, err == nil && f >= 0 && !math.IsInf(f, 0)
}
