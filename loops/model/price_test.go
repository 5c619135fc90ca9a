package model

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

const huge = math.MaxInt64

// tiered is dearer from 200,001 input tokens on.
var tiered = Price{Tiers: []Tier{
	{Rates: Rates{Input: 3_000_000, CacheRead: 300_000, CacheWrite: 3_750_000, CacheWrite1h: 6_000_000, Output: 15_000_000}},
	{From: 200_001, Rates: Rates{Input: 6_000_000, CacheRead: 600_000, CacheWrite: 7_500_000, CacheWrite1h: 12_000_000, Output: 22_500_000}},
}}

func flat(rate int64) Price {
	return Price{Tiers: []Tier{{Rates: Rates{Input: rate, CacheRead: rate, CacheWrite: rate, CacheWrite1h: rate, Output: rate}}}}
}

func TestCost(t *testing.T) {
	perRun := flat(0)
	perRun.PerRun = 5_000
	for name, test := range map[string]struct {
		price Price
		usage Usage
		want  int64
	}{
		"nothing":                            {tiered, Usage{}, 0},
		"one token is rounded up":            {tiered, Usage{CacheRead: 1}, 1},
		"parts are added before rounding":    {flat(400_000), Usage{Input: 1, Output: 1}, 1},
		"every part has its rate":            {tiered, Usage{Input: 1000, CacheRead: 2000, CacheWrite: 3000, CacheWrite1h: 4000, Output: 5000}, 3_000 + 600 + 11_250 + 24_000 + 75_000},
		"reasoning is part of the output":    {tiered, Usage{Output: 1000, Reasoning: 900}, 15_000},
		"the last token of the first tier":   {tiered, Usage{Input: 200_000, Output: 1000}, 600_000 + 15_000},
		"the first token of the second tier": {tiered, Usage{Input: 200_001, Output: 1000}, 1_200_006 + 22_500},
		"cached tokens count for the tier":   {tiered, Usage{Input: 1, CacheRead: 200_000}, 6 + 120_000},
		"a price for each call":              {perRun, Usage{}, 5_000},
		"no tiers":                           {Price{}, Usage{Input: 1000, Output: 1000}, 0},
		"negative counts are none":           {tiered, Usage{Input: -1_000_000, CacheRead: -1, Output: 1000}, 15_000},
		"too much of one kind":               {tiered, Usage{Input: huge}, huge},
		"too much of two kinds":              {flat(1), Usage{Input: huge, Output: huge}, huge},
		"too much input for a sum":           {tiered, Usage{Input: huge, CacheRead: huge, CacheWrite: huge}, huge},
		"too high a rate":                    {flat(huge), Usage{Output: 2}, huge},
		"too much with a price for a call":   {Price{Tiers: flat(huge).Tiers, PerRun: huge}, Usage{Output: 2}, huge},
	} {
		if got := test.price.Cost(test.usage); got != test.want {
			t.Errorf("%s: cost is %d, want %d", name, got, test.want)
		}
	}
}

func TestUsageSums(t *testing.T) {
	for name, test := range map[string]struct {
		usage      Usage
		all, total int64
	}{
		"parts do not overlap": {Usage{Input: 1, CacheRead: 10, CacheWrite: 100, CacheWrite1h: 1000, Output: 10_000, Reasoning: 5000}, 1111, 11_111},
		"too much":             {Usage{Input: huge, CacheRead: huge, Output: 1}, huge, huge},
		"negative":             {Usage{Input: -5, CacheRead: 7, Output: -1}, 7, 7},
	} {
		if all, total := test.usage.AllInput(), test.usage.Total(); all != test.all || total != test.total {
			t.Errorf("%s: sums are %d and %d, want %d and %d", name, all, total, test.all, test.total)
		}
	}
}

func TestAt(t *testing.T) {
	for input, want := range map[int64]int64{0: 3_000_000, 200_000: 3_000_000, 200_001: 6_000_000, huge: 6_000_000} {
		if got := tiered.At(input).Input; got != want {
			t.Errorf("with %d tokens input costs %d, want %d", input, got, want)
		}
	}
}

func TestWorst(t *testing.T) {
	dearRead := Price{Tiers: []Tier{{Rates: Rates{Input: 1, CacheRead: 2, Output: 9}}, {From: 100, Rates: Rates{Input: 3, Output: 4}}}}
	for name, test := range map[string]struct {
		price   Price
		input   int64
		in, out int64
	}{
		"the dearest kind of input":           {tiered, 200_000, 6_000_000, 15_000_000},
		"the tier that the input can reach":   {tiered, 200_001, 12_000_000, 22_500_000},
		"nothing goes in":                     {tiered, 0, 6_000_000, 15_000_000},
		"a lower tier that is dearer":         {dearRead, 100, 3, 9},
		"reading a cache dearer than without": {dearRead, 99, 2, 9},
		"no tiers":                            {Price{}, 5, 0, 0},
	} {
		if in, out := test.price.Worst(test.input); in != test.in || out != test.out {
			t.Errorf("%s: worst rates are %d and %d, want %d and %d", name, in, out, test.in, test.out)
		}
	}
}

// TestCostIsExact compares with numbers that can't overflow.
func TestCostIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		p, u := randomPrice(r), randomUsage(r)
		rates, sum := p.At(u.AllInput()), new(big.Int)
		for _, part := range [][2]int64{{u.Input, rates.Input}, {u.CacheRead, rates.CacheRead}, {u.CacheWrite, rates.CacheWrite}, {u.CacheWrite1h, rates.CacheWrite1h}, {u.Output, rates.Output}} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(part[0]), big.NewInt(part[1])))
		}
		got := p.Cost(u)
		if sum.Cmp(big.NewInt(huge-999_999)) > 0 {
			if got != huge {
				t.Fatalf("%+v of %+v cost %d, want the largest number", u, p, got)
			}
			continue
		}
		want := sum.Add(sum, big.NewInt(999_999)).Div(sum, big.NewInt(1_000_000))
		want.Add(want, big.NewInt(p.PerRun))
		if want.IsInt64() && got != want.Int64() {
			t.Fatalf("%+v of %+v cost %d, want %s", u, p, got, want)
		}
	}
}

// TestWorstCoversEveryUsage is what lets a money cap hold.
func TestWorstCoversEveryUsage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		p, u := randomPrice(r), randomUsage(r)
		atMost := add(u.AllInput(), r.Int64N(1000))
		in, out := p.Worst(atMost)
		aside := add(add(perMillion(mul(atMost, in)), perMillion(mul(u.Output, out))), p.PerRun)
		if cost := p.Cost(u); cost < 0 || cost > aside {
			t.Fatalf("%+v of %+v cost %d, with %d set aside", u, p, cost, aside)
		}
	}
}

func randomPrice(r *rand.Rand) Price {
	p := Price{PerRun: r.Int64N(2) * r.Int64N(10_000)}
	from := int64(0)
	for range 1 + r.IntN(3) {
		p.Tiers = append(p.Tiers, Tier{From: from, Rates: Rates{Input: size(r), CacheRead: size(r), CacheWrite: size(r), CacheWrite1h: size(r), Output: size(r)}})
		from += 1 + r.Int64N(300_000)
	}
	return p
}

func randomUsage(r *rand.Rand) Usage {
	return Usage{Input: size(r), CacheRead: size(r), CacheWrite: size(r), CacheWrite1h: size(r), Output: size(r)}
}

// size is a number of any magnitude, also one that overflows in a product.
func size(r *rand.Rand) int64 { return r.Int64() >> r.IntN(63) }
