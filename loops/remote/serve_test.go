package remote_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/remote"
)

func TestHandlerElsewhereDoesTheWork(t *testing.T) {
	story(t, func(w *world) {
		var turns []loops.Turn
		w.serve("worker", loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
			turns = append(turns, t)
			t.Emit(loops.Live{Text: "working"})
			if err := t.Save(ctx, json.RawMessage(`{"half":true}`)); err != nil {
				return loops.Result{}, err
			}
			return loops.Result{Output: "ok", Memory: json.RawMessage(`[1]`), Done: len(turns) == 2, Usage: loops.Usage{InputTokens: 2, OutputTokens: 1, CostUSD: 5}}, nil
		}), nil)
		id := w.start(func(s *loops.Spec) {
			s.Body.With = json.RawMessage(`{"a":"{{ goal }}"}`)
			s.Inputs = map[string]loops.Input{"n": {Type: "integer", Default: "7"}}
		})
		s := w.settled(id, loops.Completed)
		if s.Ledger.Starts != 2 || s.Iteration != 2 || s.Output.Text != "ok" || s.Ledger.TotalTokens != 6 || s.Ledger.CostUSD != 10 || string(s.Memory) != "[1]" {
			t.Errorf("%s: %+v, output %q, memory %s", s.Summary(), s.Ledger, s.Output.Text, s.Memory)
		}
		got := turns[1]
		if got.Goal != "say ok" || got.Output != "ok" || string(got.Memory) != "[1]" || string(got.Config) != `{"a":"say ok"}` || got.Ledger.Starts != 2 || got.Loop != id || got.Inputs["n"] != float64(7) {
			t.Errorf("the second turn is %+v", got)
		}
	})
}

func TestErrorsOfAHandlerInGoKeepTheirMarks(t *testing.T) {
	story(t, func(w *world) {
		errs := []error{loops.Transient(errors.New("busy"), 0), loops.RateLimited(errors.New("slow down"), time.Hour), loops.Permanent(loops.Provider(errors.New("no such key")))}
		w.serve("worker", loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) {
			err := errs[0]
			errs = errs[1:]
			return loops.Result{}, err
		}), nil)
		began := time.Now()
		s := w.settled(w.start(nil), loops.Failed)
		if s.Stop.Reason != loops.FailProvider || s.Ledger.Starts != 2 || time.Since(began) < time.Hour || !strings.Contains(s.Stop.Detail, "no such key") {
			t.Errorf("%+v after %s and %d starts", s.Stop, time.Since(began), s.Ledger.Starts)
		}
	})
}

func TestHandlerThatPanicsFailsItsStart(t *testing.T) {
	story(t, func(w *world) {
		w.serve("worker", loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) { panic("oh") }), nil)
		s := w.settled(w.start(func(s *loops.Spec) { s.Limits.MaxFailures = 2 }), loops.Failed)
		if s.Iteration != 2 || !strings.Contains(s.Stop.Detail, "handler worker: the handler panicked: oh") {
			t.Errorf("%s", s.Stop.Detail)
		}
	})
}

func TestWhatIsNotThereElsewhereSaysSo(t *testing.T) {
	story(t, func(w *world) {
		w.serve("worker", loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
			_, keep := t.Keep(ctx, nil)
			_, fetch := t.Fetch(ctx, "x")
			_, reserve := t.Meter.Reserve(ctx, loops.Call{})
			settle := t.Meter.Settle(ctx, loops.Grant{}, loops.Spent{}, nil)
			return loops.Result{Output: fmt.Sprint(keep, fetch, reserve, settle), Done: true}, nil
		}), nil)
		s := w.settled(w.start(nil), loops.Completed)
		if strings.Count(s.Output.Text, "is not there for a handler elsewhere") != 4 {
			t.Errorf("%s", s.Output.Text)
		}
	})
}

func TestCancelEndsABodyElsewhere(t *testing.T) {
	for _, now := range []bool{false, true} {
		t.Run(fmt.Sprint(now), func(t *testing.T) {
			story(t, func(w *world) {
				var ended atomic.Int64
				var cause atomic.Value
				w.serve("worker", loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
					<-ctx.Done()
					ended.Store(time.Now().UnixNano())
					cause.Store(context.Cause(ctx).Error())
					return loops.Result{}, context.Cause(ctx)
				}), nil)
				id := w.start(nil)
				time.Sleep(time.Minute)
				began := time.Now()
				if _, err := w.Do(w.t.Context(), id, loops.Request{Action: loops.CancelIt, Now: now}); err != nil {
					t.Fatal(err)
				}
				w.settled(id, loops.Cancelled)
				if took := time.Unix(0, ended.Load()).Sub(began); took > 100*time.Millisecond {
					t.Errorf("the body ended after %s", took)
				}
				want := loops.ErrCancelled
				if now {
					want = loops.ErrCancelNow
				}
				if cause.Load() != want.Error() {
					t.Errorf("the cause is %v, want %v", cause.Load(), want)
				}
			})
		})
	}
}

