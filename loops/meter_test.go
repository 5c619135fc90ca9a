package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// paid is a call of a model that costs $3 a million tokens in and $15 out.
func paid(in, out int64) loops.Call {
	return loops.Call{Role: loops.RoleWorker, Model: "test/m", Input: in, Output: out, MinOutput: 100, InputRate: 3 * loops.Dollar, OutputRate: 15 * loops.Dollar}
}

func used(in, out int64, cost loops.USD) loops.Spent {
	return loops.Spent{Usage: loops.Usage{InputTokens: in, OutputTokens: out, CostUSD: cost}}
}

// buys is a step that makes one paid call and is done.
func buys(c loops.Call, sp loops.Spent, output string) loopstest.Step {
	return loopstest.Step{Do: func(ctx context.Context, t loops.Turn) (loops.Result, error) {
		g, err := t.Meter.Reserve(ctx, c)
		if err != nil {
			return loops.Result{}, err
		}
		if err := t.Meter.Settle(ctx, g, sp, json.RawMessage(`"settled"`)); err != nil {
			return loops.Result{}, err
		}
		return loops.Result{Output: output, Done: true}, nil
	}}
}

func TestPaidCallIsShownInIterationLedgerAndByModel(t *testing.T) {
	story(t, loopstest.Script(buys(paid(1000, 1000), used(900, 200, 5700), "no"), buys(paid(1000, 1000), used(100, 20, 600), "ok")), func(w *world) {
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		want := loops.Usage{InputTokens: 1000, OutputTokens: 220, TotalTokens: 1220, CostUSD: 6300}
		if diff := cmp.Diff(want, s.Ledger.Usage); diff != "" {
			w.t.Error(diff)
		}
		if diff := cmp.Diff([]loops.ModelUsage{{Role: loops.RoleWorker, Model: "test/m", Calls: 2, InputTokens: 1000, OutputTokens: 220, CostUSD: 6300}}, s.ByModel); diff != "" {
			w.t.Error(diff)
		}
		l, err := w.History(w.t.Context(), s.ID)
		if err != nil || l.Iterations[0].Usage.CostUSD != 5700 || l.Iterations[1].Usage.CostUSD != 600 {
			w.t.Errorf("iterations cost %v and %v, %v", l.Iterations[0].Usage, l.Iterations[1].Usage, err)
		}
		if string(s.Memory) != `"settled"` || len(s.Reserved) > 0 {
			w.t.Errorf("memory %s, reserved %v", s.Memory, s.Reserved)
		}
	})
}

func TestOutputIsClippedToWhatIsLeftThenTheLoopIsCapped(t *testing.T) {
	var granted []int64
	body := loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
		g, err := t.Meter.Reserve(ctx, paid(1000, 100_000)) // up to $0.003 in and $1.50 out
		if err != nil {
			return loops.Result{}, err
		}
		granted = append(granted, g.Output)
		return loops.Result{Output: "more"}, t.Meter.Settle(ctx, g, used(1000, g.Output, 3000+loops.USD(g.Output)*15), nil)
	})
	synctest.Test(t, func(t *testing.T) {
		w := live(t, loopstest.NewMemory(), body, nil)
		id := w.start(func(s *loops.Spec) { s.Limits.MaxCostUSD = 2 * loops.Dollar; s.Limits.MaxTotalTokens = 10_000_000 })
		s := w.settled(id, loops.Capped, loops.CapCost)
		if diff := cmp.Diff([]int64{100_000, 32_933}, granted); diff != "" {
			t.Error(diff)
		}
		if s.Ledger.CostUSD > 2*loops.Dollar || !strings.Contains(s.Stop.Detail, "max_cost_usd: $1.999995 of $2.00 used; the next call of test/m") {
			t.Errorf("spent %s: %s", s.Ledger.CostUSD, s.Stop.Detail)
		}
	})
}

