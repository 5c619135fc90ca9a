package loops_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// messenger notes whom Tell was called for.
type messenger struct {
	mu   sync.Mutex
	told []string
	wait chan struct{} // nil: it returns at once
	err  error
}

func (m *messenger) tell(ctx context.Context, s loops.State) error {
	m.mu.Lock()
	m.told = append(m.told, fmt.Sprintf("%s %s", s.Origin.Spec.Name, s.Status))
	m.mu.Unlock()
	if m.wait != nil {
		select {
		case <-m.wait:
		case <-ctx.Done():
		}
	}
	return m.err
}

func (m *messenger) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

func (m *messenger) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := m.all(); !slices.Equal(got, want) {
		t.Errorf("told was %q, want %q", got, want)
	}
}

func named(name string) func(*loops.Spec) { return func(s *loops.Spec) { s.Name = name } }

func approval(name string) func(*loops.Spec) {
	return func(s *loops.Spec) {
		s.Name, s.Until = name, &loops.Until{All: []loops.Condition{{Kind: "human", Question: "good?"}}}
	}
}

// TestPeopleAreToldOnce: when a loop settles and when it asks, not when it is
// paused on request; what fails is not tried again and concerns no loop.
func TestPeopleAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &messenger{err: errors.New("no such program")}
		w := live(t, loopstest.NewMemory(), loopstest.Script(loopstest.Done("ok")), &loops.Options{Tell: m.tell})
		w.settled(w.start(named("good")), loops.Completed, "goal.predicate")
		m.want(t, "good completed")

		id := w.start(approval("asks"))
		s := w.attention(id, loops.NeedsInput)
		m.want(t, "good completed", "asks needs_input")
		if _, err := w.Do(t.Context(), id, loops.Request{Action: loops.PauseIt}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Do(t.Context(), id, loops.Request{Action: loops.ResumeIt}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		told := m.all()
		if _, err := w.Do(t.Context(), id, loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID, By: "person"}); err != nil {
			t.Fatal(err)
		}
		w.settled(id, loops.Completed, loops.GoalHuman)
		m.want(t, append(told, "asks completed")...)

		id = w.start(approval("ends"))
		w.attention(id, loops.NeedsInput)
		synctest.Wait()
		told = m.all()
		if _, err := w.Do(t.Context(), id, loops.Request{Action: loops.CancelIt}); err != nil {
			t.Fatal(err)
		}
		m.want(t, append(told, "ends cancelled")...)
		if s, err := w.Get(t.Context(), id); err != nil || s.Tell != "" {
			t.Errorf("somebody is still to be told: %q, %v", s.Tell, err)
		}
	})
}

// TestNobodyIsToldOfWhatWasBefore: a store full of loops that settled before
// anybody was to be told makes no storm.
func TestNobodyIsToldOfWhatWasBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		w := live(t, store, loopstest.Script(loopstest.Done("ok")), nil)
		for range 50 {
			w.settled(w.start(named("old")), loops.Completed, "goal.predicate")
		}
		asks := w.start(approval("asks"))
		s := w.attention(asks, loops.NeedsInput)
		w.stop()
		m := &messenger{}
		next := live(t, store.As("runner-2"), loopstest.Script(loopstest.Done("ok")), &loops.Options{Tell: m.tell})
		next.settled(next.start(named("new")), loops.Completed, "goal.predicate")
		time.Sleep(time.Hour)
		m.want(t, "new completed")
		if _, err := next.Do(t.Context(), asks, loops.Request{Action: loops.Deny, AttentionID: s.Attention.ID, By: "person"}); err != nil {
			t.Fatal(err)
		}
		next.attention(asks, loops.NeedsInput)
		m.want(t, "new completed", "asks needs_input")
	})
}

// TestASurvivorTellsWhatADeadProcessDidNot: the process dies between the commit
// and the end of its message; of the others exactly one tells.
func TestASurvivorTellsWhatADeadProcessDidNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		var mu sync.Mutex
		dead := map[string]bool{}
		alive := func(owner string) bool {
			mu.Lock()
			defer mu.Unlock()
			return !dead[owner]
		}
		first := &messenger{wait: make(chan struct{})}
		w := live(t, store, loopstest.Script(loopstest.Done("ok")), &loops.Options{Tell: first.tell, Alive: alive})
		var ids []loops.ID
		for n := range 20 { // more than are told at once
			id := w.start(named(fmt.Sprintf("loop%d", n)))
			w.settled(id, loops.Completed, "goal.predicate")
			ids = append(ids, id)
		}
		synctest.Wait()
		begun := len(first.all())
		if begun == 0 || begun > 4 {
			t.Fatalf("%d messages at once", begun)
		}
		others := []*messenger{{}, {}}
		for n, m := range others {
			live(t, store.As(fmt.Sprintf("other-%d", n)), loopstest.Script(loopstest.Done("ok")), &loops.Options{Tell: m.tell, Alive: alive})
		}
		time.Sleep(time.Minute)
		for _, m := range others {
			m.want(t) // the first one lives
		}
		store.Kill("runner-1")
		mu.Lock()
		dead["runner-1"] = true
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		told := map[string]int{}
		for _, m := range others {
			for _, text := range m.all() {
				told[text]++
			}
		}
		for n, id := range ids {
			if c := told[fmt.Sprintf("loop%d completed", n)]; c != 1 {
				t.Errorf("%s was told %d times", id, c)
			}
		}
		close(first.wait)
		w.stop()
		w.Told(t.Context())
	})
}

// TestAHungMessageHoldsUpNothing: the loops go on, and the end of the process
// leaves the message to another one.
func TestAHungMessageHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		hung := &messenger{wait: make(chan struct{})}
		w := live(t, store, loopstest.Script(loopstest.Done("ok")), &loops.Options{Tell: hung.tell})
		for n := range 10 {
			w.settled(w.start(named(fmt.Sprintf("loop%d", n))), loops.Completed, "goal.predicate")
		}
		if !w.Telling() {
			t.Error("nobody is being told")
		}
		w.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		w.Told(ctx)
		if took := time.Since(begun); took != 10*time.Second || w.Telling() {
			t.Errorf("the end took %s, still telling: %v", took, w.Telling())
		}
		heads, err := store.List(t.Context())
		left := 0
		for _, h := range heads {
			if h.Tell == "runner-1" {
				left++
			}
		}
		if err != nil || left != 10 {
			t.Errorf("left to others are %d, %v", left, err)
		}
	})
}
