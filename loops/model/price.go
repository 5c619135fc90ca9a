package model

import "math"

// Rates are prices in micro-dollars for a million tokens: $3 a million tokens
// is 3_000_000. A rate that the provider does not have is that of input.
type Rates struct {
	Input        int64 `json:"input"`
	CacheRead    int64 `json:"cache_read"`
	CacheWrite   int64 `json:"cache_write"`
	CacheWrite1h int64 `json:"cache_write_1h"`
	Output       int64 `json:"output"`
}

// Tier holds from From input tokens of a call on (cached ones included).
type Tier struct {
	From  int64 `json:"from"`
	Rates `json:"rates"`
}

// Price is what the tokens of a model cost. Tiers are sorted by From; the first
// one begins at 0.
type Price struct {
	Tiers  []Tier `json:"tiers"`
	PerRun int64  `json:"per_run,omitempty"` // micro-dollars for each call, beside its tokens
	Source string `json:"source"`            // "configuration" or "table of 2026-09-23"
}

// At returns the rates for a call with that many input tokens.
func (p Price) At(input int64) Rates {
	var r Rates
	for _, t := range p.Tiers {
		if input >= t.From {
			r = t.Rates
		}
	}
	return r
}

// Cost is what a call cost, in micro-dollars, rounded up. It is never negative;
// what is too large to count is the largest number.
func (p Price) Cost(u Usage) int64 {
	r := p.At(u.AllInput())
	sum := mul(u.Input, r.Input)
	for _, part := range [][2]int64{{u.CacheRead, r.CacheRead}, {u.CacheWrite, r.CacheWrite}, {u.CacheWrite1h, r.CacheWrite1h}, {u.Output, r.Output}} {
		sum = add(sum, mul(part[0], part[1]))
	}
	return add(perMillion(sum), p.PerRun)
}

// Worst returns the highest rates that a call with at most that many input
// tokens can meet, whatever of it is cached: what must be set aside for it.
func (p Price) Worst(input int64) (in, out int64) {
	for _, t := range p.Tiers {
		if t.From > input && t.From > 0 {
			break
		}
		in = max(in, t.Input, t.CacheRead, t.CacheWrite, t.CacheWrite1h)
		out = max(out, t.Output)
	}
	return in, out
}

// perMillion divides by a million and rounds up. A sum that stopped at the
// largest number stays there.
func perMillion(sum int64) int64 {
	if sum > math.MaxInt64-999_999 {
		return math.MaxInt64
	}
	return (sum + 999_999) / 1_000_000
}

// mul and add stop at the largest number instead of wrapping around, and take a
// negative number, which no provider can mean, for nothing.
func mul(a, b int64) int64 {
	a, b = max(0, a), max(0, b)
	if a > 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

func add(a, b int64) int64 {
	a, b = max(0, a), max(0, b)
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}
