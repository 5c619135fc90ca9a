package loopstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

func testCreate(t *testing.T, store loops.Store) {
	s := Sample("full-aaaa")
	s.New = loops.Delta{Events: []loops.Event{{Cursor: 1, Type: loops.EventCreated}}}
	created := create(t, store, s)
	if created.Rev == 0 {
		t.Fatal("Create returned no revision")
	}
	s.Rev, s.New = created.Rev, loops.Delta{}
	same(t, "what Create returned", s, created)
	same(t, "what Load returned", s, load(t, store, s.ID))
	h := history(t, store, s.ID)
	same(t, "what History returned", s, h.State)
	same(t, "the events", []loops.Event{{Cursor: 1, Type: loops.EventCreated}}, h.Events)
}

func testExists(t *testing.T, store loops.Store) {
	create(t, store, queued("taken-aaaa"))
	_, err := store.Create(t.Context(), queued("taken-aaaa"))
	wantError(t, "Create of a taken id", err, loops.ErrExists)
}

func testNotFound(t *testing.T, store loops.Store) {
	create(t, store, queued("other-aaaa"))
	for _, id := range []loops.ID{"nobody-aaaa", "", "a.b", "*", ">", "a b", "../x", "ü", loops.ID(strings.Repeat("x", 2000))} {
		_, err := store.Load(t.Context(), id)
		wantError(t, fmt.Sprintf("Load %q", id), err, loops.ErrNotFound)
		_, err = store.History(t.Context(), id)
		wantError(t, fmt.Sprintf("History %q", id), err, loops.ErrNotFound)
	}
	s := queued("nobody-aaaa")
	s.Rev = 1
	_, err := store.Commit(t.Context(), s)
	wantError(t, "Commit", err, loops.ErrNotFound)
}

func testCommit(t *testing.T, store loops.Store) {
	first := create(t, store, queued("swap-aaaa"))
	s := first
	s.Status, s.Why = loops.Paused, "one"
	second := commit(t, store, s)
	if second.Rev <= first.Rev || second.Why != "one" {
		t.Fatalf("Commit returned revision %d and %q after revision %d", second.Rev, second.Why, first.Rev)
	}
	first.Why = "late"
	_, err := store.Commit(t.Context(), first)
	wantError(t, "Commit of an old revision", err, loops.ErrConflict)
	same(t, "the state after the refused commit", second, load(t, store, s.ID))
	first.Rev = 0
	_, err = store.Commit(t.Context(), first)
	wantError(t, "Commit of no revision", err, loops.ErrConflict)
	first.Rev = second.Rev + 1000
	_, err = store.Commit(t.Context(), first)
	wantError(t, "Commit of a future revision", err, loops.ErrConflict)
}

// testFields commits states in which every field is set, and others in which
// each map and list has several members.
func testFields(t *testing.T, store loops.Store) {
	s := create(t, store, queued("fields-aaaa"))
	for n := range 12 { // more than a snapshot's worth
		next := Sample(s.ID)
		next.Origin, next.Rev = s.Origin, s.Rev
		next.Grants = n
		next.Memory = fmt.Appendf(nil, `{"n":%d,"talk":%q}`, n/3, noise(n%2*20_000)) // at times the same as before
		for m := range n {
			key := fmt.Sprintf("all[%d]", m)
			next.Reserved = append(next.Reserved, loops.Reserved{ID: fmt.Sprint("g", m), Role: loops.RoleJudge, Path: key, Usage: loops.Usage{CostUSD: loops.USD(m)}})
			next.ByModel = append(next.ByModel, loops.ModelUsage{Role: loops.RoleWorker, Model: key, Calls: int64(m)})
			next.Children[loopID(m)] = loops.Drawn{Spent: loops.Usage{TotalTokens: int64(m)}, Aside: loops.Usage{CostUSD: loops.USD(n)}}
			if m < n/3*3 { // at times the same as before
				next.Notes[key] = noteOf(m)
			}
			next.Owed.Metered[key] = loops.Usage{OutputTokens: int64(m)}
			next.Owed.Results[key] = loops.Verdict{Kind: loops.StopJudge, Criteria: []loops.Ruling{{ID: key, Quotes: []string{"<&>", "\u2028"}}}}
		}
		if n > 8 { // what a loop had may be gone
			next.Memory, next.Notes, next.Children, next.Owed, next.Short, next.Best = nil, nil, nil, nil, nil, nil
		}
		s = commit(t, store, next)
		next.Rev = s.Rev
		same(t, "what Commit returned", next, s)
		same(t, "what Load returned", next, load(t, store, s.ID))
		same(t, "what History returned", next, history(t, store, s.ID).State)
	}
}