// A text that does not fit into a message goes in pieces, both ways and whole.
func TestLargeTextsGoInPieces(t *testing.T) {
	for _, size := range []int{20 << 10, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			storyWith(t, nil, 64<<10, func(w *world) {
				output := strings.Repeat("größer \u001b\"<>&\n", size/16)
				memory, _ := json.Marshal(strings.Repeat("wäre\n", size/6))
				with, _ := json.Marshal(strings.Repeat("w", 60<<10))
				goal := strings.Repeat("goal ", 12<<10)
				var second loops.Turn
				w.serve("worker", loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
					if t.Iteration == 2 {
						second = t
						return loops.Result{Output: "ok", Done: true}, nil
					}
					if err := t.Save(ctx, memory); err != nil {
						return loops.Result{}, err
					}
					return loops.Result{Output: output, Memory: memory}, nil
				}), nil)
				id := w.start(func(s *loops.Spec) { s.Body.With, s.Goal = with, goal })
				w.settled(id, loops.Completed)
				if l, err := w.History(w.t.Context(), id); err != nil || l.Iterations[0].Error != "" {
					t.Fatalf("%v: the first iteration failed: %s", err, l.Iterations[0].Error)
				}
				if second.Output != output || string(second.Memory) != string(memory) || string(second.Config) != string(with) || second.Goal != goal {
					t.Errorf("came with %d of %d bytes of output, %d of %d of memory, %d of %d of settings, %d of %d of goal", len(second.Output), len(output),
						len(second.Memory), len(memory), len(second.Config), len(with), len(second.Goal), len(goal))
				}
			})
		})
	}
}

func TestResultTooLargeFailsByName(t *testing.T) {
	story(t, func(w *world) {
		w.serve("worker", loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) {
			return loops.Result{Output: strings.Repeat("x", loops.MaxOutputSize+1), Usage: loops.Usage{ToolCalls: 3}}, nil
		}), nil)
		s := w.settled(w.start(func(s *loops.Spec) { s.Limits.MaxFailures = 1 }), loops.Failed)
		if !strings.Contains(s.Stop.Detail, "the result is too large: output 67108865 bytes of 67108864") || s.Ledger.ToolCalls != 3 {
			t.Errorf("%s", s.Stop.Detail)
		}
	})
}

func TestServerThatEndsHandsItsStartBack(t *testing.T) {
	story(t, func(w *world) {
		stop := w.serve("worker", blocks(nil), nil)
		id := w.start(nil)
		time.Sleep(time.Minute)
		began := time.Now()
		stop()
		release := make(chan struct{})
		close(release)
		w.serve("worker", blocks(release), nil)
		s := w.settled(id, loops.Completed)
		if s.Ledger.Starts != 2 || time.Since(began) > 5*time.Second {
			t.Errorf("%d starts, %s after the server ended", s.Ledger.Starts, time.Since(began))
		}
	})
}

func TestTwoServersShareTheStarts(t *testing.T) {
	story(t, func(w *world) {
		var mu sync.Mutex
		seen := map[string]int{}
		starts := map[string]bool{}
		for _, server := range []string{"a", "b"} {
			w.serve("worker", loops.BodyFunc(func(_ context.Context, t loops.Turn) (loops.Result, error) {
				mu.Lock()
				defer mu.Unlock()
				seen[server]++
				key := fmt.Sprint(t.Loop, t.Ledger.Starts)
				if starts[key] {
					return loops.Result{}, loops.Permanent(fmt.Errorf("start %s ran twice", key))
				}
				starts[key] = true
				return loops.Result{Output: server, Done: t.Iteration == 5}, nil
			}), nil)
		}
		var ids []loops.ID
		for range 20 {
			ids = append(ids, w.start(nil))
		}
		for _, id := range ids {
			if s := w.settled(id, loops.Completed); s.Ledger.Starts != 5 {
				t.Errorf("%s: %+v", id, s.Ledger)
			}
		}
		if len(starts) != 100 || seen["a"] == 0 || seen["b"] == 0 {
			t.Errorf("%d starts, by server %v", len(starts), seen)
		}
	})
}

// A process that is known to be gone is not waited for.
func TestServerWhoseProcessIsGoneIsGivenUpSoon(t *testing.T) {
	var dead atomic.Bool
	left := make(map[string]int)
	opts := &remote.CallerOptions{Alive: func(runner string) bool { return runner != "run-h" || !dead.Load() }, Leftovers: func(name string) { left[name]++ }}
	storyWith(t, opts, 0, func(w *world) {
		r := w.raw("worker")
		id := w.start(nil)
		k := r.next()
		k.say(`"type":"accept","runner":"run-h"`)
		began := time.Now()
		dead.Store(true)
		again := r.take()
		if time.Since(began) > 5*time.Second || again.call.Start != 2 || left["worker"] == 0 {
			t.Errorf("start %d came %s after the process was gone; leftovers of %v were ended", again.call.Start, time.Since(began), left)
		}
		again.say(`"type":"result","output":"ok"`)
		w.settled(id, loops.Completed)
	})
}

