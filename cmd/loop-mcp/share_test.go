package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// until asks a server about a loop until it has the status.
func (c *client) until(id, status string) {
	c.b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	now := ""
	for late := time.After(time.Minute); ; {
		if _, now = c.progress(id); now == status {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			c.b.t.Fatalf("%s is %s, not %s", id, now, status)
		}
	}
}

// opened is a client whose server has the store open.
func (b *box) opened() *client {
	b.t.Helper()
	c := b.connect()
	if _, problem := c.call("loop_list", map[string]any{}); problem != "" {
		b.t.Fatal(problem)
	}
	return c
}

// pid is a client's server, for what loop-mcp host says.
func (c *client) pid() string { return fmt.Sprint(c.cmd.Process.Pid) }

// TestTwoServersAndACommandLineShareOneStore: whatever one of them does, the
// others see, and every command works while servers have the store open.
func TestTwoServersAndACommandLineShareOneStore(t *testing.T) {
	b := newBox(t)
	one := b.opened()
	two := b.opened()
	b.want(0, []string{"host"}, "Process "+one.pid()+" hosts")
	if v := b.answer(b.want(0, []string{"host", "--json"})); number(v["pid"]) != one.pid() || v["answers"] != true {
		t.Errorf("host --json: %v", v)
	}

	b.want(0, []string{"start", b.loop("slow", "slow", scoreThree)}, "It goes on while a client is connected (server process")
	slow := b.only("slow")
	two.until(slow, "running")
	one.until(slow, "running")
	b.want(0, []string{"ls"}, slow, "running")
	b.want(0, []string{"show", slow}, "running")
	b.want(0, []string{"pause", slow})
	b.write("go-on", "")
	two.until(slow, "paused")
	b.want(0, []string{"continue", slow, "--resume", "--detach"})
	one.until(slow, "completed")
	if p, _ := one.progress(slow); p.starts != p.iteration {
		t.Errorf("%v starts for %v iterations: one took the loop from the other", p.starts, p.iteration)
	}
	b.want(0, []string{"watch", slow}, "completed")
	b.want(0, []string{"continue", slow, "--reopen", "--message", "once more"}, "completed")

	b.want(0, []string{"run", b.loop("good", "count", scoreThree)}, "completed")
	b.want(6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	human := b.only("human")
	two.until(human, "needs_input")
	b.want(0, []string{"approve", human, "--detach"})
	two.until(human, "completed")

	b.want(0, []string{"start", b.loop("sleeper", "sleep", "until: {all: [{kind: claim}]}")})
	sleeper := b.only("sleeper")
	b.untilFile("pid")
	b.want(0, []string{"cancel", sleeper, "--now"})
	one.until(sleeper, "cancelled")

	one.close()
	two.until(slow, "completed")
	b.want(0, []string{"host"}, "Process "+two.pid()+" hosts")
	two.close()
	b.want(0, []string{"host"}, "No process")
}

// TestLiveTextIsSeenFromEveryServer, whichever of them runs the body.
func TestLiveTextIsSeenFromEveryServer(t *testing.T) {
	b := newBox(t)
	one, two := b.opened(), b.opened()
	b.want(0, []string{"start", b.loop("talks", "talk", "until: {all: [{kind: claim}]}")})
	id := b.only("talks")
	for _, c := range []*client{one, two} {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		said := ""
		for late := time.After(time.Minute); !strings.Contains(said, "main.go"); {
			answer, problem := c.call("loop_inspect", map[string]any{"loop_id": id, "view": "live"})
			said = fmt.Sprint(answer, problem)
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("a server shows %s", said)
			}
		}
	}
	b.write("go-on", "")
	two.until(id, "completed")
}

// TestKilledAmongOthers kills servers that share a store, hosts and others, at
// any instant. Their loops go on with the others: nothing that a client was told
// is taken back, no body runs more often than was charged, and every loop comes
// to its end.
func TestKilledAmongOthers(t *testing.T) {
	t.Logf("seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 2))
	b := newBox(t)
	target := 30 + 10**kills
	until := fmt.Sprintf("until: {all: [{kind: predicate, expression: iteration >= %d}]}\nlimits: {max_iterations: %d, max_passes: %[2]d}\nstall: {passes: 0}", target, target+5**kills)
	all := []*client{b.opened(), b.opened(), b.opened()}
	var ids []string
	for n := range 4 {
		name := fmt.Sprintf("worker%d", n)
		b.want(0, []string{"start", b.loop(name, "effect", until)})
		ids = append(ids, b.only(name))
	}
	told := map[string]progress{}
	check := func(c *client, id string) string {
		t.Helper()
		now, status := c.progress(id)
		if was := told[id]; now.iteration < was.iteration || now.starts < was.starts || now.cursor < was.cursor {
			t.Fatalf("%s went back from %+v to %+v", id, was, now)
		}
		told[id] = now
		return status
	}
	hosts := 0
	for range *kills {
		for range 1 + random.IntN(30) {
			check(all[random.IntN(len(all))], ids[random.IntN(len(ids))])
		}
		at := random.IntN(len(all))
		host := b.run("host").stdout
		for n, c := range all { // the host more often than the others
			if strings.Contains(host, "Process "+c.pid()+" hosts") && random.IntN(2) == 0 {
				at = n
			}
		}
		if strings.Contains(host, "Process "+all[at].pid()+" hosts") {
			hosts++
		}
		_ = all[at].cmd.Process.Kill()
		_ = all[at].cmd.Wait()
		all[at] = b.opened()
	}
	for n, id := range ids {
		c := all[n%len(all)]
		for status := ""; status != "completed"; status = check(c, id) {
			if _, problem := c.call("loop_wait", map[string]any{"loop_id": id, "for": "settled", "wait_seconds": 40}); problem != "" {
				t.Fatal(problem)
			}
		}
		b.auditIterations(c, id, target)
	}
	cut := 0
	for _, id := range ids {
		cut += int(told[id].starts - told[id].iteration)
	}
	t.Logf("%d kills, %d of hosts, cut off %d starts", *kills, hosts, cut)
	if hosts == 0 || hosts == *kills {
		t.Errorf("%d of %d kills met the host", hosts, *kills)
	}
	for id, ran := range b.effects() {
		if now, _ := all[0].progress(id); float64(ran) > now.starts {
			t.Errorf("%s: the body ran %d times, charged are %v starts", id, ran, now.starts)
		}
	}
}

// TestALoopOfAKilledServerGoesOnElsewhere: a body that hung in the killed one is
// started again by the other, which hosts the store now.
func TestALoopOfAKilledServerGoesOnElsewhere(t *testing.T) {
	b := newBox(t)
	one := b.opened()
	b.want(0, []string{"start", b.loop("hangs", "hang", "until: {all: [{kind: claim}]}")})
	id := b.only("hangs")
	b.untilFile("again")
	two := b.opened()
	two.until(id, "running")
	killed := time.Now()
	_ = one.cmd.Process.Kill()
	_ = one.cmd.Wait()
	two.until(id, "completed")
	t.Logf("completed %s after the kill", time.Since(killed).Round(time.Millisecond))
	b.want(0, []string{"show", id, "--view", "output"}, "done at last")
}