func noteOf(n int) json.RawMessage {
	data, _ := json.Marshal(strings.Repeat("a judge's note ", n*100)) // a text: cannot fail
	return data
}

func testRace(t *testing.T, store loops.Store) {
	s := create(t, store, queued("race-aaaa"))
	for range 10 {
		var group sync.WaitGroup
		won := make(chan loops.State, 8)
		for n := range 8 {
			mine := s
			mine.Why = fmt.Sprint("writer ", n)
			group.Go(func() {
				after, err := store.Commit(t.Context(), mine)
				if err == nil {
					won <- after
				} else if !errors.Is(err, loops.ErrConflict) {
					t.Errorf("Commit: %v", err)
				}
			})
		}
		group.Wait()
		if len(won) != 1 {
			t.Fatalf("%d of 8 writers of one revision won", len(won))
		}
		s = <-won
		same(t, "the winner's state", s, load(t, store, s.ID))
	}
}

func testOrigin(t *testing.T, store loops.Store) {
	s := create(t, store, Sample("origin-aaaa"))
	origin := load(t, store, s.ID).Origin
	s.Origin = loops.Origin{Spec: loops.Spec{Name: "another", Goal: "another"}}
	commit(t, store, s)
	same(t, "the origin that Load returned", origin, load(t, store, s.ID).Origin)
	for _, h := range must[[]loops.Head](t)(store.List(t.Context())) {
		same(t, "the labels in the list", origin.Labels, h.Labels)
		same(t, "the name in the list", origin.Spec.Name, h.Name)
	}
}

func testCopies(t *testing.T, store loops.Store) {
	s := Sample("copy-aaaa")
	created := create(t, store, s)
	want := load(t, store, s.ID)
	for _, mine := range []loops.State{s, created, load(t, store, s.ID), history(t, store, s.ID).State} {
		mine.Memory[1] = 'X'
		mine.Origin.Labels["new"] = "label"
		mine.Verdict.Reason = "changed"
	}
	for _, h := range must[[]loops.Head](t)(store.List(t.Context())) {
		h.Labels["another"] = "label"
	}
	same(t, "the stored state", want, load(t, store, s.ID))
	for _, h := range must[[]loops.Head](t)(store.List(t.Context())) {
		same(t, "the labels in the list", want.Origin.Labels, h.Labels)
	}
}

// work returns s after one more iteration with an output of about size bytes,
// as an engine would commit it.
func work(s loops.State, size int) loops.State {
	s.Iteration++
	s.Pass, s.Status = s.Iteration, loops.Paused
	output := strings.Repeat(fmt.Sprintf("line %d of the work\n", s.Iteration), size/20+1)
	s.Output = loops.Text{Text: output, Size: int64(len(output))}
	s.Memory = fmt.Appendf(nil, `{"kept":%d}`, s.Iteration)
	s.Cursor++
	at := time.Date(2026, 1, 2, 3, 4, s.Iteration, 0, time.UTC)
	s.New = loops.Delta{
		Iteration: &loops.Iteration{
			Iteration: s.Iteration, Pass: s.Pass, OK: true, Done: true, Output: s.Output, Memory: s.Memory,
			Score: new(float64(s.Iteration)), StartedAt: at, EndedAt: at.Add(time.Second),
		},
		Verdicts: []loops.Verdict{{Iteration: s.Iteration, Kind: "a"}, {Iteration: s.Iteration, Kind: "b"}},
		Decision: &loops.Verdict{Iteration: s.Iteration, Kind: "a", Reason: fmt.Sprint("not yet ", s.Iteration)},
		Events:   []loops.Event{{Cursor: s.Cursor, At: at, Type: loops.EventIteration, Text: fmt.Sprint("iteration ", s.Iteration)}},
	}
	return s
}

