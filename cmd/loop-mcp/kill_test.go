package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var (
	kills = flag.Int("kills", 8, "how often TestKilledAtAnyInstant kills the server")
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the instants; a failing run prints it")
)

// effects counts the runs of the body that the outside world saw, by loop.
func (b *box) effects() map[string]int {
	data, _ := os.ReadFile(filepath.Join(b.dir, "effects")) // none yet: nothing ran
	seen := map[string]int{}
	for line := range strings.Lines(string(data)) {
		id, _, _ := strings.Cut(line, " ")
		seen[id]++
	}
	return seen
}

// progress is what a client was told about a loop.
type progress struct{ iteration, starts, cursor float64 }

func (c *client) progress(id string) (progress, string) {
	c.b.t.Helper()
	s, problem := c.call("loop_inspect", map[string]any{"loop_id": id})
	if problem != "" {
		c.b.t.Fatalf("a loop that was acknowledged is lost: %s", problem)
	}
	usage, _ := s["usage"].(map[string]any)
	p := progress{}
	p.iteration, _ = s["iteration"].(float64)
	p.starts, _ = usage["starts"].(float64)
	p.cursor, _ = s["cursor"].(float64)
	return p, fmt.Sprint(s["status"])
}

// TestKilledAtAnyInstant kills the server again and again while it works on
// several loops. Nothing that a client was told may be taken back, no body may
// run more often than was charged, and every loop comes to its end.
func TestKilledAtAnyInstant(t *testing.T) {
	t.Logf("seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 1))
	b := newBox(t)
	// Enough work that it outlasts the kills.
	target := 60 + 20**kills
	until := fmt.Sprintf("until: {all: [{kind: predicate, expression: iteration >= %d}]}\nlimits: {max_iterations: %d, max_passes: %[2]d}\nstall: {passes: 0}", target, target+5**kills)
	var ids []string
	for n := range 4 {
		name := fmt.Sprintf("worker%d", n)
		b.want(0, []string{"start", b.loop(name, "effect", until)})
		ids = append(ids, b.only(name))
	}
	b.want(0, []string{"start", b.loop("rests", "effect", until)})
	resting := b.only("rests")
	b.want(0, []string{"pause", resting})

	told := map[string]progress{}
	check := func(c *client, id string) string {
		now, status := c.progress(id)
		if was := told[id]; now.iteration < was.iteration || now.starts < was.starts || now.cursor < was.cursor {
			t.Fatalf("%s went back from %+v to %+v", id, was, now)
		}
		told[id] = now
		return status
	}
	hits := 0
	for range *kills {
		c := b.connect()
		for range 1 + random.IntN(60) {
			check(c, ids[random.IntN(len(ids))])
		}
		if check(c, ids[0]) == "running" {
			hits++
		}
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}

	c := b.connect()
	for _, id := range ids {
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
	t.Logf("%d of %d kills met running loops and cut off %d starts", hits, *kills, cut)
	if 2*hits < *kills || cut < hits {
		t.Errorf("too few kills met work: %d of %d, %d starts cut off", hits, *kills, cut)
	}
	if status := check(c, resting); status != "paused" {
		t.Errorf("the paused loop is %s after the restarts", status)
	}
	for id, ran := range b.effects() {
		if now, _ := c.progress(id); float64(ran) > now.starts {
			t.Errorf("%s: the body ran %d times, charged are %v starts", id, ran, now.starts)
		}
	}
	if n := b.effects()[resting]; n > 0 {
		t.Errorf("the paused loop ran %d times", n)
	}
}

// auditIterations fails unless the loop's iterations are 1 to n without a gap.
func (b *box) auditIterations(c *client, id string, n int) {
	b.t.Helper()
	next, page := 1, ""
	for {
		args := map[string]any{"loop_id": id, "view": "iterations", "limit": 50}
		if page != "" {
			args["page"] = page
		}
		answer, problem := c.call("loop_inspect", args)
		if problem != "" {
			b.t.Fatal(problem)
		}
		items, _ := answer["items"].([]any)
		for _, item := range items {
			it, _ := item.(map[string]any)
			if it["iteration"] != float64(next) {
				b.t.Fatalf("%s: iteration %v stands where %d belongs", id, it["iteration"], next)
			}
			next++
		}
		if page, _ = answer["next_page"].(string); page == "" {
			break
		}
	}
	if next != n+1 {
		b.t.Errorf("%s has %d iterations, want %d", id, next-1, n)
	}
}

// A person is asked what to do about a start that a crash cut off. What it
// left running is gone by then.
func TestCutOffProgramIsGoneWhenSomebodyIsAskedAboutIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("leftovers are found on Linux only; see the package doc of loops/command")
	}
	b := newBox(t)
	b.want(0, []string{"start", b.loop("sleeper", "sleep", "retry: {on_crash: ask}\nuntil: {all: [{kind: claim}]}")})
	id := b.only("sleeper")
	c := b.connect()
	if _, problem := c.call("loop_list", map[string]any{}); problem != "" {
		t.Fatal(problem)
	}
	b.untilFile("pid")
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c = b.connect()
	answer, problem := c.call("loop_wait", map[string]any{"loop_id": id, "wait_seconds": 40})
	if problem != "" || answer["status"] != "needs_input" {
		t.Fatalf("the loop is %v, %s", answer["status"], problem)
	}
	pid := readFile(t, filepath.Join(b.dir, "pid"))
	if data, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(data), ") Z ") {
		t.Errorf("process %s lives on: %s", pid, data)
	}
}
