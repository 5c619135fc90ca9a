package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// two drafts, of which the judge wants the second: four answers of the worker,
// three of the judge, two runs of look and one of write.
func twoDrafts() *job {
	return &job{worker: rates{3_000_000, 300_000, 15_000_000}, judge: rates{1_000_000, 1_000_000, 5_000_000}, dense: 4, drafts: 2,
		script: func(pass, turn int) []string {
			if pass > 1 {
				return []string{"finish"}
			}
			return [][]string{{"tools__look", "tools__look"}, {"tools__write"}, nil}[min(turn, 2)]
		}}
}

var roomy = caps{cost: 2_000_000, tokens: 400_000, tools: 20}

// spending is a loop that spends outside.
type spending struct {
	*outside
	b   *box
	id  string
	gen int
}

func newSpending(t *testing.T, approve string) *spending {
	s := &spending{outside: newOutside(t, 1, twoDrafts()), b: newBox(t)}
	s.configure(s.b, 2000, approve, 0)
	s.next()
	s.b.want(0, []string{"start", s.spendingLoop(s.b, 0, roomy.yaml())})
	s.id = s.b.only("job-00")
	return s
}

// next makes what runs from now on another process.
func (s *spending) next() {
	s.gen++
	s.b.generation(s.gen)
}

// wants fails unless so many answers were bought and tools ran.
func (s *spending) wants(worker, judge, look, write int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, e := range s.events {
		n[e.kind+e.tool]++
	}
	got := []int{n["worker"], n["judge"], n["toollook"], n["toolwrite"]}
	if !slices.Equal(got, []int{worker, judge, look, write}) {
		var log strings.Builder
		for _, e := range s.events {
			fmt.Fprintf(&log, "process %d: %s\n", e.gen, e.what)
		}
		s.t.Errorf("answers of worker and judge, runs of look and write are %v, want %v\n%s", got, []int{worker, judge, look, write}, log.String())
	}
}

// killedAt lets a process work until the point and kills it there. It returns
// what the process had told about the loop's spending.
func (s *spending) killedAt(p point) ledger {
	s.t.Helper()
	reached := make(chan struct{})
	var once sync.Once
	s.watch(func(ctx context.Context, now point) {
		if now.kind == p.kind && now.nth == p.nth && now.stage == p.stage {
			once.Do(func() { close(reached) })
			<-ctx.Done()
		}
	})
	defer s.watch(nil)
	s.next()
	c := s.b.connect()
	if _, problem := c.call("loop_list", map[string]any{}); problem != "" {
		s.t.Fatal(problem)
	}
	<-reached
	if p.stage == answered { // at once, while the program works with the answer
		s.kill(c)
		return ledger{}
	}
	snapshot, problem := c.call("loop_inspect", map[string]any{"loop_id": s.id})
	if problem != "" {
		s.t.Fatal(problem)
	}
	s.kill(c)
	return ledgerOf(snapshot)
}

func (s *spending) kill(c *client) {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed[s.gen] = true
}

// finish runs the loop on the command line until it rests and checks what it
// spent. again are runs that a person approved once more.
func (s *spending) finish(told ledger, again int, args ...string) map[string]any {
	s.t.Helper()
	s.next()
	r := s.b.run(append(args, s.id, "--json")...)
	snapshot := s.b.answer(r)
	now := ledgerOf(snapshot)
	if now.below(told) {
		s.t.Errorf("the ledger went back from %+v to %+v", told, now)
	}
	s.audit(0, roomy, now, again)
	return snapshot
}

func (s *spending) completed(snapshot map[string]any) {
	s.t.Helper()
	stop, _ := snapshot["stop"].(map[string]any)
	if snapshot["status"] != "completed" || stop["reason"] != "goal.judge" {
		s.t.Errorf("the loop is %v: %v", snapshot["status"], stop)
	}
}