func testJournal(t *testing.T, store loops.Store) {
	const iterations = 120
	s := create(t, store, queued("journal-aaaa"))
	want := loops.Loop{}
	for range iterations {
		s = work(s, 3000)
		it := *s.New.Iteration
		it.Verdict = s.New.Decision
		want.Iterations = append(want.Iterations, it)
		want.Verdicts = append(want.Verdicts, s.New.Verdicts...)
		want.Events = append(want.Events, s.New.Events...)
		s = commit(t, store, s)
		same(t, "New after a commit", loops.Delta{}, s.New)
		if s.Iteration%37 == 0 {
			same(t, "the state", s, load(t, store, s.ID))
		}
	}
	want.State = s
	same(t, "the history", want, history(t, store, s.ID))
}

func testDecision(t *testing.T, store loops.Store) {
	s := create(t, store, queued("decision-aaaa"))
	s = work(s, 10)
	s.New.Decision = nil
	s = commit(t, store, s)
	if v := history(t, store, s.ID).Iterations[0].Verdict; v != nil {
		t.Fatalf("the iteration has the verdict %+v before anything was decided", v)
	}
	s.New = loops.Delta{Decision: &loops.Verdict{Iteration: 1, Kind: "predicate", Met: true}}
	s = commit(t, store, s)
	h := history(t, store, s.ID)
	same(t, "the joined verdict", &loops.Verdict{Iteration: 1, Kind: "predicate", Met: true}, h.Iterations[0].Verdict)
	same(t, "verdicts of conditions", 2, len(h.Verdicts))
}

func testEvents(t *testing.T, store loops.Store) {
	const each, commits = 70, 20
	s := create(t, store, queued("events-aaaa"))
	for range commits {
		for range each {
			s.Cursor++
			s.New.Events = append(s.New.Events, loops.Event{Cursor: s.Cursor, Type: loops.EventSteer, Text: strings.Repeat("x", 100)})
		}
		s = commit(t, store, s)
	}
	h := history(t, store, s.ID)
	if total := h.EventsDropped + uint64(len(h.Events)); total != each*commits {
		t.Fatalf("%d events and %d dropped ones, want %d together", len(h.Events), h.EventsDropped, each*commits)
	}
	if len(h.Events) < 100 {
		t.Fatalf("only %d events are left", len(h.Events))
	}
	for i, e := range h.Events {
		if want := h.EventsDropped + uint64(i) + 1; e.Cursor != want {
			t.Fatalf("event %d has the cursor %d, want %d", i, e.Cursor, want)
		}
	}
}

func testReopen(t *testing.T, store loops.Store) {
	s := create(t, store, queued("reopen-aaaa"))
	s = commit(t, store, work(s, 100))
	s.Status = loops.Completed
	s.Stop = &loops.Stop{Reason: loops.GoalCommand, Resumable: true}
	s = commit(t, store, s)
	same(t, "the settled loop", s, load(t, store, s.ID))
	s.Status, s.Stop, s.Epoch = loops.Queued, nil, 2
	s = commit(t, store, s)
	s = commit(t, store, work(s, 100))
	h := history(t, store, s.ID)
	same(t, "the state", s, h.State)
	same(t, "iterations", 2, len(h.Iterations))
}
