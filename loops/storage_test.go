package loops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestLargeOutputIsKeptWhole beside the record, and shown with head and tail.
func TestLargeOutputIsKeptWhole(t *testing.T) {
	whole := "ok " + strings.Repeat("0123456789", 60<<10) + " end"
	story(t, loopstest.Script(loopstest.More(whole), loopstest.Done("ok")), func(w *world) {
		id := w.start(func(s *loops.Spec) { s.Limits.MaxIterations = 1 })
		s := w.settled(id, loops.Capped, loops.CapIterations)
		if s.Output.Blob == "" || s.Output.Size != int64(len(whole)) || len(s.Output.Text) > 70<<10 || !strings.HasSuffix(s.Output.Text, " end") {
			w.t.Errorf("%d bytes, %d shown, blob %q", s.Output.Size, len(s.Output.Text), s.Output.Blob)
		}
		if got, err := w.Output(w.t.Context(), id, s.Output); err != nil || got != whole {
			w.t.Errorf("%d of %d bytes came back: %v", len(got), len(whole), err)
		}
		w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxIterations: 5}})
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if got := w.body.Turns()[1].Output; got != whole {
			w.t.Errorf("the next turn has %d bytes of it", len(got))
		}
	})
}

// TestTooLargeIsRefusedByName before it is stored.
func TestTooLargeIsRefusedByName(t *testing.T) {
	huge := strings.Repeat("x", loops.MaxOutputSize+1)
	big := json.RawMessage(`"` + strings.Repeat("x", loops.MaxMemorySize) + `"`)
	steps := []loopstest.Step{loopstest.Done(huge), {Result: loops.Result{Memory: big}}, {Result: loops.Result{Memory: json.RawMessage("{")}}}
	story(t, loopstest.Script(steps...), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Failed, loops.FailFailures)
		want := "output: is 67108865 bytes, at most 67108864 are allowed,memory: is 16777218 bytes, at most 16777216 are allowed,memory: is not JSON"
		if got := w.journal(id); got != want {
			w.t.Errorf("iterations %s", got)
		}
		if s, _ := w.Get(w.t.Context(), id); len(s.Memory) != 0 {
			w.t.Errorf("%d bytes of memory were kept", len(s.Memory))
		}
		client := w.start(func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} })
		submit := loops.Request{Action: loops.Submit, AttentionID: "it-1", Output: "x"}
		for _, test := range []struct {
			change func(*loops.Request)
			want   string
		}{
			{func(r *loops.Request) { r.Output = huge }, "output: is 67108865 bytes"},
			{func(r *loops.Request) { r.Memory = big }, "memory: is 16777218 bytes"},
			{func(r *loops.Request) { r.Memory = json.RawMessage("nope") }, "memory: is not JSON"},
			{func(r *loops.Request) { r.Usage = &loops.Usage{CostUSD: -1} }, "usage.cost_usd: must not be negative"},
			{func(r *loops.Request) { r.RequestID = strings.Repeat("x", 129) }, "request_id: is 129 bytes"},
			{func(r *loops.Request) { r.RequestID = "a\x00b" }, "request_id: must not contain the control character"},
			{func(r *loops.Request) { r.Action = "dance" }, `action: unknown action "dance"`},
			{func(r *loops.Request) { r.Action, r.Message = loops.SteerIt, strings.Repeat("x", loops.MaxGoalSize+1) }, "message: is 65537 bytes"},
			{func(r *loops.Request) { r.Action = loops.SetLimits }, "limits: is empty"},
		} {
			r := submit
			test.change(&r)
			w.refused(client, r, test.want)
		}
		for _, id := range []loops.ID{"../../etc", "", "UPPER-aaaa", "a b-aaaa", loops.ID(strings.Repeat("x", 97))} {
			w.refused(id, submit, "is not a loop id such as fix-build-7k3q")
		}
		w.do(client, submit)
	})
}

