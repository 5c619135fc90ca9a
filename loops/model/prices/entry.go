package prices

import (
	"slices"
	"time"

	"example.com/loop-mcp/loops/model"
)

// entry is one model of the table, under all of its names.
type entry struct {
	Match  rule   `json:"match"`
	Window int64  `json:"window"` // tokens of its context; 0: unknown
	Prices []when `json:"prices"` // the later one wins
}

// when is a price and when it holds: always, from a day on (UTC), or at some
// hours of every day.
type when struct {
	Since string     `json:"since"`
	Hours bool       `json:"hours"`
	Tiers [][6]int64 `json:"tiers"` // from, input, cache read, cache write, for an hour, output
	Run   int64      `json:"run"`   // for each call
}

// at returns the price at a time, the dearest of that day.
func (e entry) at(t time.Time) (price model.Price, ok bool) {
	holds := e.on(t)
	for i, w := range holds {
		if len(w.Tiers) == 0 {
			return model.Price{}, false
		}
		if i == 0 {
			price = w.price()
		} else {
			price = dearest(price, w.price())
			price.Source = "the dearest of the day"
		}
	}
	return price, len(holds) > 0
}

// on returns the prices that hold at some hour of that day.
func (e entry) on(t time.Time) []when {
	var holds []when
	for _, w := range slices.Backward(e.Prices) {
		switch {
		case w.Hours:
			holds = append(holds, w)
		case w.begun(t):
			return append(holds, w)
		}
	}
	return append(holds, e.Prices[:min(1, len(e.Prices))]...)
}

func (w when) begun(t time.Time) bool {
	if w.Since == "" {
		return true
	}
	since, err := time.Parse(time.DateOnly, w.Since)
	if err != nil {
		panic(damaged(err))
	}
	return !t.Before(since)
}

func (w when) price() model.Price {
	p := model.Price{PerRun: w.Run}
	for _, t := range w.Tiers {
		p.Tiers = append(p.Tiers, model.Tier{From: t[0], Rates: model.Rates{Input: t[1], CacheRead: t[2], CacheWrite: t[3], CacheWrite1h: t[4], Output: t[5]}})
	}
	return p
}

// dearest is a price that is nowhere below either.
func dearest(a, b model.Price) model.Price {
	var begins []int64
	for _, t := range slices.Concat(a.Tiers, b.Tiers) {
		begins = append(begins, t.From)
	}
	slices.Sort(begins)
	p := model.Price{PerRun: max(a.PerRun, b.PerRun)}
	for _, from := range slices.Compact(begins) {
		x, y := a.At(from), b.At(from)
		p.Tiers = append(p.Tiers, model.Tier{From: from, Rates: model.Rates{
			Input: max(x.Input, y.Input), CacheRead: max(x.CacheRead, y.CacheRead), CacheWrite: max(x.CacheWrite, y.CacheWrite),
			CacheWrite1h: max(x.CacheWrite1h, y.CacheWrite1h), Output: max(x.Output, y.Output)}})
	}
	return p
}
