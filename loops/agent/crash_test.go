package agent_test

import (
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
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

// mortal is a store whose runner dies at write number at, before or after it is
// stored.
type mortal struct {
	*loopstest.Memory
	writes *atomic.Int64
	at     int64
	after  bool
}

func (m mortal) dies() bool { return m.writes.Add(1) == m.at }

func (m mortal) Commit(ctx context.Context, s loops.State) (loops.State, error) {
	dies := m.dies()
	if dies && !m.after {
		m.Kill(m.Runner())
	}
	got, err := m.Memory.Commit(ctx, s)
	if dies && m.after {
		m.Kill(m.Runner())
		return loops.State{}, fmt.Errorf("the answer was lost: %w", loops.ErrClosed)
	}
	return got, err
}

func (m mortal) PutBlob(ctx context.Context, id loops.ID, data []byte) (string, error) {
	dies := m.dies()
	if dies && !m.after {
		m.Kill(m.Runner())
	}
	ref, err := m.Memory.PutBlob(ctx, id, data)
	if dies && m.after {
		m.Kill(m.Runner())
	}
	return ref, err
}

// byTurn answers by how far the conversation is, so that a call that is made
// again is answered the same.
func byTurn(turns ...loopstest.Reply) loopstest.Reply {
	return loopstest.Reply{Do: func(_ context.Context, r model.Request) (model.Answer, error) {
		n := 0
		for _, m := range r.Messages {
			if m.Role == model.Assistant {
				n++
			}
		}
		if strings.Contains(shown(r), "say ok\n</feedback") { // the second pass
			return finish("ok").Answer, nil
		}
		a := turns[min(n, len(turns)-1)].Answer
		for i, b := range a.Message.Blocks {
			if b.Call != nil {
				c := *b.Call
				c.ID = fmt.Sprintf("turn-%d-%d", n, i)
				a.Message.Blocks[i].Call = &c
			}
		}
		return a, nil
	}}
}

// TestKilledAtEveryWrite: whatever write of the store a process dies at, the
// next one pays for no answer twice that was stored, repeats no finished tool,
// and asks before it repeats one that may have run and must not run twice.
func TestKilledAtEveryWrite(t *testing.T) {
	long := strings.Repeat("a long line of the file\n", 1000) // kept beside the loop
	turns := byTurn(
		loopstest.Uses(loopstest.Use("files__read", `{"n":1}`), loopstest.Use("files__write", `{"n":2}`), loopstest.Use("note", `{"text":"wrote it"}`)),
		use("files__read", `{"n":3}`), finish("a draft"))
	points := 0
	for at := int64(1); ; at++ {
		for _, after := range []bool{false, true} {
			died := false
			t.Run(fmt.Sprintf("write %d, stored %t", at, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { died = killedAt(t, at, after, long, turns) })
			})
			if !died {
				if points < 30 {
					t.Errorf("only %d points to die at", points)
				}
				return
			}
			points++
		}
	}
}