func TestMemoryOfTwoMebibytes(t *testing.T) {
	memory := json.RawMessage(`"` + strings.Repeat("m", 2<<20) + `"`)
	story(t, loopstest.Script(loopstest.Step{Result: loops.Result{Output: "a", Memory: memory}}, loopstest.Done("ok")), func(w *world) {
		s := w.settled(w.start(nil), loops.Completed, loops.GoalPredicate)
		if string(w.body.Turns()[1].Memory) != string(memory) || string(s.Memory) != string(memory) {
			w.t.Error("memory changed on its way")
		}
	})
}

// TestBytesThatAreNoTextBecomeText at once, not somewhere on the way.
func TestBytesThatAreNoTextBecomeText(t *testing.T) {
	story(t, loopstest.Script(loopstest.More("a\xffb"), loopstest.Fails(errors.New("x\xfe")), loopstest.Done("ok")), func(w *world) {
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if got := w.journal(id); got != "a\uFFFDb,x\uFFFD,ok" {
			w.t.Errorf("iterations %q", got)
		}
	})
}

// TestProtectedFiles: with a changed file nothing is met, restored it is, and
// twice running it ends the loop.
func TestProtectedFiles(t *testing.T) {
	write := func(t *testing.T, dir, text string) {
		if err := os.WriteFile(filepath.Join(dir, "a_test.go"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, restores := range []bool{true, false} {
		t.Run(fmt.Sprint("restores ", restores), func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "the test")
			synctest.Test(t, func(t *testing.T) {
				body := loops.BodyFunc(func(_ context.Context, turn loops.Turn) (loops.Result, error) {
					text := "cheated"
					if restores && turn.Iteration == 2 {
						text = "the test"
					}
					write(t, turn.Dir, text)
					return loops.Result{Output: "ok", Done: true}, nil
				})
				w := live(t, loopstest.NewMemory(), body, nil)
				spec := handlerSpec(func(s *loops.Spec) { s.Protect = []string{"**/*_test.go"} })
				out, err := w.Start(t.Context(), loops.StartRequest{Spec: spec, Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				if restores {
					w.ledger(w.settled(out.ID, loops.Completed, loops.GoalPredicate), "2 starts, 2 iterations, 2 passes, 0 failures")
					return
				}
				s := w.settled(out.ID, loops.Blocked, loops.BlockedProtected)
				if !strings.Contains(s.Stop.Detail, "a_test.go (changed)") || s.Verdict.Met || !strings.Contains(s.Feedback, "Restore them") {
					t.Errorf("%s; feedback %q", s.Stop.Detail, s.Feedback)
				}
			})
		})
	}
}

// TestAWorkerCantTouchItsOwnLoop, nor that loop's ancestors.
func TestAWorkerCantTouchItsOwnLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		client := func(s *loops.Spec) { s.Body = loops.BodySpec{Kind: loops.BodyClient} }
		start := func(e *loops.Engine) loops.ID {
			out, err := e.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(client)})
			if err != nil {
				t.Fatal(err)
			}
			return out.ID
		}
		below := func(parent loops.ID) *loops.Engine {
			return loops.New(store, parts(loopstest.Script()), &loops.Options{Parent: parent})
		}
		grandparent := start(below(""))
		parent := start(below(grandparent))
		child := below(parent)
		for _, id := range []loops.ID{grandparent, parent} {
			for _, action := range []loops.Action{loops.CancelIt, loops.SetLimits, loops.Submit, loops.Approve} {
				_, err := child.Do(t.Context(), id, loops.Request{Action: action, AttentionID: "it-1", Limits: loops.Limits{MaxPasses: 99}})
				if !errors.Is(err, loops.ErrRefused) || !strings.HasPrefix(err.Error(), "own_loop: ") {
					t.Errorf("%s on %s: %v", action, id, err)
				}
			}
		}
		own := start(child)
		if s, err := child.Get(t.Context(), own); err != nil || s.Origin.Parent != parent {
			t.Errorf("parent of the child: %q, %v", s.Origin.Parent, err)
		}
		if _, err := child.Do(t.Context(), own, loops.Request{Action: loops.CancelIt}); err != nil {
			t.Error(err)
		}
	})
}