// TestKilledWhileItSpends kills the program at each step of a loop that pays for
// a worker, for tools and for a judge. The one step that was cut off is made
// again, and nothing else.
func TestKilledWhileItSpends(t *testing.T) {
	type counts [4]int // answers of worker and judge, runs of look and write
	for _, test := range []struct {
		name string
		at   point
		want counts
	}{
		{"before the first byte of an answer", point{kind: "worker", nth: 1, stage: accepted}, counts{5, 3, 2, 1}},
		{"in the middle of an answer", point{kind: "worker", nth: 2, stage: middle}, counts{5, 3, 2, 1}},
		{"while a tool runs that may run twice", point{kind: "tool", nth: 1, stage: begun}, counts{4, 3, 3, 1}},
		{"while the second of two tools runs", point{kind: "tool", nth: 2, stage: begun}, counts{4, 3, 3, 1}},
		{"before a tool answers that may run twice", point{kind: "tool", nth: 1, stage: done}, counts{4, 3, 3, 1}},
		{"after a tool's result", point{kind: "worker", nth: 2, stage: accepted}, counts{5, 3, 2, 1}},
		{"during the judge's only vote", point{kind: "judge", nth: 1, stage: middle}, counts{4, 4, 2, 1}},
		{"after the verdict that a pass was not the last", point{kind: "worker", nth: 4, stage: accepted}, counts{5, 3, 2, 1}},
		{"during the first of two votes", point{kind: "judge", nth: 2, stage: middle}, counts{4, 4, 2, 1}},
		{"between two votes", point{kind: "judge", nth: 3, stage: accepted}, counts{4, 4, 2, 1}},
		{"during the second of two votes", point{kind: "judge", nth: 3, stage: middle}, counts{4, 4, 2, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSpending(t, "[]")
			told := s.killedAt(test.at)
			s.completed(s.finish(told, 0, "continue"))
			s.wants(test.want[0], test.want[1], test.want[2], test.want[3])
		})
	}
}

// TestNothingIsPaidAgainAfterTheEnd: the program is killed when the loop has
// settled.
func TestNothingIsPaidAgainAfterTheEnd(t *testing.T) {
	s := newSpending(t, "[]")
	s.next()
	c := s.b.connect()
	told, problem := c.call("loop_wait", map[string]any{"loop_id": s.id, "for": "settled", "wait_seconds": 40})
	if problem != "" {
		t.Fatal(problem)
	}
	s.completed(told)
	s.kill(c)
	s.completed(s.finish(ledgerOf(told), 0, "show"))
	s.wants(4, 3, 2, 1)
}

// TestKilledInAToolThatMustNotRunTwice: a person is asked, and told which call
// it is about.
func TestKilledInAToolThatMustNotRunTwice(t *testing.T) {
	for _, stage := range []string{begun, done} {
		for decision, runs := range map[string]int{"approve": 2, "deny": 1} {
			t.Run(stage+", "+decision, func(t *testing.T) {
				s := newSpending(t, "[]")
				told := s.killedAt(point{kind: "tool", nth: 3, stage: stage})
				waits := s.finish(told, 0, "continue")
				owed, _ := waits["attention"].(map[string]any)
				if waits["status"] != "needs_input" || owed["kind"] != "approval" || !strings.HasPrefix(fmt.Sprint(owed["prompt"]), "The call of tools__write was cut off.") {
					t.Fatalf("the loop is %v and waits for %v", waits["status"], owed)
				}
				s.wants(2, 0, 2, 1)
				args := []string{"approve"}
				if decision == "deny" {
					args = append(args, "--deny", "--message", "it is there")
				}
				s.completed(s.finish(ledgerOf(waits), runs-1, args...))
				s.wants(4, 3, 2, runs)
			})
		}
	}
}

// TestKilledBetweenTheAnswerAndItsTool: the loop waits for a person's word about
// the call that its answer asks for. The answer is not bought again, and the
// tool runs as often as the person says.
func TestKilledBetweenTheAnswerAndItsTool(t *testing.T) {
	for decision, runs := range map[string]int{"approve": 1, "deny": 0} {
		t.Run(decision, func(t *testing.T) {
			s := newSpending(t, "[write]")
			s.next()
			c := s.b.connect()
			told, problem := c.call("loop_wait", map[string]any{"loop_id": s.id, "for": "attention", "wait_seconds": 40})
			if problem != "" || told["status"] != "needs_input" {
				t.Fatalf("the loop is %v: %s", told["status"], problem)
			}
			s.kill(c)
			s.wants(2, 0, 2, 0)
			args := []string{"approve"}
			if decision == "deny" {
				args = append(args, "--deny")
			}
			s.completed(s.finish(ledgerOf(told), 0, args...))
			s.wants(4, 3, 2, runs)
		})
	}
}

// TestKilledAsTheAnswerArrives: nobody knows whether the program had stored the
// answer. It is bought again at most once, and never when its tool has run.
func TestKilledAsTheAnswerArrives(t *testing.T) {
	for nth := range 4 {
		s := newSpending(t, "[]")
		told := s.killedAt(point{kind: "worker", nth: nth + 1, stage: answered})
		if waits := s.finish(told, 0, "continue"); waits["status"] == "needs_input" {
			s.completed(s.finish(ledgerOf(waits), 1, "approve"))
		} else {
			s.completed(waits)
		}
	}
}