// killedAt plays one death and reports whether it came.
func killedAt(t *testing.T, at int64, after bool, long string, turns loopstest.Reply) bool {
	m, b := loopstest.NewModel(model.Info{Price: price()}, turns), &box{tools: usualTools()}
	b.run = func(_ context.Context, name string, _ json.RawMessage) (agent.Outcome, error) {
		return agent.Outcome{Text: name + long}, nil
	}
	memory, writes := loopstest.NewMemory(), new(atomic.Int64)
	first := live(t, mortal{memory, writes, at, after}, partsOf(b, m))
	out, err := loops.New(memory.As("starter"), partsOf(b, m), nil).Start(t.Context(), loops.StartRequest{Spec: agentSpec(nil), Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	died := writes.Load() >= at
	memory.Kill("runner-1")
	first.stop()
	second := live(t, memory.As("runner-2"), partsOf(b, m))
	denied := 0
	for {
		s := second.wait(out.ID, loops.ForAttention)
		if s.Status != loops.NeedsInput {
			break
		}
		if denied++; !strings.Contains(s.Attention.Prompt, "The call of files__write was cut off.") {
			t.Fatalf("asked %s", s.Attention.Prompt)
		}
		second.do(out.ID, loops.Request{Action: loops.Deny, Message: "it is there"})
	}
	s := second.settled(out.ID, loops.Completed, loops.GoalPredicate)
	runs := b.runs()
	if n := countOf(runs, `files__write{"n":2}`); n > 1 || n == 0 && denied == 0 { // none: it died before the call, and nobody knew
		t.Errorf("the tool that must not run twice ran %d times, %d questions", n, denied)
	}
	reads := countOf(runs, `files__read{"n":1}`) + countOf(runs, `files__read{"n":3}`)
	if reads < 2 {
		t.Errorf("ran %v", runs)
	}
	if extra := len(m.Requests()) - 4; extra < 0 || extra+reads-2+denied > 1 {
		t.Errorf("%d calls of the model, ran %v, %d questions: one death repeats at most one step", len(m.Requests()), runs, denied)
	}
	if _, billed := m.Billed(); s.Ledger.CostUSD < loops.USD(billed)+1000 || s.Ledger.ToolCalls < 3 {
		t.Errorf("the ledger has %s and %d tool calls, billed was %d", s.Ledger.CostUSD, s.Ledger.ToolCalls, billed)
	}
	return died
}

func countOf(list []string, what string) int {
	n := 0
	for _, one := range list {
		if one == what {
			n++
		}
	}
	return n
}

// TestKilledInATool: a tool that may have run is repeated only when that is
// safe, or a person says so.
func TestKilledInATool(t *testing.T) {
	for _, test := range []struct {
		tool   string
		action loops.Action // empty: nobody is asked
		runs   int
		want   string
	}{
		{"files__read", "", 2, "did files__read"},
		{"files__write", loops.Approve, 2, "did files__write"},
		{"files__write", loops.Deny, 1, "may have happened; its outcome is not known. A person decided not to make it again."},
	} {
		t.Run(test.tool+" "+string(test.action), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := loopstest.NewMemory()
				m, b := loopstest.NewModel(model.Info{Price: price()}, use(test.tool, `{"n":1}`), finish("ok")), &box{tools: usualTools()}
				b.run = func(ctx context.Context, name string, _ json.RawMessage) (agent.Outcome, error) {
					if len(b.runs()) == 1 {
						store.Kill("runner-1")
						<-ctx.Done()
						return agent.Outcome{}, ctx.Err()
					}
					return agent.Outcome{Text: "did " + name}, nil
				}
				first := live(t, store, partsOf(b, m))
				id := first.start(nil)
				synctest.Wait()
				first.stop()
				second := live(t, store.As("runner-2"), partsOf(b, m))
				second.model = m
				if test.action != "" {
					second.asked(id, loops.AttentionApproval, "The call of "+test.tool+" was cut off. It may have happened or not")
					second.do(id, loops.Request{Action: test.action, Message: "as you say"})
				}
				s := second.settled(id, loops.Completed, loops.GoalPredicate)
				has(t, second.request(2), test.want)
				if len(b.runs()) != test.runs || len(m.Requests()) != 2 || s.Ledger.ToolCalls < int64(test.runs) {
					t.Errorf("ran %v, %d calls of the model, %d counted", b.runs(), len(m.Requests()), s.Ledger.ToolCalls)
				}
				if b.ended == 0 {
					t.Error("the leftovers of the dead worker were not ended")
				}
			})
		})
	}
}