// TestTooLittleLeftForTheNextCall: less is left than the next call needs, though
// the limit itself is not reached.
func TestTooLittleLeftForTheNextCall(t *testing.T) {
	ends := buys(paid(1000, 1000), used(10, 10, 1000), "ok")
	body := loopstest.Script(buys(paid(1000, 1000), used(1000, 900, 996_000), "no"), ends, ends)
	story(t, body, func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.MaxCostUSD = loops.Dollar })
		s := w.settled(id, loops.Capped, loops.CapCost)
		if !strings.Contains(s.Stop.Detail, "$0.996") || !strings.Contains(s.Stop.Detail, "the next call of test/m") {
			w.t.Error(s.Stop.Detail)
		}
		w.refused(id, loops.Request{Action: loops.ResumeIt}, "cap_not_raised")
		w.refused(id, loops.Request{Action: loops.ResumeIt}, "raise max_cost_usd above 1.00")
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxCostUSD: 2 * loops.Dollar}})
		w.settled(id, loops.Completed, loops.GoalPredicate)
	})
}

func TestKilledDuringAPaidCallKeepsItsReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		dies := loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			if _, err := turn.Meter.Reserve(ctx, paid(1000, 1000)); err != nil {
				return loops.Result{}, err
			}
			store.Kill("runner-1")
			<-ctx.Done()
			return loops.Result{}, ctx.Err()
		}}
		body := loopstest.Script(dies, buys(paid(1000, 1000), used(1000, 100, 4500), "ok"))
		first := live(t, store, body, nil)
		id := first.start(nil)
		synctest.Wait()
		first.stop()
		second := live(t, store.As("runner-2"), body, nil)
		s := second.settled(id, loops.Completed, loops.GoalPredicate)
		if s.Ledger.CostUSD != 18_000+4500 || s.Ledger.TotalTokens != 2000+1100 {
			t.Errorf("spent %s and %d tokens, want $0.0225 and 3100: what was set aside counts as spent", s.Ledger.CostUSD, s.Ledger.TotalTokens)
		}
	})
}

// TestRateLimitWaitsInsideItsStart: the provider's waits cost no start, no
// failure and no working time.
func TestRateLimitWaitsInsideItsStart(t *testing.T) {
	busy := loops.RateLimited(loops.Provider(errors.New("busy")), 5*time.Hour)
	story(t, loopstest.Script(loopstest.Fails(busy), loopstest.Fails(busy), loopstest.Done("ok")), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.MaxActive = loops.Duration(time.Hour) })
		synctest.Wait()
		s, err := w.Get(w.t.Context(), id)
		if err != nil || s.Status != loops.Waiting || s.WaitingFor != "rate_limit" || time.Until(s.WaitingUntil) != 5*time.Hour {
			w.t.Fatalf("%s, waiting for %q until %s, %v", s.Status, s.WaitingFor, s.WaitingUntil, err)
		}
		s = w.settled(id, loops.Completed, loops.GoalPredicate)
		w.ledger(s, "1 starts, 1 iterations, 1 passes, 0 failures")
		if s.Ledger.ActiveSeconds > 1 {
			w.t.Errorf("%v seconds of working time", s.Ledger.ActiveSeconds)
		}
	})
}

func TestSkippedRateLimitWaitCostsNoStart(t *testing.T) {
	story(t, loopstest.Script(loopstest.Fails(loops.RateLimited(errors.New("busy"), 5*time.Hour)), loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.ResumeIt})
		w.ledger(w.settled(id, loops.Completed, loops.GoalPredicate), "1 starts, 1 iterations, 1 passes, 0 failures")
	})
}

func TestProviderErrorsHaveTheirOwnReason(t *testing.T) {
	for name, step := range map[string]loopstest.Step{
		"permanent":    loopstest.Fails(loops.Permanent(loops.Provider(errors.New("bad key")))),
		"again, again": loopstest.Fails(loops.Transient(loops.Provider(errors.New("HTTP 500")), 0)),
	} {
		t.Run(name, func(t *testing.T) {
			steps := make([]loopstest.Step, 20)
			for i := range steps {
				steps[i] = step
			}
			story(t, loopstest.Script(steps...), func(w *world) { w.settled(w.start(nil), loops.Failed, loops.FailProvider) })
		})
	}
}

// book has the models of a test.
type book map[string]string

func (b book) Resolve(name, role string) (loops.ModelRef, error) {
	if name == "" {
		name = map[string]string{loops.RoleWorker: "smart", loops.RoleJudge: "fast"}[role]
	}
	id, ok := b[name]
	if !ok {
		return loops.ModelRef{}, fmt.Errorf("no model %q is configured", name)
	}
	return loops.ModelRef{Name: name, ID: id, Priced: !strings.HasPrefix(id, "free/")}, nil
}