// TestALoopThatIsNotAcceptedYet is taken when it is.
func TestALoopThatIsNotAcceptedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		allowedFrom := time.Now().Add(time.Minute)
		w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.Done("ok")), &loops.Options{Accept: func(loops.State) error {
			if time.Now().Before(allowedFrom) {
				return errors.New("go is not allowed: loop-mcp allow go")
			}
			return nil
		}})
		id := w.start(nil)
		synctest.Wait()
		if s, _ := w.Get(t.Context(), id); s.Status != loops.Queued || s.Why != "go is not allowed: loop-mcp allow go" {
			t.Errorf("%s: %s", s.Status, s.Why)
		}
		w.settled(id, loops.Completed, loops.GoalPredicate)
		if late := time.Since(allowedFrom); late > 2*time.Second {
			t.Errorf("taken %s after it was allowed", late)
		}
	})
}

// TestTheSameStartManyTimesAtOnce gives one loop.
func TestTheSameStartManyTimesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		var group sync.WaitGroup
		ids := make([]loops.Outcome, 16)
		for n := range ids {
			e := loops.New(store.As(fmt.Sprint("runner-", n)), parts(loopstest.Script()), nil)
			group.Go(func() {
				var err error
				if ids[n], err = e.Start(t.Context(), loops.StartRequest{Spec: handlerSpec(nil), RequestID: "once"}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		fresh := 0
		for _, out := range ids {
			if !out.Reused {
				fresh++
			}
			if out.ID != ids[0].ID {
				t.Errorf("loops %s and %s", out.ID, ids[0].ID)
			}
		}
		if heads, _ := store.List(t.Context()); fresh != 1 || len(heads) != 1 {
			t.Errorf("%d loops, %d starts say that theirs is new", len(heads), fresh)
		}
	})
}

// TestIDsAreNotSharedByAccident: a short id that is taken is not handed out
// again, with and without a request id.
func TestIDsAreNotSharedByAccident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []loops.ID{"story-aaaa", "story-aaaa", "story-bbbb", "story-aaaa", "story-bbbb", "story-cccc", "story-aaaa", "story-dddd"}
		next := 0
		e := loops.New(loopstest.NewMemory(), parts(loopstest.Script()), &loops.Options{NewID: func(string) loops.ID { next++; return names[next-1] }})
		var got []string
		for n := range 3 {
			r := loops.StartRequest{Spec: handlerSpec(nil)}
			if n > 0 {
				r.RequestID = fmt.Sprint("r", n)
			}
			out, err := e.Start(t.Context(), r)
			if err != nil || out.Reused {
				t.Fatalf("start %d: %v, reused %t", n, err, out.Reused)
			}
			got = append(got, string(out.ID))
		}
		if fmt.Sprint(got) != "[story-aaaa story-bbbb story-cccc]" {
			t.Errorf("ids %v", got)
		}
	})
}

// slowStore takes its time to commit.
type slowStore struct{ *loopstest.Memory }

func (s slowStore) Commit(ctx context.Context, next loops.State) (loops.State, error) {
	time.Sleep(5 * time.Second)
	return s.Memory.Commit(ctx, next)
}

// TestLiveTextDoesNotWaitForTheStore.
func TestLiveTextDoesNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := slowStore{loopstest.NewMemory()}
		var w *world
		body := loopstest.Script(loopstest.Step{Do: func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			saved := make(chan error, 1)
			go func() { saved <- turn.Save(ctx, json.RawMessage("1")) }()
			time.Sleep(time.Second)
			began := time.Now()
			turn.Emit(loops.Live{Text: "reading main.go"})
			if l, heard, ok := w.Live(turn.Loop); !ok || l.Text != "reading main.go" || !heard.Equal(began) || time.Since(began) != 0 {
				t.Errorf("live %+v, heard %s, took %s", l, heard, time.Since(began))
			}
			return loops.Result{Output: "ok", Done: true}, <-saved
		}})
		w = &world{}
		*w = *live(t, store, body, nil)
		id := w.start(nil)
		w.settled(id, loops.Completed, loops.GoalPredicate)
		time.Sleep(time.Second)
		if _, _, ok := w.Live(id); ok {
			t.Error("a settled loop has live text")
		}
	})
}