// TestAnswerIsStoredWithItsIteration: an answer without tool calls ends the
// iteration, and one commit holds both. Once it landed nothing is bought again;
// before, what was set aside for the lost answer counts as spent.
func TestAnswerIsStoredWithItsIteration(t *testing.T) {
	for name, test := range map[string]struct {
		landed        bool
		calls, starts int
	}{"landed": {true, 1, 1}, "lost": {false, 2, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := loopstest.NewMemory()
				m := loopstest.NewModel(model.Info{Price: price()}, loopstest.Says("ok"), loopstest.Says("ok"))
				first := live(t, mortal{store, new(atomic.Int64), 3, test.landed}, partsOf(nil, m)) // claim, reserve, commit
				out, err := loops.New(store.As("starter"), partsOf(nil, m), nil).Start(t.Context(), loops.StartRequest{Spec: agentSpec(func(s *loops.Spec) { s.Body.Tools = nil })})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				first.stop()
				second := live(t, store.As("runner-2"), partsOf(nil, m))
				s := second.settled(out.ID, loops.Completed, loops.GoalPredicate)
				_, billed := m.Billed()
				if len(m.Requests()) != test.calls || s.Ledger.Starts != test.starts || s.Ledger.CostUSD < loops.USD(billed) || test.landed && s.Ledger.CostUSD != loops.USD(billed) {
					t.Errorf("%d calls, %d starts, %s spent of %d billed", len(m.Requests()), s.Ledger.Starts, s.Ledger.CostUSD, billed)
				}
			})
		})
	}
}

// TestToolServerInTrouble: a call that never got there is made again after a
// back-off and then told to the model; one whose outcome nobody knows is
// repeated when that is safe.
func TestToolServerInTrouble(t *testing.T) {
	gone := errors.New("the server ended")
	unsent := fmt.Errorf("%w: no connection", agent.ErrNotSent)
	for _, test := range []struct {
		name   string
		tool   string
		errs   []error
		runs   int
		want   string
		counts int64
	}{
		{"comes back", "files__write", []error{unsent}, 2, "did files__write", 1},
		{"stays away", "files__write", []error{unsent, unsent}, 2, "(error true): files__write could not be reached, it was not called: the tool was not called: no connection", 0},
		{"ends during a call that is safe twice", "files__read", []error{gone}, 2, "did files__read", 2},
		{"ends twice during a call that is safe twice", "files__read", []error{gone, gone}, 2, "(error true): files__read did not answer: the server ended", 2},
		{"ends during a call that is not safe twice", "files__write", []error{gone}, 1, "A person decided not to make it again", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			story(t, replies(use(test.tool, "{}"), finish("ok")), func(w *world) {
				w.box.run = func(_ context.Context, name string, _ json.RawMessage) (agent.Outcome, error) {
					if n := len(w.box.runs()); n <= len(test.errs) {
						return agent.Outcome{}, test.errs[n-1]
					}
					return agent.Outcome{Text: "did " + name}, nil
				}
				id := w.start(nil)
				if s := w.wait(id, loops.ForAttention); s.Status == loops.NeedsInput {
					w.do(id, loops.Request{Action: loops.Deny})
				}
				s := w.settled(id, loops.Completed, loops.GoalPredicate)
				has(w.t, w.request(2), test.want)
				if len(w.box.runs()) != test.runs || s.Ledger.ToolCalls != test.counts || s.Ledger.Failures != 0 {
					w.t.Errorf("ran %v, %d counted", w.box.runs(), s.Ledger.ToolCalls)
				}
			})
		})
	}
}

// TestServerThatDoesNotStart is waited for; a pattern that is wrong is the end.
func TestServerThatDoesNotStart(t *testing.T) {
	down := errors.New("the MCP server files did not start: exit status 1")
	story(t, replies(finish("ok")), func(w *world) {
		w.box.opens = []error{down, down}
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		if s.Ledger.Starts != 3 || s.Ledger.Failures != 0 {
			w.t.Errorf("%+v", s.Ledger)
		}
	})
	story(t, replies(finish("ok")), func(w *world) {
		w.box.opens = []error{fmt.Errorf("open the tools: %w", &loops.FieldError{Field: "tools[0]", Problem: `"files__raed" means a tool that files does not offer`})}
		s := w.settled(w.start(nil), loops.Failed, loops.FailBody)
		if s.Ledger.Starts != 1 || !strings.Contains(s.Stop.Detail, "files__raed") {
			w.t.Errorf("%+v: %s", s.Ledger, s.Stop.Detail)
		}
	})
}

