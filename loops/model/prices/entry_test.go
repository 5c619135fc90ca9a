package prices

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
)

func at(input int64) [][6]int64 { return [][6]int64{{0, input, input, input, input, input}} }

func TestWhenAPriceHolds(t *testing.T) {
	noon := func(day int) time.Time { return time.Date(2026, 8, day, 12, 0, 0, 0, time.UTC) }
	dated := []when{{Tiers: at(1)}, {Since: "2026-08-10", Tiers: at(2)}, {Since: "2026-08-20", Tiers: at(3)}}
	for name, test := range map[string]struct {
		prices []when
		at     time.Time
		want   int64 // 0: none
	}{
		"one":                      {[]when{{Tiers: at(7)}}, noon(1), 7},
		"before the first day":     {dated, noon(9), 1},
		"just before a day":        {dated, time.Date(2026, 8, 19, 23, 59, 59, 0, time.UTC), 2},
		"a day begins at midnight": {dated, time.Date(2026, 8, 20, 0, 0, 0, 0, time.UTC), 3},
		"a day begins in UTC":      {dated, time.Date(2026, 8, 20, 1, 0, 0, 0, time.FixedZone("east", 2*3600)), 2},
		"from a day on":            {dated, noon(20), 3},
		"all later":                {dated[1:], noon(1), 2},
		"dearest hour last":        {[]when{{Tiers: at(1)}, {Hours: true, Tiers: at(5)}}, noon(1), 5},
		"dearest hour first":       {[]when{{Tiers: at(5)}, {Hours: true, Tiers: at(1)}}, noon(1), 5},
		"hours go before days":     {[]when{{Tiers: at(1)}, {Hours: true, Tiers: at(9)}, {Since: "2026-08-10", Tiers: at(2)}}, noon(11), 2},
		"hours alone":              {[]when{{Hours: true, Tiers: at(3)}, {Hours: true, Tiers: at(2)}}, noon(1), 3},
		"not told":                 {[]when{{}}, noon(1), 0},
		"not told at some hours":   {[]when{{Tiers: at(1)}, {Hours: true}}, noon(1), 0},
		"not told from a day on":   {[]when{{Tiers: at(1)}, {Since: "2026-08-10"}}, noon(10), 0},
		"not told before some day": {[]when{{}, {Since: "2026-08-10", Tiers: at(4)}}, noon(10), 4},
		"no prices":                {nil, noon(1), 0},
	} {
		price, ok := entry{Prices: test.prices}.at(test.at)
		if got := price.At(0).Input; got != test.want || ok != (test.want > 0) {
			t.Errorf("%s: price is %d, %t; want %d", name, got, ok, test.want)
		}
	}
}

func TestDearestOfTwoTierings(t *testing.T) {
	a := model.Price{PerRun: 1, Tiers: []model.Tier{{Rates: model.Rates{Input: 1, Output: 9}}, {From: 100, Rates: model.Rates{Input: 5, Output: 9}}}}
	b := model.Price{PerRun: 2, Tiers: []model.Tier{{Rates: model.Rates{Input: 3, Output: 2}}, {From: 50, Rates: model.Rates{Input: 4, Output: 10}}}}
	want := model.Price{PerRun: 2, Tiers: []model.Tier{
		{Rates: model.Rates{Input: 3, Output: 9}}, {From: 50, Rates: model.Rates{Input: 4, Output: 10}}, {From: 100, Rates: model.Rates{Input: 5, Output: 10}}}}
	if diff := cmp.Diff(want, dearest(a, b)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestMatches(t *testing.T) {
	or := rule{Or: []rule{{Equals: "a"}, {StartsWith: "b-"}, {EndsWith: "-c"}}}
	and := rule{And: []rule{{Contains: "x"}, {Without: "^(?:.*-tts(?:$|-))"}}}
	for _, test := range []struct {
		rule rule
		name string
		want bool
	}{
		{or, "a", true}, {or, "aa", false}, {or, "b-1", true}, {or, "b", false}, {or, "1-c", true}, {or, "c", false},
		{and, "axb", true}, {and, "ab", false}, {and, "x-tts", false}, {and, "x-tts-1", false}, {and, "x-ttsa", true},
		{rule{Regex: `^m-\d{8}$`}, "m-20260101", true}, {rule{Regex: `^m-\d{8}$`}, "m-2026010", false},
		{rule{Or: []rule{}}, "a", false}, {rule{And: []rule{}}, "a", true}, {rule{}, "", false},
	} {
		if got := test.rule.matches(test.name); got != test.want {
			t.Errorf("%+v matches %q: %t, want %t", test.rule, test.name, got, test.want)
		}
	}
}

func TestDashedDates(t *testing.T) {
	for name, want := range map[string]string{
		"gpt-5-20250807":          "gpt-5-2025-08-07",
		"gpt-5-20250807:free":     "gpt-5-2025-08-07:free",
		"m-20250807-x-20260131":   "m-2025-08-07-x-2026-01-31",
		"gpt-5-20250231":          "gpt-5-20250231",
		"gpt-5-19990807":          "gpt-5-19990807",
		"20250807":                "20250807",
		"gpt-5-202508071":         "gpt-5-202508071",
		"gpt-5-2025-08-07":        "gpt-5-2025-08-07",
		"claude@20250807":         "claude@20250807",
		"claude-sonnet-4-5@2025a": "claude-sonnet-4-5@2025a",
	} {
		if got := dashedDates(name); got != want {
			t.Errorf("%s becomes %s, want %s", name, got, want)
		}
	}
}
