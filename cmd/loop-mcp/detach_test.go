package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// detached starts a background server that the test ends.
func (b *box) detached(args ...string) (pid int) {
	b.t.Helper()
	v := b.answer(b.want(0, append([]string{"serve", "--detach", "--json"}, args...)))
	if v["started"] != true {
		b.t.Errorf("it did not start: %v", v)
	}
	f, _ := v["pid"].(float64)
	pid = int(f)
	b.t.Cleanup(func() { b.endProcess(pid) })
	return pid
}

// endProcess asks a process that is no child of the test to end, and waits
// until it has.
func (b *box) endProcess(pid int) {
	b.t.Helper()
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	_ = p.Signal(syscall.SIGTERM) // it may be gone
	b.untilGone(pid)
}

// untilGone waits until a process takes no part in the store any more.
func (b *box) untilGone(pid int) {
	b.t.Helper()
	b.until(fmt.Sprintf("process %d is still there", pid), func() bool { return !contains(b.processes(), pid) })
}

// until waits for something to be so.
func (b *box) until(problem string, so func() bool) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !so(); {
		select {
		case <-tick.C:
		case <-late:
			b.t.Fatal(problem)
		}
	}
}

func contains(list []any, pid int) bool {
	for _, one := range list {
		if v, _ := one.(map[string]any); v["pid"] == float64(pid) {
			return true
		}
	}
	return false
}

// processes are those that loop-mcp host shows.
func (b *box) processes() []any {
	b.t.Helper()
	list, _ := b.answer(b.want(0, []string{"host", "--json"}))["processes"].([]any)
	return list
}

// TestTheBackgroundServerFinishesWhatTheClientLeft: the client goes away in the
// middle, the loop goes on to its end, and then the server ends by itself.
func TestTheBackgroundServerFinishesWhatTheClientLeft(t *testing.T) {
	b := newBox(t)
	pid := b.detached("--idle", "1s")
	b.want(0, []string{"host"}, fmt.Sprintf("Process %d hosts", pid), fmt.Sprintf("process %d, works in the background", pid))
	c := b.opened()
	b.want(0, []string{"start", b.loop("slow", "slow", "until: {all: [{kind: claim}]}")}, fmt.Sprintf("It goes on until it settles: a background server is running (process %d)", pid))
	id := b.only("slow")
	c.until(id, "running")
	s, _ := c.call("loop_inspect", map[string]any{"loop_id": id})
	if want := fmt.Sprintf("until it settles: a background server is running (process %d)", pid); s["runs_while"] != want {
		t.Errorf("runs_while is %q, want %q", s["runs_while"], want)
	}
	c.close()
	b.write("go-on", "")
	b.until("the loop was not finished", func() bool { return b.answer(b.want(0, []string{"show", id, "--json"}))["status"] == "completed" })
	b.untilGone(pid)
	log := readFile(t, filepath.Join(b.dir, "store", "background.log"))
	for _, line := range []string{"works on loops", "nothing has wanted this process", "has ended"} {
		if !strings.Contains(log, line) {
			t.Errorf("the log does not say %q:\n%s", line, log)
		}
	}
	b.want(0, []string{"host"}, "No process")
}

// TestASecondBackgroundServerFindsTheFirst, also when several are started at once.
func TestASecondBackgroundServerFindsTheFirst(t *testing.T) {
	b := newBox(t)
	var asked sync.WaitGroup
	answers := make([]result, 4)
	for n := range answers {
		asked.Go(func() { answers[n] = b.finish(b.command("serve", "--detach", "--json")) })
	}
	asked.Wait()
	var pid any
	began := 0
	for _, r := range answers {
		if r.code != 0 {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		v := b.answer(r)
		if v["started"] == true {
			began++
		}
		if pid == nil {
			pid = v["pid"]
		}
		if v["pid"] != pid {
			t.Errorf("there are two: %v and %v", pid, v["pid"])
		}
	}
	if began != 1 {
		t.Errorf("%d say that they have started it", began)
	}
	f, _ := pid.(float64)
	defer b.endProcess(int(f))
	b.want(0, []string{"serve", "--detach"}, fmt.Sprintf("running already: process %d", int(f)))
}

// TestSIGTERMLetsLoopsRest: the background server is told to end while a body
// runs; the loop rests, and the next process goes on with it.
func TestSIGTERMLetsLoopsRest(t *testing.T) {
	b := newBox(t)
	pid := b.detached()
	b.want(0, []string{"start", b.loop("hangs", "hang", "until: {all: [{kind: claim}]}")})
	id := b.only("hangs")
	b.untilFile("again")
	b.endProcess(pid)
	if v := b.answer(b.want(0, []string{"show", id, "--json"})); v["status"] != "queued" || v["runs_while"] != "a process that works on loops is open: none is now" {
		t.Errorf("the loop is %v, runs while %v", v["status"], v["runs_while"])
	}
	b.want(0, []string{"show", id}, "It goes on with a process that works on loops: an MCP server, loop-mcp serve --detach")
	b.want(0, []string{"continue", id}, "completed")
}

// TestABackgroundServerStaysForALoopThatWaits and not for one that a person has
// to move.
func TestABackgroundServerStaysForALoopThatWaits(t *testing.T) {
	b := newBox(t)
	b.want(6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	pid := b.detached("--idle", "1s")
	b.want(0, []string{"start", b.loop("later", "effect", "delay: 3s\nuntil: {all: [{kind: predicate, expression: iteration >= 2}]}")})
	later := b.only("later")
	b.until("the loop that waited was not finished", func() bool { return b.answer(b.want(0, []string{"show", later, "--json"}))["status"] == "completed" })
	b.untilGone(pid)
	b.want(0, []string{"ls", "--status", "needs_input"}, "human-")
}

// TestABackgroundServerThatCannotStart says why, and leaves nothing.
func TestABackgroundServerThatCannotStart(t *testing.T) {
	b := newBox(t)
	b.write("store/store", "") // a file where the folder belongs
	b.want(1, []string{"serve", "--detach"}, "start the background server", filepath.Join(b.dir, "store", "store"))
	b.want(0, []string{"host"}, "No process")
	b.want(2, []string{"serve", "--detach", "--idle", "10ms"}, "--idle")
	b.want(2, []string{"serve", "--idle", "1h"}, "--detach")
	b.env = append(b.env, "LOOP_MCP_PARENT=demo-abcd")
	b.want(1, []string{"serve", "--detach"}, "below loop demo-abcd")
}

func TestTheLogOfTheBackgroundServerIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	files := 0
	l, err := openLog(path, 1000, func(*os.File) error { files++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range 105 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{path: 500, path + ".1": 1000} {
		if info, err := os.Stat(name); err != nil || info.Size() != want {
			t.Errorf("%s: %v, %v, want %d bytes", name, info, err, want)
		}
	}
	if files != 11 {
		t.Errorf("%d files were begun", files)
	}
}