func TestModelsArePinnedAndPriced(t *testing.T) {
	menu := parts(loopstest.Script())
	menu.Bodies = map[string]loops.Body{loops.BodyAgent: loopstest.Script()}
	menu.Stops[loops.StopJudge] = contains("ok")
	menu.Models = book{"smart": "test/big", "fast": "test/small", "odd": "free/x"}
	e := loops.New(loopstest.NewMemory(), menu, nil)
	spec := loops.Spec{Goal: "g", Body: loops.BodySpec{Kind: loops.BodyAgent}, Until: &loops.Until{Any: []loops.Condition{{Kind: loops.StopJudge, Question: "q"}}}}
	out, err := e.Start(t.Context(), loops.StartRequest{Spec: spec})
	if err != nil || out.Origin.Spec.Body.Model != "smart" || out.Origin.Models["smart"] != "test/big" || out.Origin.Models["fast"] != "test/small" {
		t.Fatalf("%+v, %v", out.Origin, err)
	}
	if got := out.Enforcements(); got.MaxCostUSD != loops.PerCall {
		t.Errorf("enforcement %+v", got)
	}
	spec.Body.Model = "odd"
	out, err = e.Start(t.Context(), loops.StartRequest{Spec: spec})
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "nobody knows what free/x costs") || out.Enforcements().MaxCostUSD != loops.NotMetered {
		t.Errorf("warnings %q, %v", out.Warnings, err)
	}
	spec.Limits.MaxCostUSD = loops.Dollar
	if _, err = e.Start(t.Context(), loops.StartRequest{Spec: spec}); err == nil || !strings.Contains(err.Error(), "price_unknown") {
		t.Errorf("a cap that nothing upholds: %v", err)
	}
	spec.Body.Model = "none"
	if _, err = e.Start(t.Context(), loops.StartRequest{Spec: spec}); err == nil || !strings.Contains(err.Error(), `body.model: no model "none" is configured`) {
		t.Errorf("an unknown model: %v", err)
	}
}

// TestBilledNeverExceedsTheCap: whatever calls cost, wherever a worker is
// killed, the provider's bill stays within the cap, and the ledger never falls.
func TestBilledNeverExceedsTheCap(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { billed(t, seed) })
		})
	}
}

func billed(t *testing.T, seed uint64) {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 7))
	pick := func(n int64) int64 { mu.Lock(); defer mu.Unlock(); return rnd.Int64N(n) }
	store := loopstest.NewMemory()
	var bill, floor atomic.Int64
	var runner atomic.Int64
	call := func(ctx context.Context, m loops.Meter, role string) error {
		c := loops.Call{Role: role, Model: "test/m", Input: pick(5000), Output: 1 + pick(20_000), MinOutput: 1 + pick(500),
			InputRate: loops.USD(pick(int64(20 * loops.Dollar))), OutputRate: loops.USD(pick(int64(90 * loops.Dollar)))}
		g, err := m.Reserve(ctx, c)
		if err != nil {
			return err
		}
		in, out := pick(c.Input+1), pick(g.Output+1)
		cost := (in*int64(c.InputRate)+999_999)/1_000_000 + (out*int64(c.OutputRate)+999_999)/1_000_000
		bill.Add(cost)
		if pick(6) == 0 {
			store.Kill(fmt.Sprintf("runner-%d", runner.Load()))
		}
		return m.Settle(ctx, g, used(in, out, loops.USD(cost)), nil)
	}
	body := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		if spent := int64(turn.Ledger.CostUSD); spent < floor.Load() {
			t.Errorf("the ledger fell from %d to %d", floor.Load(), spent)
		} else {
			floor.Store(spent)
		}
		return loops.Result{Output: fmt.Sprint(pick(1 << 40)), Done: pick(2) == 0}, call(ctx, turn.Meter, loops.RoleWorker)
	})
	judge := loops.StopFunc(func(ctx context.Context, e loops.Evidence) (loops.Verdict, error) {
		return loops.Verdict{Reason: "no"}, call(ctx, e.Meter, loops.RoleJudge)
	})
	menu := loops.Parts{Handlers: map[string]loops.Body{"worker": body}, Stops: map[string]loops.StopCondition{loops.StopJudge: judge}, Models: book{"fast": "test/m"}}
	limit := loops.USD(1 + pick(int64(3*loops.Dollar)))
	spec := loops.Spec{Goal: "g", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"},
		Until:  &loops.Until{All: []loops.Condition{{Kind: loops.StopJudge, Question: "q"}}},
		Limits: loops.Limits{MaxCostUSD: limit, MaxTotalTokens: loops.Count(1 + pick(1_000_000)), MaxIterations: 500, MaxFailures: 500}}
	var id loops.ID
	for n := 1; ; n++ {
		runner.Store(int64(n))
		w := liveWith(t, store.As(fmt.Sprintf("runner-%d", n)), menu, nil)
		if n == 1 {
			out, err := w.Start(t.Context(), loops.StartRequest{Spec: spec})
			if err != nil {
				t.Fatal(err)
			}
			id = out.ID
		}
		time.Sleep(time.Hour)
		w.stop()
		s, err := loops.New(store.As("reader"), menu, nil).Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if bill.Load() > int64(limit) || int64(s.Ledger.CostUSD) > int64(limit) {
			t.Fatalf("billed %d, ledger %d, cap %d", bill.Load(), s.Ledger.CostUSD, limit)
		}
		if s.Status.Settled() {
			if int64(s.Ledger.CostUSD) < bill.Load() {
				t.Fatalf("the ledger says %d, billed were %d", s.Ledger.CostUSD, bill.Load())
			}
			return
		}
	}
}

