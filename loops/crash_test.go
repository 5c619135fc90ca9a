package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// prepare creates a loop that nobody works on yet.
func prepare(t *testing.T, store *loopstest.Memory, body loops.Body, change func(*loops.Spec)) loops.ID {
	t.Helper()
	out, err := loops.New(store, parts(body), nil).Start(t.Context(), loops.StartRequest{Spec: handlerSpec(change)})
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// journal checks that iterations are numbered without a gap and returns their
// outputs.
func (w *world) journal(id loops.ID) string {
	w.t.Helper()
	l, err := w.History(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	var outputs []string
	for i, it := range l.Iterations {
		if it.Iteration != i+1 {
			w.t.Errorf("iteration %d has the number %d", i+1, it.Iteration)
		}
		outputs = append(outputs, it.Output.Text+it.Error)
	}
	return strings.Join(outputs, ",")
}

// TestKilledAtAnyPoint: another process goes on from the last commit. A start
// that was cut off costs that start and nothing else.
func TestKilledAtAnyPoint(t *testing.T) {
	dead := loopstest.Fault{After: loops.ErrClosed}
	for _, test := range []struct {
		name   string
		spec   func(*loops.Spec)
		first  func(store *loopstest.Memory) loops.Body // of the process that dies
		faults []loopstest.Fault
		engine func(store *loopstest.Memory) *loops.Options
		judge  bool // the condition kills
		ledger string
		want   string // outputs
	}{
		{name: "before the claim", faults: []loopstest.Fault{{Before: loops.ErrClosed}}, ledger: "1 starts, 1 iterations, 1 passes, 0 failures", want: "ok"},
		{name: "with the claim", faults: []loopstest.Fault{dead}, ledger: "2 starts, 1 iterations, 1 passes, 0 failures", want: "ok"},
		{name: "in the body", first: func(m *loopstest.Memory) loops.Body {
			return loopstest.Script(loopstest.Step{Do: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
				m.Kill("runner-1")
				<-ctx.Done()
				return loops.Result{}, ctx.Err()
			}})
		}, ledger: "2 starts, 1 iterations, 1 passes, 0 failures", want: "ok"},
		{name: "after the body", first: func(m *loopstest.Memory) loops.Body {
			return loopstest.Script(loopstest.Step{Do: func(context.Context, loops.Turn) (loops.Result, error) {
				m.Kill("runner-1")
				return loops.Result{Output: "lost", Done: true}, nil
			}})
		}, ledger: "2 starts, 1 iterations, 1 passes, 0 failures", want: "ok"},
		{name: "in a condition", first: func(*loopstest.Memory) loops.Body { return loopstest.Script(loopstest.Done("ok, once")) }, judge: true,
			ledger: "1 starts, 1 iterations, 1 passes, 0 failures", want: "ok, once"},
		{name: "between a commit and the next start", first: func(*loopstest.Memory) loops.Body { return loopstest.Script(loopstest.More("a")) },
			engine: func(m *loopstest.Memory) *loops.Options {
				return &loops.Options{OnIteration: func(loops.State, loops.Iteration) { m.Kill("runner-1") }}
			}, ledger: "3 starts, 2 iterations, 1 passes, 0 failures", want: "a,ok"},
		{name: "in a delay", spec: func(s *loops.Spec) { s.Delay = loops.Duration(time.Hour) },
			first:  func(*loopstest.Memory) loops.Body { return loopstest.Script(loopstest.More("a")) },
			ledger: "2 starts, 2 iterations, 1 passes, 0 failures", want: "a,ok"},
		{name: "in a back-off", spec: func(s *loops.Spec) { s.Retry = loops.Retry{Initial: loops.Duration(time.Hour)} },
			first: func(*loopstest.Memory) loops.Body {
				return loopstest.Script(loopstest.Fails(loops.Transient(errors.New("busy"), 0)))
			},
			ledger: "2 starts, 1 iterations, 1 passes, 0 failures", want: "ok"},
		{name: "with no start left", spec: func(s *loops.Spec) { s.Limits.MaxIterations = 1 }, faults: []loopstest.Fault{dead},
			ledger: "1 starts, 0 iterations, 0 passes, 0 failures", want: ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := loopstest.NewMemory()
				var body loops.Body = loopstest.Script()
				if test.first != nil {
					body = test.first(store)
				}
				id := prepare(t, store, body, test.spec)
				store.FailNext(id, test.faults...)
				var opts *loops.Options
				if test.engine != nil {
					opts = test.engine(store)
				}
				first := loops.New(store, parts(body), opts)
				if test.judge {
					p := parts(body)
					p.Stops["contains"] = loops.StopFunc(func(context.Context, loops.Evidence) (loops.Verdict, error) {
						store.Kill("runner-1")
						return loops.Verdict{}, nil
					})
					first = loops.New(store, p, opts)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- first.Run(ctx) }()
				synctest.Wait()
				store.Kill("runner-1")
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("Run of the killed process: %v", err)
				}
				second := live(t, store.As("runner-2"), loopstest.Script(loopstest.Done("ok")), nil)
				s, _, err := second.Wait(t.Context(), id, 0, loops.ForSettled, 100*time.Hour, nil)
				if err != nil || !s.Status.Settled() {
					t.Fatalf("%s, %v", s.Summary(), err)
				}
				second.ledger(s, test.ledger)
				if got := second.journal(id); got != test.want {
					t.Errorf("outputs %q, want %q", got, test.want)
				}
			})
		})
	}
}

