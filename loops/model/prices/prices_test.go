package prices

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
)

var autumn = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestFind(t *testing.T) {
	for _, test := range []struct {
		provider, name string
		at             time.Time
		want           model.Price
	}{
		{"anthropic", "claude-haiku-4-5", autumn, model.Price{
			Tiers:  []model.Tier{{Rates: model.Rates{Input: 1_000_000, CacheRead: 100_000, CacheWrite: 1_250_000, CacheWrite1h: 2_000_000, Output: 5_000_000}}},
			Source: "table of 2026-09-23"}},
		{"google", " Gemini-2.5-PRO ", autumn, model.Price{
			Tiers: []model.Tier{
				{Rates: model.Rates{Input: 1_250_000, CacheRead: 125_000, CacheWrite: 1_250_000, CacheWrite1h: 1_250_000, Output: 10_000_000}},
				{From: 200_001, Rates: model.Rates{Input: 2_500_000, CacheRead: 250_000, CacheWrite: 2_500_000, CacheWrite1h: 2_500_000, Output: 15_000_000}}},
			Source: "table of 2026-09-23"}},
		{"deepseek", "deepseek-v4-flash", autumn, model.Price{
			Tiers:  []model.Tier{{Rates: model.Rates{Input: 440_000, CacheRead: 14_000, CacheWrite: 440_000, CacheWrite1h: 440_000, Output: 1_320_000}}},
			Source: "table of 2026-09-23, the dearest of the day"}},
		{"perplexity", "sonar-pro", autumn, model.Price{
			Tiers:  []model.Tier{{Rates: model.Rates{Input: 3_000_000, CacheRead: 3_000_000, CacheWrite: 3_000_000, CacheWrite1h: 3_000_000, Output: 15_000_000}}},
			PerRun: 14_000, Source: "table of 2026-09-23"}},
		{"openrouter", "openai/gpt-oss-20b:free", autumn, model.Price{Tiers: []model.Tier{{}}, Source: "table of 2026-09-23"}},
		{"google", "gemini-2.5-flash-image", autumn, model.Price{
			Tiers:  []model.Tier{{Rates: model.Rates{Input: 300_000, CacheRead: 300_000, CacheWrite: 300_000, CacheWrite1h: 300_000, Output: 30_000_000}}},
			Source: "table of 2026-09-23"}},
	} {
		got, ok := Find(test.provider, test.name, test.at)
		if !ok {
			t.Errorf("%s/%s has no price", test.provider, test.name)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s/%s (-want +got)\n%s", test.provider, test.name, diff)
		}
	}
}

func TestNoPriceIsGuessed(t *testing.T) {
	for _, test := range []struct{ why, provider, name string }{
		{"no such provider", "nobody", "gpt-5"},
		{"a provider's id is not guessed", "gemini", "gemini-2.5-pro"},
		{"nor matched in part", "open", "gpt-5"},
		{"nor quoted into the table", `openai","models":[{"match":{"contains":"x"}`, "x"},
		{"no provider", "", "gpt-5"},
		{"no such model", "openai", "nothing-of-the-kind"},
		{"no model", "openai", ""},
		{"no price for text out", "openai", "text-embedding-3-small"},
		{"a price for audio alone", "openai", "whisper-1"},
		{"free or not told", "google", "gemma-3"},
		{"free or not told, elsewhere", "cerebras", "qwen-3-coder-480b"},
	} {
		if got, ok := Find(test.provider, test.name, autumn); ok {
			t.Errorf("%s: %s/%s costs %+v", test.why, test.provider, test.name, got)
		}
	}
}

func TestDate(t *testing.T) {
	if got, want := Date(), time.Date(2026, 9, 23, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("the table is of %s, want %s", got, want)
	}
}

// TestLicence keeps the data's licence beside the data.
func TestLicence(t *testing.T) {
	if text := read(t, "table.LICENSE"); !strings.Contains(text, "MIT License") || !strings.Contains(text, "Pydantic") {
		t.Errorf("table.LICENSE is %q", text)
	}
}