// TestToolsOfAnAgentStayInsideTheRoots: what comes through a tool can't send an
// agent's tools to any folder of the machine.
func TestToolsOfAnAgentStayInsideTheRoots(t *testing.T) {
	menu := parts(loopstest.Script())
	menu.Bodies, menu.Models = map[string]loops.Body{loops.BodyAgent: loopstest.Script()}, book{"smart": "test/m"}
	e := loops.New(loopstest.NewMemory(), menu, &loops.Options{MayRead: func(dir string, _ loops.Source) error { return fmt.Errorf("%s is outside", dir) }})
	for tools, want := range map[string]string{"files__*": "body.tools: / is outside", "": "<nil>"} {
		spec := loops.Spec{Goal: "g", Body: loops.BodySpec{Kind: loops.BodyAgent}}
		if tools != "" {
			spec.Body.Tools = []string{tools}
		}
		if _, err := e.Start(t.Context(), loops.StartRequest{Spec: spec, Source: loops.SourceTool, Dir: "/"}); fmt.Sprint(err) != want {
			t.Errorf("tools %q: %v, want %s", tools, err, want)
		}
	}
}

// TestSettlementThatWaitsSurvivesARequest: a steer was written between the
// settlement and the commit that stores it; a judge's calls count as well.
func TestSettlementThatWaitsSurvivesARequest(t *testing.T) {
	var w *world
	var id loops.ID
	body := loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		for range 2 {
			g, err := turn.Meter.Reserve(ctx, paid(1000, 1000))
			if err != nil {
				return loops.Result{}, err
			}
			spent := used(1000, 100, 4500)
			spent.Soon = true
			if err := turn.Meter.Settle(ctx, g, spent, json.RawMessage(`"kept"`)); err != nil {
				return loops.Result{}, err
			}
			if err := turn.Meter.Settle(ctx, g, spent, nil); err == nil {
				t.Error("a call was settled twice")
			}
			w.do(id, loops.Request{Action: loops.SteerIt, Message: "be brief"})
		}
		return loops.Result{Output: "ok", Done: true}, nil
	}}
	synctest.Test(t, func(t *testing.T) {
		w = live(t, loopstest.NewMemory(), loopstest.Script(), nil)
		w.stop()
		id = w.start(nil)
		second := live(t, w.store, loopstest.Script(body), nil)
		s := second.settled(id, loops.Completed, loops.GoalPredicate)
		if s.Ledger.CostUSD != 9000 || string(s.Memory) != `"kept"` || len(s.Reserved) > 0 || s.ByModel[0].Calls != 2 || len(s.Steers) != 2 {
			t.Errorf("spent %s, memory %s, reserved %v, rows %+v, %d steers", s.Ledger.CostUSD, s.Memory, s.Reserved, s.ByModel, len(s.Steers))
		}
	})
}