// TestCancelDuringATool ends it and leaves nothing running.
func TestCancelDuringATool(t *testing.T) {
	story(t, replies(use("files__write", "{}")), func(w *world) {
		w.box.run = func(ctx context.Context, _ string, _ json.RawMessage) (agent.Outcome, error) {
			<-ctx.Done()
			return agent.Outcome{}, ctx.Err()
		}
		id := w.start(nil)
		synctest.Wait()
		w.do(id, loops.Request{Action: loops.CancelIt})
		s := w.settled(id, loops.Cancelled, loops.CancelClient)
		if s.Ledger.ToolCalls != 1 || s.Ledger.CostUSD < 1000 || len(s.Reserved) != 0 {
			w.t.Errorf("%+v, reserved %v", s.Ledger, s.Reserved)
		}
	})
}

// TestBilledNeverExceedsTheCaps, whatever models cost, whatever they answer and
// wherever processes die.
func TestBilledNeverExceedsTheCaps(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { spendAtRandom(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

// spendAtRandom lets a loop spend until a limit ends it; its processes die now
// and then.
func spendAtRandom(t *testing.T, random *rand.Rand) {
	in, out, dense := 1+random.Int64N(30_000_000), 1+random.Int64N(90_000_000), 1+random.Int64N(4)
	m := loopstest.NewModel(model.Info{ContextWindow: 50_000, Price: &model.Price{PerRun: random.Int64N(50), Tiers: []model.Tier{{Rates: model.Rates{Input: in, CacheRead: in / 10, CacheWrite: in * 5 / 4, Output: out}}}}},
		loopstest.Reply{Do: func(_ context.Context, r model.Request) (model.Answer, error) {
			used := model.Usage{CacheWrite: int64(len(shown(r))) / dense, Output: random.Int64N(r.MaxTok + 1)}
			a := use("files__write", fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", random.IntN(int(min(used.Output*dense, 5000))+1)))).Answer
			a.Usage, a.Message.Blocks[0].Call.ID = used, fmt.Sprint("id", random.Int())
			if random.IntN(8) == 0 {
				return model.Answer{Usage: used}, &model.Error{Kind: model.Network}
			}
			return a, nil
		}})
	b, memory := &box{tools: usualTools()}, loopstest.NewMemory()
	limits := loops.Limits{MaxCostUSD: loops.USD(1 + random.Int64N(2_000_000)), MaxTotalTokens: loops.Count(1000 + random.Int64N(400_000)), MaxToolCalls: 1000, MaxIterations: 1000, MaxPasses: 1000, MaxFailures: 1000}
	out1, err := loops.New(memory.As("starter"), partsOf(b, m), nil).Start(t.Context(), loops.StartRequest{Spec: agentSpec(func(s *loops.Spec) { s.Limits = limits }), Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		name := fmt.Sprint("runner-", n)
		w := live(t, mortal{memory.As(name), new(atomic.Int64), 1 + random.Int64N(60), random.IntN(2) == 0}, partsOf(b, m))
		time.Sleep(10 * time.Minute)
		memory.Kill(name)
		w.stop()
		s, err := memory.As("looker").Load(t.Context(), out1.ID)
		if err != nil {
			t.Fatal(err)
		}
		usage, cost := m.Billed()
		if cost > int64(limits.MaxCostUSD) || usage.Total() > int64(limits.MaxTotalTokens) {
			t.Fatalf("billed %d and %d tokens under %s and %d", cost, usage.Total(), limits.MaxCostUSD, limits.MaxTotalTokens)
		}
		if s.Status.Settled() {
			if cost > int64(s.Ledger.CostUSD) || usage.Total() > s.Ledger.TotalTokens || s.Status != loops.Capped {
				t.Fatalf("%s (%s): the ledger has %s and %d tokens, billed were %d and %d", s.Status, s.Stop.Detail, s.Ledger.CostUSD, s.Ledger.TotalTokens, cost, usage.Total())
			}
			return
		}
		if s.Status == loops.NeedsInput {
			if _, err := loops.New(memory.As("starter"), partsOf(b, m), nil).Do(t.Context(), out1.ID, loops.Request{Action: loops.Deny}); err != nil {
				t.Fatal(err)
			}
		}
		if n > 300 {
			t.Fatalf("no end: %s", s.Summary())
		}
	}
}
