package loops_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// endStore takes its time over the last commit of a loop.
type endStore struct {
	*loopstest.Memory
	first func() // called before the first of them; nil: nothing is
	ended *atomic.Int32
}

func (s endStore) Commit(ctx context.Context, next loops.State) (loops.State, error) {
	if next.Status.Settled() {
		if s.ended.Add(1) == 1 && s.first != nil {
			s.first()
		}
		time.Sleep(3 * time.Second)
	}
	return s.Memory.Commit(ctx, next)
}

// TestTheNextLoopDoesNotWaitForTheLastCommitOfTheOneBefore, which has nothing to do
// any more.
func TestTheNextLoopDoesNotWaitForTheLastCommitOfTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := loopstest.Script(loopstest.Step{Takes: time.Second, Result: loops.Result{Output: "ok", Done: true}})
		w := live(t, endStore{Memory: loopstest.NewMemory(), ended: new(atomic.Int32)}, body, &loops.Options{Workers: 1})
		began := time.Now()
		ids := []loops.ID{w.start(nil), w.start(nil)}
		for _, id := range ids {
			w.settled(id, loops.Completed, loops.GoalPredicate)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("two loops of 1 s, whose last commits take 3 s, took %s with one worker", took)
		}
	})
}

// TestALoopThatGoesOnAfterAllWaitsForItsPlace: a request was faster than its last
// commit, and another loop is worked on by now.
func TestALoopThatGoesOnAfterAllWaitsForItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, starts atomic.Int32
		body := loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			starts.Add(1)
			time.Sleep(30 * time.Second)
			return loops.Result{Output: "not yet"}, nil
		})
		var w *world
		var id loops.ID
		store := endStore{Memory: loopstest.NewMemory(), ended: new(atomic.Int32)}
		store.first = func() { w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxIterations: 2}}) }
		w = live(t, store, body, &loops.Options{Workers: 1})
		once := func(s *loops.Spec) { s.Limits.MaxIterations = 1 }
		id = w.start(once)
		other := w.start(once)
		for _, id := range []loops.ID{id, other} {
			w.settled(id, loops.Capped, loops.CapIterations)
		}
		if most.Load() != 1 || starts.Load() != 3 {
			t.Errorf("%d starts, %d of them at once, with one worker; want 3, one after the other", starts.Load(), most.Load())
		}
	})
}

// TestALoopBelowAnotherKeepsItsPlaceToTheEnd: what it spent counts above before
// another one may begin to spend.
func TestALoopBelowAnotherKeepsItsPlaceToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := raise(t, loopstest.Script(), loops.Limits{})
		f.below.stop()
		slow := endStore{Memory: f.store.As("slow"), ended: new(atomic.Int32)}
		body := loopstest.Script(loopstest.Step{Takes: time.Second, Result: loops.Result{Output: "ok", Done: true}})
		w := live(t, slow, body, &loops.Options{Workers: 1, Parent: f.id, Accept: func(s loops.State) error { return only(s.Origin.Parent == f.id) }})
		began := time.Now()
		ids := []loops.ID{w.start(nil), w.start(nil)}
		for _, id := range ids {
			w.settled(id, loops.Completed, loops.GoalPredicate)
		}
		if took := time.Since(began); took < 8*time.Second {
			t.Errorf("two loops of 1 s below another one, whose last commits take 3 s, took %s with one worker", took)
		}
	})
}

// restingBody is slow to let go of a loop for the first time.
type restingBody struct {
	loops.BodyFunc
	rests *atomic.Int32
}

func (b restingBody) Rest(loops.ID, loops.Status) {
	if b.rests.Add(1) == 1 {
		time.Sleep(10 * time.Second)
	}
}

// TestACancelReachesALoopThatWasTakenUpAgainAtOnce, while the run before it still
// lets go of it.
func TestACancelReachesALoopThatWasTakenUpAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts atomic.Int32
		body := restingBody{rests: new(atomic.Int32), BodyFunc: func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
			if starts.Add(1) == 1 {
				return loops.Result{Output: "not yet", Done: true}, nil
			}
			select {
			case <-ctx.Done():
				return loops.Result{}, context.Cause(ctx)
			case <-time.After(time.Hour):
				return loops.Result{Output: "ok", Done: true}, nil
			}
		}}
		w := live(t, loopstest.NewMemory(), body, &loops.Options{Workers: 2})
		id := w.start(func(s *loops.Spec) { s.Delay = loops.Duration(time.Second) })
		time.Sleep(time.Minute) // the first run has let go, the second one works
		if starts.Load() != 2 || body.rests.Load() != 1 {
			t.Fatalf("%d starts and %d runs that rest, want 2 and 1", starts.Load(), body.rests.Load())
		}
		asked := time.Now()
		w.do(id, loops.Request{Action: loops.CancelIt})
		w.settled(id, loops.Cancelled, loops.CancelClient)
		if waited := time.Since(asked); waited > 0 {
			t.Errorf("the cancel reached the body after %s", waited)
		}
	})
}

// displaced is a loop whose cap of one start is raised when its only start has
// ended: it goes on, and its place has another loop's start of two hours. It returns
// when each start of the first began, and its process with one worker.
func displaced(t *testing.T, maxDuration time.Duration) (w *world, id loops.ID, began func(start int) time.Duration, idle func()) {
	created, starts := time.Now(), [3]atomic.Int64{}
	store := endStore{Memory: loopstest.NewMemory(), ended: new(atomic.Int32)}
	store.first = func() { w.do(id, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxIterations: 2}}) }
	body := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		takes := 2 * time.Hour
		if turn.Goal == "displaced" {
			starts[turn.Ledger.Starts].Store(int64(time.Since(created)))
			takes = time.Second
		}
		select {
		case <-time.After(takes):
			return loops.Result{Output: "not yet"}, nil
		case <-ctx.Done():
			return loops.Result{}, context.Cause(ctx)
		}
	})
	w = live(t, store, body, &loops.Options{Workers: 1})
	once := func(s *loops.Spec) {
		s.Goal, s.Limits = "displaced", loops.Limits{MaxIterations: 1, MaxDuration: loops.Duration(maxDuration), IterationTimeout: loops.Duration(10 * time.Hour), MaxActive: loops.Duration(10 * time.Hour)}
	}
	id = w.start(once)
	w.start(func(s *loops.Spec) { once(s); s.Goal = "in its place" })
	time.Sleep(10 * time.Second)
	began = func(start int) time.Duration { return time.Duration(starts[start].Load()).Truncate(time.Second) }
	return w, id, began, func() { live(t, store.As("idle"), body, nil) }
}

func TestALoopThatLeftItsPlaceDoesNotOutwaitMaxDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id, began, _ := displaced(t, time.Hour)
		if s, err := w.Get(t.Context(), id); err != nil || s.Status != loops.Queued || s.Ledger.Starts != 2 {
			t.Errorf("it is %s with %d starts, %v; want queued, without a place", s.Status, s.Ledger.Starts, err)
		}
		w.settled(id, loops.Capped, loops.CapDuration)
		if at := began(2); at != 0 {
			t.Errorf("max_duration is 1h, and a start began after %s", at)
		}
	})
}

func TestALoopThatLeftItsPlaceGoesToAProcessThatHasOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id, began, idle := displaced(t, 24*time.Hour)
		idle()
		s := w.settled(id, loops.Capped, loops.CapIterations)
		if at := began(2); at != 10*time.Second || s.Ledger.Starts != 2 {
			t.Errorf("the second of %d starts began after %s; want 10s of 2: it was charged once", s.Ledger.Starts, at)
		}
	})
}
