package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// many loops whose steps come to their ends all at once, so that a kill finds
// some of them with a step that is stored and not used yet.
type many struct {
	*outside
	b   *box
	ids []string
}

const manyLoops = 12

func newMany(t *testing.T, like func(i int) *job) *many {
	var jobs []*job
	for i := range manyLoops {
		jobs = append(jobs, like(i))
	}
	m := &many{outside: newOutside(t, 1, jobs...), b: newBox(t)}
	m.configure(m.b, 2000, "[]", 0)
	m.b.generation(0)
	for i := range jobs {
		m.b.want(0, []string{"start", m.spendingLoop(m.b, i, roomy.yaml())})
		m.ids = append(m.ids, m.b.only(fmt.Sprintf("job-%02d", i)))
	}
	return m
}

// killed lets a process work until all loops are at the step, lets them go on
// together, and kills it at the first sign that one of them used the step.
func (m *many) killed(step, use func(point) bool) {
	m.t.Helper()
	m.b.generation(1)
	c := m.b.connect()
	var together sync.WaitGroup
	together.Add(manyLoops)
	dead := make(chan struct{})
	m.watch(func(_ context.Context, p point) {
		switch {
		case step(p):
			together.Done()
			together.Wait()
		case use(p):
			_ = c.cmd.Process.Kill()
			<-dead
		}
	})
	defer m.watch(nil)
	if _, problem := c.call("loop_list", map[string]any{}); problem != "" {
		m.t.Fatal(problem)
	}
	_ = c.cmd.Wait()
	close(dead)
	m.b.generation(2)
}

// happenings counts what happened outside for a job.
func (m *many) happenings(job int, what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, e := range m.events {
		if e.job == job && strings.HasPrefix(e.what, what) {
			n++
		}
	}
	return n
}

// stored returns the loops whose ledger has what the step came to, and how many
// of them the outside has not seen to use it.
func (m *many) stored(has func(ledger) bool, used func(i int) bool) (stored []int, unused int) {
	m.t.Helper()
	for i, id := range m.ids {
		if !has(ledgerOf(m.b.answer(m.b.run("show", id, "--json")))) {
			continue
		}
		if stored = append(stored, i); !used(i) {
			unused++
		}
	}
	m.t.Logf("%d of %d steps were stored, %d of them without any use yet", len(stored), manyLoops, unused)
	return stored, unused
}

// untilOneIsUnused tries until the kill came at the right moment for some loop.
func untilOneIsUnused(t *testing.T, try func() (unused int)) {
	t.Helper()
	for range 5 {
		if try() > 0 {
			return
		}
	}
	t.Error("each kill came too early or too late to try anything")
}

// TestAnswersThatWereStoredAreNotBoughtAgain: a loop whose ledger has the answer
// has paid for it, and goes on with it, also when nothing was done with it yet.
func TestAnswersThatWereStoredAreNotBoughtAgain(t *testing.T) {
	untilOneIsUnused(t, func() int {
		m := newMany(t, func(i int) *job {
			j := twoDrafts()
			if i%2 == 0 { // this one has its draft at once
				j.drafts, j.script = 1, func(int, int) []string { return nil }
			}
			return j
		})
		m.killed(func(p point) bool { return p.kind == "worker" && p.stage == middle }, func(p point) bool { return p.kind != "worker" })
		stored, unused := m.stored(func(l ledger) bool { return l.tokens > 0 }, func(i int) bool { return m.happenings(i, "run of look")+m.happenings(i, "done about") > 0 })
		for _, i := range stored {
			m.b.want(0, []string{"continue", m.ids[i]})
			if n := m.happenings(i, fmt.Sprintf("answer of job %d in pass 1 after", i)); n != 1+2*(i%2) {
				t.Errorf("%s: its first answer was stored, and %d answers were bought", m.ids[i], n)
			}
		}
		return unused
	})
}

// TestToolsWhoseResultWasStoredDoNotRunAgain: nobody is asked about them either.
func TestToolsWhoseResultWasStoredDoNotRunAgain(t *testing.T) {
	untilOneIsUnused(t, func() int {
		m := newMany(t, func(i int) *job {
			j := twoDrafts()
			j.drafts, j.script = 1, func(_, turn int) []string {
				return [][]string{{"tools__write", "tools__look"}, {"finish"}}[min(turn, 1)]
			}
			if i%2 == 0 { // here the iteration ends with the tool
				j.script = func(_, turn int) []string { return [][]string{{"tools__write"}, {"finish"}}[min(turn, 1)] }
			}
			return j
		})
		m.killed(func(p point) bool { return p.kind == "tool" && p.stage == done && p.nth <= manyLoops },
			func(p point) bool { return p.kind != "judge" && p.nth > manyLoops })
		stored, unused := m.stored(func(l ledger) bool { return l.tools > 0 }, func(i int) bool { return m.happenings(i, "") > 2 })
		for _, i := range stored {
			m.b.want(0, []string{"continue", m.ids[i]})
			if n := m.happenings(i, "run of write"); n != 1 {
				t.Errorf("%s: the result was stored, and the tool ran %d times", m.ids[i], n)
			}
		}
		return unused
	})
}
