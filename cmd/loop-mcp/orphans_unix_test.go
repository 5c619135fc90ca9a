//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// brood is a body that leaves processes wherever it can, the first time: in its
// group, in sessions of their own, deaf to SIGHUP, and without a parent.
const brood = `test -e pids && exec echo done at last
stay='echo $$ >> pids; exec sleep 3600'
sh -c "$stay" & setsid sh -c "$stay" & nohup sh -c "$stay" >/dev/null 2>&1 & (setsid sh -c "$stay" &)
while [ "$(wc -l < pids 2>/dev/null || echo 0)" -lt 4 ]; do sleep 0.02; done
echo $$ >> pids; touch ready; exec sleep 3600`

// brooding starts a loop with that body.
func (b *box) brooding(rest string) (id string) {
	b.t.Helper()
	if runtime.GOOS != "linux" {
		b.t.Skip("processes that leave the group are found on Linux only; see the package doc of loops/command")
	}
	b.want(0, []string{"start", b.write("brood.loop.yaml", fmt.Sprintf("name: brood\ngoal: test\nbody: {kind: command, run: [sh, -c, %q]}\nuntil: {all: [{kind: claim}]}\n%s\n", brood, rest))})
	return b.only("brood")
}

// untilAllGone waits until none of the body's processes is left.
func (b *box) untilAllGone() {
	b.t.Helper()
	pids := strings.Fields(readFile(b.t, filepath.Join(b.dir, "pids")))
	if len(pids) < 5 {
		b.t.Fatalf("the body had the processes %v only", pids)
	}
	left := func() (left []string) {
		for _, pid := range pids {
			if runs(pid) {
				left = append(left, pid)
			}
		}
		return left
	}
	b.until("processes of the body are left", func() bool { return len(left()) == 0 })
}

// TestAKilledClientLeavesNoOrphans: the client is killed while a body runs. Its
// server ends, with all that the body started; the loop rests, and the next
// process goes on with it.
func TestAKilledClientLeavesNoOrphans(t *testing.T) {
	b := newBox(t)
	id := b.brooding("")
	client := exec.Command(helper)
	client.Dir, client.Env = b.dir, append(b.env, "LOOP_HELPER=client", "LOOP_PROGRAM="+program)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	b.untilFile("ready")
	if got := len(b.processes()); got != 1 {
		t.Errorf("%d servers run", got)
	}
	_ = client.Process.Kill()
	_ = client.Wait()
	b.until("the server is left", func() bool { return len(b.processes()) == 0 })
	b.untilAllGone()
	if v := b.answer(b.want(0, []string{"show", id, "--json"})); v["status"] != "queued" {
		t.Errorf("the loop is %v", v["status"])
	}
	b.opened().until(id, "completed")
}

// TestAKilledServerLeavesNoOrphans to the next one, which ends them before it
// starts the body again, or asks.
func TestAKilledServerLeavesNoOrphans(t *testing.T) {
	for onCrash, status := range map[string]string{"rerun": "completed", "ask": "needs_input"} {
		t.Run(onCrash, func(t *testing.T) {
			b := newBox(t)
			id := b.brooding("retry: {on_crash: " + onCrash + "}")
			c := b.opened()
			b.untilFile("ready")
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
			b.want(0, []string{"show", id, "--view", "why"}, "it moves while a process that works on loops is open: none is now")
			b.opened().until(id, status)
			b.untilAllGone()
		})
	}
}

// TestACancelAfterAKillEndsWhatIsLeft: the only process that worked on the loop was
// killed. The command that cancels it ends the loop, and what its body left.
func TestACancelAfterAKillEndsWhatIsLeft(t *testing.T) {
	b := newBox(t)
	id := b.brooding("")
	s := b.start("continue", id)
	b.untilFile("ready")
	s.signal(syscall.SIGKILL)
	s.wait()
	b.want(0, []string{"ls"}, id, "queued")
	b.want(0, []string{"show", id}, "queued", "the process that ran it is gone")
	b.want(0, []string{"cancel", id}, "cancelled (cancel.operator)")
	b.untilAllGone()
}

