package judge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// exam are cases with goals of their own, by which a scripted model knows them.
func exam() []Case {
	one := func(name, truth string) Case {
		return Case{Name: name, Theme: "exam", Goal: "The goal of " + name + ".", Truth: truth, Output: "the moon raises two bulges of water",
			Criteria: []loops.Criterion{{ID: "c", Text: "It says what raises tides."}}}
	}
	return []Case{one("seen", saysDone), one("missed", saysDone), one("open", saysContinue), one("fooled", saysContinue), one("despair", saysContinue),
		one("truly", saysImpossible), one("prose", saysContinue)}
}

func cheap() model.Info {
	return model.Info{ID: "north/one", Price: &model.Price{Tiers: []model.Tier{{Rates: model.Rates{Input: 1_000_000, Output: 4_000_000}}}}}
}

// examinee answers by the case's name; fail, unless nil, is asked first.
func examinee(fail func() error) *loopstest.Model {
	answers := map[string]string{
		"seen": say("done", "", [4]string{"c", "met", "E1", "the moon raises two bulges"}), "missed": say("continue", "More.", [4]string{"c", "unknown", "", ""}),
		"open": say("continue", "More.", [4]string{"c", "not_met", "", ""}), "fooled": say("done", "", [4]string{"c", "met", "E1", "the moon raises two bulges"}),
		"despair": say("impossible", "No way.", [4]string{"c", "not_met", "E1", "the moon raises two bulges"}),
		"truly":   say("impossible", "No way.", [4]string{"c", "not_met", "E1", "the moon raises two bulges"}), "prose": "Yes!",
	}
	return loopstest.NewModel(cheap(), loopstest.Reply{Do: func(_ context.Context, r model.Request) (model.Answer, error) {
		if fail != nil {
			if err := fail(); err != nil {
				return model.Answer{}, err
			}
		}
		for name, text := range answers {
			if strings.Contains(promptOf(r), "| The goal of "+name+".\n") {
				return loopstest.Says(text).Answer, nil
			}
		}
		return model.Answer{}, errors.New("no such case")
	}})
}

func TestEvaluateReportsRates(t *testing.T) {
	m := examinee(nil)
	var progress []string
	r, err := Evaluate(t.Context(), shelf{"fast": {m}}, "fast", exam(), &EvalOptions{Parallel: 1, Progress: func(o Outcome) { progress = append(progress, o.Name) }})
	if err != nil {
		t.Fatal(err)
	}
	if r.FalseDone != (Rate{1, 4, 0.25}) || r.FalseNotDone != (Rate{1, 2, 0.5}) || r.FalseImpossible != (Rate{1, 3, 1.0 / 3}) || r.Judged != 6 || r.Errors != 1 || r.Stopped != "" {
		t.Errorf("%+v", r)
	}
	if got := strings.Join(progress, " "); got != "seen missed open fooled despair truly prose" {
		t.Errorf("progress %s", got)
	}
	usage, cost := m.Billed()
	if r.Calls != 12 || r.Usage.TotalTokens != usage.Total() || int64(r.Usage.CostUSD) != cost {
		t.Errorf("%d calls, %+v; billed %+v for %d", r.Calls, r.Usage, usage, cost)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.txt", strings.ReplaceAll(text.String(), promptHash(), "PROMPT"))
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"false_done":{"count":1,"of":4,"share":0.25}`, `"ids":["north/one"]`, `"got":"error"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is not in %s", want, raw)
		}
	}
}

// TestEvaluationNeverCostsMoreThanItsCap: at random caps and prices, with a
// model that uses all it is granted and at times breaks off, what is billed
// stays within the cap.
func TestEvaluationNeverCostsMoreThanItsCap(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			greedy := &greedy{Model: examinee(nil), info: cheap(), breaks: 2 + rnd.Int64N(9)}
			greedy.info.Price.Tiers[0].Rates = model.Rates{Input: rnd.Int64N(20_000_000), Output: rnd.Int64N(90_000_000)}
			greedy.info.Price.PerRun = rnd.Int64N(2000)
			limit := loops.USD(rnd.Int64N(6_000_000) + 1)
			r, err := Evaluate(t.Context(), shelf{"fast": {greedy}}, "fast", exam(), &EvalOptions{MaxCost: limit, Parallel: 1 + rnd.IntN(4)})
			if err != nil {
				t.Fatal(err)
			}
			if billed := loops.USD(greedy.billed.Load()); billed > limit || billed > r.Usage.CostUSD {
				t.Errorf("seed %d: billed %s, reported %s, cap %s", seed, billed, r.Usage.CostUSD, limit)
			}
			if r.Stopped != "" && !strings.Contains(r.Stopped, "raise max-cost-usd") || r.Stopped == "" && r.Judged+r.Errors != len(exam()) {
				t.Errorf("seed %d: %q, %d judged", seed, r.Stopped, r.Judged)
			}
		})
	}
}