// TestAVerdictThatCostSomethingIsNotBoughtTwice: it is stored before the next
// condition is asked.
func TestAVerdictThatCostSomethingIsNotBoughtTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		asked := map[string]int{}
		met := func(name string, kills bool) loops.StopCondition {
			return loops.StopFunc(func(context.Context, loops.Evidence) (loops.Verdict, error) {
				if asked[name]++; kills && asked[name] == 1 {
					store.Kill("runner-1")
				}
				return loops.Verdict{Met: true, Usage: loops.Usage{CostUSD: 5}}, nil
			})
		}
		menu := parts(loopstest.Script(loopstest.Done("ok")))
		menu.Stops["dear"], menu.Stops["last"] = met("dear", false), met("last", true)
		first := liveWith(t, store, menu, nil)
		id := first.start(func(s *loops.Spec) { s.Until.All = []loops.Condition{{Kind: "dear"}, {Kind: "last"}} })
		synctest.Wait()
		first.stop()
		second := liveWith(t, store.As("runner-2"), menu, nil)
		if s := second.settled(id, loops.Completed, loops.GoalPredicate); s.Ledger.CostUSD != 10 || s.Ledger.Starts != 1 {
			t.Errorf("%s spent, %d starts", s.Ledger.CostUSD, s.Ledger.Starts)
		}
		if fmt.Sprint(asked) != "map[dear:1 last:2]" {
			t.Errorf("asked %v", asked)
		}
	})
}

// TestEveryCommitMayFail: an error, a lost acknowledgement or another writer at
// any commit changes nothing about how a loop ends.
func TestEveryCommitMayFail(t *testing.T) {
	trouble := errors.New("the disk is slow")
	faults := map[string][]loopstest.Fault{
		"error":                {{Before: trouble}},
		"four errors":          {{Before: trouble}, {Before: trouble}, {Before: trouble}, {Before: trouble}},
		"lost acknowledgement": {{After: trouble}},
		"lost acknowledgement, then another writer": {{After: trouble}, {Write: func(s *loops.State) { s.Steers = append(s.Steers, loops.Steer{Text: "hurry"}) }}},
		"another writer":              {{Write: func(s *loops.State) { s.Steers = append(s.Steers, loops.Steer{Text: "hurry"}) }}},
		"another writer and an error": {{Before: trouble, Write: func(s *loops.State) { s.Limits.MaxToolCalls++ }}},
		"conflict without a cause":    {{After: loops.ErrConflict}},
	}
	for name, fault := range faults {
		for at := range 8 {
			t.Run(fmt.Sprint(name, " at commit ", at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := loopstest.NewMemory()
					body := loopstest.Script(loopstest.More("a"), loopstest.Done("b"), loopstest.Fails(errors.New("boom")), loopstest.Done("ok"))
					id := prepare(t, store, body, nil)
					store.FailNext(id, append(make([]loopstest.Fault, at), fault...)...)
					w := live(t, store, body, nil)
					s := w.settled(id, loops.Completed, loops.GoalPredicate)
					if got := w.journal(id); got != "a,b,boom,ok" {
						t.Errorf("outputs %q", got)
					}
					if n := len(body.Turns()); n != s.Ledger.Starts || n > 5 || n == 5 && at != 0 {
						t.Errorf("%d runs of the body, %d starts charged", n, s.Ledger.Starts)
					}
					w.events(id) // the cursor has no gap
				})
			})
		}
	}
}

