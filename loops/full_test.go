package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// fullStore takes nothing while it is full.
type fullStore struct {
	*loopstest.Memory
	full *atomic.Bool
}

func (s fullStore) room() error {
	if s.full.Load() {
		return fmt.Errorf("the disk of /data is full: %w", loops.ErrUnwritable)
	}
	return nil
}

func (s fullStore) Create(ctx context.Context, st loops.State) (loops.State, error) {
	if err := s.room(); err != nil {
		return loops.State{}, err
	}
	return s.Memory.Create(ctx, st)
}

func (s fullStore) Commit(ctx context.Context, st loops.State) (loops.State, error) {
	if err := s.room(); err != nil {
		return loops.State{}, err
	}
	return s.Memory.Commit(ctx, st)
}

func (s fullStore) PutBlob(ctx context.Context, id loops.ID, data []byte) (string, error) {
	if err := s.room(); err != nil {
		return "", err
	}
	return s.Memory.PutBlob(ctx, id, data)
}

func (s fullStore) Update(ctx context.Context, key string, change func([]byte) ([]byte, error)) error {
	return s.Memory.Update(ctx, key, func(old []byte) ([]byte, error) {
		data, err := change(old)
		if err == nil {
			err = s.room()
		}
		return data, err
	})
}

// TestAFullDiskFailsNoLoop: the disk fills up while bodies run, for a while. What
// they did is stored when there is room again; no start is repeated or failed.
func TestAFullDiskFailsNoLoop(t *testing.T) {
	large := strings.Repeat("large ", 60<<10)
	for _, test := range []struct {
		name string
		body func(ctx context.Context, turn loops.Turn) (loops.Result, error)
	}{
		{"an output", func(context.Context, loops.Turn) (loops.Result, error) { return loops.Result{Output: "one"}, nil }},
		{"a large output", func(context.Context, loops.Turn) (loops.Result, error) { return loops.Result{Output: large}, nil }},
		{"what it spent", func(context.Context, loops.Turn) (loops.Result, error) {
			return loops.Result{Output: "one", Usage: loops.Usage{CostUSD: 1000}}, nil
		}},
		{"memory inside the start", func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			return loops.Result{Output: "one"}, turn.Save(ctx, json.RawMessage("1"))
		}},
		{"something beside the loop", func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			_, err := turn.Keep(ctx, []byte("kept"))
			return loops.Result{Output: "one"}, err
		}},
		{"a paid call", func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			g, err := turn.Meter.Reserve(ctx, loops.Call{Model: "m", Input: 10, Output: 10, MinOutput: 1})
			if err == nil {
				err = turn.Meter.Settle(ctx, g, loops.Spent{Usage: loops.Usage{InputTokens: 1}}, nil)
			}
			return loops.Result{Output: "one"}, err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := fullStore{loopstest.NewMemory(), &atomic.Bool{}}
				body := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
					store.full.Store(true)
					return test.body(ctx, turn)
				}}, loopstest.Done("ok"))
				w := live(t, store, body, &loops.Options{Trouble: store.room, DailyCost: 1_000_000})
				id := w.start(func(s *loops.Spec) {
					s.Limits.MaxFailures, s.Limits.MaxIterations, s.Limits.IterationTimeout = 1, 2, loops.Duration(time.Hour)
					s.Limits.MaxActive = loops.Duration(5 * time.Hour)
				})
				time.Sleep(10 * time.Minute)
				s, err := w.Get(t.Context(), id)
				if err != nil || s.Status != loops.Running || !strings.Contains(s.Why, "disk of /data is full") {
					t.Errorf("on a full disk: %s, why %q, %v", s.Status, s.Why, err)
				}
				if _, err := w.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil)}); !errors.Is(err, loops.ErrUnwritable) {
					t.Errorf("a new loop: %v", err)
				}
				if _, err := w.Do(t.Context(), id, loops.Request{Action: loops.SteerIt, Message: "x"}); !errors.Is(err, loops.ErrUnwritable) {
					t.Errorf("a request: %v", err)
				}
				store.full.Store(false)
				s = w.settled(id, loops.Completed, loops.GoalPredicate)
				if s.Ledger.Starts != 2 || s.Ledger.Iterations != 2 || s.Ledger.Failures != 0 {
					t.Errorf("%+v", s.Ledger)
				}
				if test.name == "what it spent" {
					day := map[string]any{}
					_ = store.Memory.Update(t.Context(), "daily."+time.Now().UTC().Format(time.DateOnly), func(old []byte) ([]byte, error) { return old, json.Unmarshal(old, &day) })
					if day["spent"] == nil {
						t.Errorf("the day has %v", day)
					}
				}
			})
		})
	}
}