// The handler's side gives up before the caller's does, so that a start and its
// repetition do not overlap.
func TestServerThatIsCutOffEndsItsBodyBeforeTheStartIsRepeated(t *testing.T) {
	story(t, func(w *world) {
		nc := w.connect()
		var ended atomic.Int64
		w.run(func(ctx context.Context) error {
			return remote.Serve(ctx, nc, "worker", loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
				<-ctx.Done()
				ended.Store(time.Now().UnixNano())
				return loops.Result{}, context.Cause(ctx)
			}), nil)
		})
		synctest.Wait()
		id := w.start(nil)
		time.Sleep(20 * time.Second)
		nc.Close() // its process lives, and nobody hears it
		r := w.raw("worker")
		k := r.take()
		began := time.Now()
		if at := time.Unix(0, ended.Load()); ended.Load() == 0 || !at.Before(began) {
			t.Errorf("the body ended at %s, the start was repeated at %s", at, began)
		}
		k.say(`"type":"result","output":"ok"`)
		if s := w.settled(id, loops.Completed); s.Ledger.Starts != 2 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

func TestBodyEndsWhenItsCallerIsGone(t *testing.T) {
	story(t, func(w *world) {
		var cause atomic.Value
		w.serve("worker", loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
			<-ctx.Done()
			cause.Store(context.Cause(ctx).Error())
			return loops.Result{}, context.Cause(ctx)
		}), nil)
		w.start(nil)
		time.Sleep(20 * time.Second)
		w.nc.Close()
		time.Sleep(14 * time.Second)
		if got := cause.Load(); got != "the loop has not been heard of for 10s" {
			t.Errorf("the body's cause is %v", got)
		}
	})
}

// The loop of a worker that died is taken by another one, and what the handler
// still does for the dead one ends before the start runs again.
func TestWhatADeadWorkerWantedEndsBeforeItsLoopGoesOn(t *testing.T) {
	story(t, func(w *world) {
		var under, most atomic.Int32
		w.serve("worker", loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
			most.Store(max(most.Load(), under.Add(1)))
			defer under.Add(-1)
			<-ctx.Done()
			time.Sleep(time.Second) // it takes its time
			return loops.Result{}, context.Cause(ctx)
		}), nil)
		id := w.start(nil)
		time.Sleep(4 * time.Second)
		w.nc.Close()
		other := remote.NewCaller(w.connect(), nil)
		began := time.Now()
		other.Body("worker").(loops.Ender).EndLeftovers(id, "")
		if took := time.Since(began); under.Load() != 0 || most.Load() != 1 || took < time.Second || took > 3*time.Second {
			t.Errorf("%d bodies are left after %s", under.Load(), took)
		}
	})
}

func TestLeftoversOfALivingWorkerAreNotTouched(t *testing.T) {
	story(t, func(w *world) {
		release := make(chan struct{})
		w.serve("worker", blocks(release), nil)
		id := w.start(nil)
		time.Sleep(4 * time.Second)
		remote.NewCaller(w.connect(), nil).Body("worker").(loops.Ender).EndLeftovers(id, "")
		close(release)
		if s := w.settled(id, loops.Completed); s.Ledger.Starts != 1 {
			t.Errorf("%+v", s.Ledger)
		}
	})
}

// How pieces are joined on their way is left to the two goroutines that say and
// send them; what arrives is not.
func TestLiveTextOfAHandlerArrivesAndIsBounded(t *testing.T) {
	story(t, func(w *world) {
		release := make(chan struct{})
		w.serve("worker", loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
			t.Emit(loops.Live{Text: "first"})
			t.Emit(loops.Live{Tool: "hammer"})
			time.Sleep(time.Second)
			for range 1000 {
				t.Emit(loops.Live{Text: strings.Repeat("x", 1<<10)})
			}
			<-release
			return loops.Result{Done: true}, nil
		}), nil)
		id := w.start(nil)
		time.Sleep(500 * time.Millisecond)
		if said := w.said(id); !strings.Contains(said, "first") || !strings.Contains(said, "› hammer\n") {
			t.Errorf("the loop said %q", said)
		}
		time.Sleep(30 * time.Second)
		if said := w.said(id); strings.Count(said, "x") > 16<<10 || !strings.Contains(said, "bytes left out]") {
			t.Errorf("of a megabyte arrived %d bytes, which end with %q", len(said), said[max(0, len(said)-60):])
		}
		if _, heard, ok := w.Live(id); !ok || time.Since(heard) > 4*time.Second {
			t.Errorf("silent for %s; its heartbeats should be heard", time.Since(heard))
		}
		close(release)
		w.settled(id, loops.Completed)
	})
}