// TestSavedMemoryOutlivesACrash: the repeated start has it, and a start that is
// over can't save any more.
func TestSavedMemoryOutlivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		var kept loops.Turn
		first := live(t, store, loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			if err := turn.Save(ctx, json.RawMessage(`{"step":2}`)); err != nil {
				t.Error(err)
			}
			if err := turn.Save(ctx, json.RawMessage(`{"step":`)); !errors.Is(err, loops.ErrInvalid) {
				t.Errorf("broken JSON: %v", err)
			}
			store.Kill("runner-1")
			if err := turn.Save(ctx, json.RawMessage(`{}`)); !errors.Is(err, loops.ErrClosed) && !errors.Is(err, loops.ErrShutdown) { // whichever it meets first
				t.Errorf("after the end of the process: %v", err)
			}
			return loops.Result{}, errors.New("killed")
		}}), nil)
		id := first.start(nil)
		synctest.Wait()
		body := loopstest.Script(
			loopstest.Step{Do: func(_ context.Context, turn loops.Turn) (loops.Result, error) {
				kept = turn
				return loops.Result{Output: "more", Memory: json.RawMessage(`{"step":3}`)}, nil
			}},
			loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
				if err := kept.Save(ctx, json.RawMessage(`"stale"`)); err == nil || !strings.Contains(err.Error(), "start 2 is over") {
					t.Errorf("a start that is over saved: %v", err)
				}
				return loops.Result{Output: "ok", Done: true}, nil
			}})
		second := live(t, store.As("runner-2"), body, nil)
		s := second.settled(id, loops.Completed, loops.GoalPredicate)
		if got := string(body.Turns()[0].Memory); got != `{"step":2}` {
			t.Errorf("the repeated start has memory %s", got)
		}
		if string(s.Memory) != `{"step":3}` {
			t.Errorf("memory at the end: %s", s.Memory)
		}
	})
}

// TestShutdownInTheMiddleOfABody: the loop is queued at once and goes on with
// the next engine; nothing is left running.
func TestShutdownInTheMiddleOfABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		var cause error
		first := live(t, store, loopstest.Script(loopstest.Done("no"), loopstest.Step{Do: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return loops.Result{Usage: loops.Usage{ToolCalls: 2}, Memory: json.RawMessage(`{"total":2}`)}, ctx.Err()
		}}), nil)
		id := first.start(nil)
		synctest.Wait()
		first.stop()
		if !errors.Is(cause, loops.ErrShutdown) {
			t.Errorf("the body ended because of %v", cause)
		}
		s, err := first.Get(t.Context(), id)
		if err != nil || s.Status != loops.Queued || s.Claim != (loops.Claim{}) || s.Ledger.ToolCalls != 2 {
			t.Fatalf("%v: %s, claim %+v", err, s.Status, s.Claim)
		}
		if s.Why != "the process that ran it stopped; this process does not work on loops; another one has to" {
			t.Errorf("why: %s", s.Why)
		}
		body := loopstest.Script(loopstest.Done("ok"))
		second := live(t, store, body, nil)
		second.ledger(second.settled(id, loops.Completed, loops.GoalPredicate), "3 starts, 2 iterations, 2 passes, 0 failures")
		if got := string(body.Turns()[0].Memory); got != `{"total":2}` {
			t.Errorf("the next start has memory %s", got)
		}
	})
}

// TestStoreThatStaysInTrouble: the worker keeps the result and lets the process
// end in time.
func TestStoreThatStaysInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		body := loopstest.Script(loopstest.Step{Takes: time.Second, Result: loops.Result{Output: "ok", Done: true}})
		w := live(t, store, body, nil)
		id := w.start(nil)
		synctest.Wait()
		store.FailNext(id, slicesOf(10_000, loopstest.Fault{Before: errors.New("disk full")})...)
		time.Sleep(time.Hour)
		if n := len(body.Turns()); n != 1 {
			t.Errorf("%d runs of the body", n)
		}
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("the end of the process took %s", took)
		}
	})
}

func slicesOf[T any](n int, v T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = v
	}
	return all
}