// greedy is a model that uses every token it may; each call number that breaks
// divides is billed and then lost.
type greedy struct {
	model.Model
	info   model.Info
	breaks int64
	calls  atomic.Int64
	billed atomic.Int64
}

func (m *greedy) Info() model.Info { return m.info }

func (m *greedy) Generate(ctx context.Context, r model.Request, live func(model.Live)) (model.Answer, error) {
	a, err := m.Model.Generate(ctx, r, live)
	a.Usage = model.Usage{Input: modelcall.Size(r), Output: r.MaxTok}
	m.billed.Add(m.info.Price.Cost(a.Usage))
	if m.calls.Add(1)%m.breaks == 0 {
		return model.Answer{}, &model.Error{Kind: model.Network, Model: m.info.ID}
	}
	return a, err
}

func TestTokensFor(t *testing.T) {
	for _, tt := range []struct {
		amount, rate loops.USD
		want         int64
	}{{loops.Dollar, 4 * loops.Dollar, 250_000}, {0, 1, 0}, {1, 0, 1<<63 - 1}, {1_000_000_000 * loops.Dollar, 3 * loops.Dollar, 333_333_333_000_000}} {
		if got := tokensFor(tt.amount, tt.rate); got != tt.want {
			t.Errorf("%s at %s: %d, want %d", tt.amount, tt.rate, got, tt.want)
		}
	}
}

func TestEvaluateRefuses(t *testing.T) {
	unpriced := loopstest.NewModel(model.Info{ID: "north/secret"})
	for name, want := range map[string]string{"unpriced": "nobody knows what north/secret costs, so the limit of $1.00", "none": `no model "none"`} {
		if _, err := Evaluate(t.Context(), shelf{"unpriced": {unpriced}}, name, exam(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := exam()
	bad[2].Criteria = append(bad[2].Criteria, bad[2].Criteria[0])
	r, err := Evaluate(t.Context(), shelf{"fast": {examinee(nil)}}, "fast", bad, &EvalOptions{Parallel: 1})
	if err != nil || !strings.Contains(r.Stopped, "the case open: criteria[1].id: is there twice") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestEvaluationWaitsWhereTheProviderAsksForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		m := examinee(func() error {
			if calls.Add(1)%3 == 1 {
				return &model.Error{Kind: model.RateLimited, Unbilled: true, RetryAfter: time.Minute}
			}
			return nil
		})
		begun := time.Now()
		r, err := Evaluate(t.Context(), shelf{"fast": {m}}, "fast", exam()[:4], &EvalOptions{Parallel: 1})
		if err != nil || r.Judged != 4 || r.Errors != 0 || time.Since(begun) < time.Minute {
			t.Errorf("%+v, %v after %v", r, err, time.Since(begun))
		}
	})
}

func TestEvaluationEndsWhereNothingCanCome(t *testing.T) {
	for _, kind := range []model.Kind{model.BadKey, model.NoCredit, model.UnknownModel} {
		m := examinee(func() error { return &model.Error{Kind: kind, Model: "north/one", Unbilled: true} })
		r, err := Evaluate(t.Context(), shelf{"fast": {m}}, "fast", exam(), &EvalOptions{Parallel: 1})
		if err != nil || r.Judged != 0 || r.Stopped == "" || len(m.Requests()) > 2 || r.Usage != (loops.Usage{}) {
			t.Errorf("%s: %d calls, %+v, %v", kind, len(m.Requests()), r, err)
		}
	}
}

func TestEvaluationEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := fmt.Errorf("the person pressed Ctrl-C")
	m := examinee(func() error { cancel(gone); return &model.Error{Kind: model.Network, Err: ctx.Err()} })
	r, err := Evaluate(ctx, shelf{"fast": {m}}, "fast", exam(), &EvalOptions{Parallel: 1})
	if err != nil || r.Stopped != gone.Error() || r.Judged != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