// TestQuickProbesLeaveNothing: clients start a server, look at its tools and kill
// it, two at a time. No store is made by that, and one that is there stays usable.
func TestQuickProbesLeaveNothing(t *testing.T) {
	t.Logf("seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 3))
	b := newBox(t)
	probe := func(look bool) {
		pair := []*client{b.connect(), b.connect()}
		for _, c := range pair {
			if look {
				c.request("tools/list", nil)
			}
		}
		timer := time.NewTimer(time.Duration(random.IntN(40)) * time.Millisecond)
		<-timer.C
		for _, c := range pair {
			_ = c.cmd.Process.Signal([]os.Signal{syscall.SIGKILL, syscall.SIGTERM}[random.IntN(2)])
			_ = c.cmd.Wait()
		}
	}
	for n := range 5 {
		probe(n%2 == 0)
	}
	if exists(filepath.Join(b.dir, "store")) {
		t.Error("a probe made a store")
	}
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)}, "completed")
	for n := range 5 {
		probe(n%2 == 0)
	}
	for range 3 { // killed while it opens the store
		c := b.connect()
		if err := c.send(map[string]any{"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": map[string]any{"name": "loop_list", "arguments": map[string]any{}}}); err != nil {
			t.Fatal(err)
		}
		timer := time.NewTimer(time.Duration(random.IntN(60)) * time.Millisecond)
		<-timer.C
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
	b.want(0, []string{"ls"}, "good-", "completed")
	b.want(0, []string{"verify"})
	b.want(0, []string{"host"}, "No process")
}

// TestANestedLoopSurvivesTheKillOfItsServer: three processes, the server of the
// parent, the command below its body that works on the child, and another server.
// The first is killed in the middle; the other one ends what it left, starts the
// parent's body again, and that finds its child.
func TestANestedLoopSurvivesTheKillOfItsServer(t *testing.T) {
	b := newBox(t)
	child := b.loop("child", "hang", "until: {all: [{kind: claim}]}")
	b.want(0, []string{"start", b.write("parent.loop.yaml", fmt.Sprintf(
		"name: parent\ngoal: test\nbody: {kind: command, run: [%q, run, %q, --request-id, the-child]}\nuntil: {all: [{kind: claim}]}\n", program, child))})
	parent := b.only("parent")
	one := b.opened()
	b.untilFile("again") // the child's body hangs
	nested := b.only("child")
	two := b.opened()
	if got := len(b.processes()); got != 3 {
		t.Errorf("%d processes share the store, want 3", got)
	}
	if _, problem := two.call("loop_inspect", map[string]any{"loop_id": nested}); problem != "" {
		t.Error(problem)
	}
	_ = one.cmd.Process.Kill()
	_ = one.cmd.Wait()
	two.until(parent, "completed")
	two.until(nested, "completed")
	if p, _ := two.progress(parent); p.starts != 2 || p.iteration != 1 {
		t.Errorf("the parent had %v starts for %v iterations, want 2 for 1", p.starts, p.iteration)
	}
	// The command below the dead server's body may take the child up itself, in
	// the moment before it is ended: that start is cut off, too.
	if p, _ := two.progress(nested); p.starts < 2 || p.starts > 3 || p.iteration != 1 {
		t.Errorf("the child had %v starts for %v iterations, want 2 or 3 for 1", p.starts, p.iteration)
	}
	if all, _ := b.answer(b.want(0, []string{"ls", "--json"}))["items"].([]any); len(all) != 2 {
		t.Errorf("there are %d loops: the body started its child twice", len(all))
	}
	b.until("the command below the body is left", func() bool { return len(b.processes()) == 1 })
}

// TestRestoreBesideARunningServer: what a command puts into the store is there
// for the server at once, which works on it.
func TestRestoreBesideARunningServer(t *testing.T) {
	from := newBox(t)
	from.want(0, []string{"start", from.loop("slow", "slow", "until: {all: [{kind: claim}]}")})
	from.want(0, []string{"run", from.loop("good", "count", scoreThree)}, "completed")
	id, copied := from.only("slow"), filepath.Join(from.dir, "loops.zip")
	from.want(0, []string{"backup", copied})
	from.write("go-on", "") // the loop's folder is that of the other box

	b := newBox(t)
	c := b.opened()
	b.want(0, []string{"restore", copied})
	c.until(id, "completed")
	c.until(from.only("good"), "completed")
	b.want(1, []string{"restore", copied}, "has loops")
}