// TestEveryEntry reads the whole table: rules that can't be read would only
// show when somebody asks for that model.
func TestEveryEntry(t *testing.T) {
	n, found := 0, open()
	for _, p := range everyProvider(t, found) {
		for _, e := range p.Models {
			checkRule(t, p.ID, e.Match)
			for _, w := range e.Prices {
				n++
				w.begun(autumn)
				checkPrice(t, p.ID, w.price())
			}
		}
		for _, id := range p.Fallback {
			if _, ok := found.provider(id); !ok {
				t.Errorf("%s falls back to %s, which is not in the table", p.ID, id)
			}
		}
	}
	if n < 1500 {
		t.Errorf("the table has %d prices", n)
	}
}

func everyProvider(t *testing.T, found table) []provider {
	t.Helper()
	var all []provider
	for line := range strings.Lines(string(found.lines)) {
		var head struct{ ID string }
		if err := json.Unmarshal([]byte(line), &head); err != nil {
			t.Fatal(err)
		}
		p, ok := found.provider(head.ID)
		if !ok {
			t.Fatalf("%s is not found", head.ID)
		}
		all = append(all, p)
	}
	return all
}

func checkRule(t *testing.T, id string, r rule) {
	t.Helper()
	set := 0
	for _, text := range []string{r.Equals, r.StartsWith, r.EndsWith, r.Contains, r.Regex, r.Without} {
		if text != "" {
			set++
		}
	}
	for _, text := range []string{r.Regex, r.Without} {
		expression(text)
	}
	for _, parts := range [][]rule{r.Or, r.And} {
		if parts != nil {
			set++
		}
		for _, part := range parts {
			checkRule(t, id, part)
		}
	}
	if set != 1 {
		t.Errorf("%s: the rule %+v sets %d fields", id, r, set)
	}
}

func checkPrice(t *testing.T, id string, p model.Price) {
	t.Helper()
	for i, tier := range p.Tiers {
		if i == 0 && tier.From != 0 || i > 0 && tier.From <= p.Tiers[i-1].From {
			t.Errorf("%s: tiers are not in order: %+v", id, p.Tiers)
		}
		if min(tier.Input, tier.CacheRead, tier.CacheWrite, tier.CacheWrite1h, tier.Output, p.PerRun) < 0 {
			t.Errorf("%s: a negative price: %+v", id, p)
		}
	}
}

// TestCosts holds every price of the table to what a money cap relies on.
func TestCosts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, p := range everyProvider(t, open()) {
		for _, e := range p.Models {
			price, ok := e.at(autumn)
			if !ok {
				continue
			}
			for range 20 {
				u := model.Usage{Input: count(r), CacheRead: count(r), CacheWrite: count(r), CacheWrite1h: count(r), Output: count(r)}
				checkCost(t, p.ID, price, u, r)
			}
		}
	}
}

func count(r *rand.Rand) int64 { return r.Int64N(400_000) * r.Int64N(2) }

func checkCost(t *testing.T, id string, price model.Price, u model.Usage, r *rand.Rand) {
	t.Helper()
	cost := price.Cost(u)
	more := model.Usage{Input: u.Input + count(r), CacheRead: u.CacheRead + count(r), CacheWrite: u.CacheWrite + count(r), CacheWrite1h: u.CacheWrite1h + count(r), Output: u.Output + count(r)}
	if dearer := price.Cost(more); cost < 0 || dearer < cost {
		t.Errorf("%s: %+v costs %d, but %+v costs %d, at %+v", id, u, cost, more, dearer, price)
	}
	in, out := price.Worst(u.AllInput())
	whole := model.Price{Tiers: []model.Tier{{Rates: model.Rates{Input: in, Output: out}}}, PerRun: price.PerRun}
	if aside := whole.Cost(model.Usage{Input: u.AllInput(), Output: u.Output}); aside < cost {
		t.Errorf("%s: %+v costs %d, with %d set aside, at %+v", id, u, cost, aside, price)
	}
}

func TestWindow(t *testing.T) {
	for _, test := range []struct {
		provider, name string
		want           int64
	}{{"anthropic", "claude-haiku-4-5", 200_000}, {"anthropic", "claude-sonnet-5", 1_000_000}, {"google", "gemini-3.8-flash", 1_000_000}, {"openai", "none-such", 0}, {"nobody", "x", 0}} {
		if got := Window(test.provider, test.name); got != test.want {
			t.Errorf("%s %s: %d, want %d", test.provider, test.name, got, test.want)
		}
	}
}
