package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// handlerProgram is what loop-mcp handler runs in these tests: it notes its start
// and its number, waits while there is a file "hold", and says which iteration it
// worked on.
func handlerProgram() int {
	var call struct {
		Key       string `json:"key"`
		Iteration int    `json:"iteration"`
		With      struct {
			Iterations int `json:"iterations"`
		} `json:"with"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&call); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	f, err := os.OpenFile("starts", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	defer f.Close()
	fmt.Fprintln(f, call.Key, os.Getpid(), os.Getenv("LOOP_MCP_PARENT"))
	fmt.Fprintf(os.Stdout, `{"type":"save","memory":{"at":%q}}`+"\n", call.Key)
	for exists("hold") {
		<-time.After(10 * time.Millisecond)
	}
	fmt.Fprintf(os.Stdout, `{"type":"result","output":"iteration %d","done":%t}`+"\n", call.Iteration, call.Iteration >= max(1, call.With.Iterations))
	return 0
}

// handler serves a handler with the test's program.
func (b *box) handler(name string) *started {
	b.t.Helper()
	before := b.env
	b.env = append(slices.Clip(before), "LOOP_HELPER=handler", "LOOP_MCP_PASS_ENV=LOOP_HELPER")
	h := b.start("handler", name, "--", helper)
	b.env = before
	h.until("serving " + name)
	return h
}

// startsSeen are the starts that programs noted: key, number and parent.
func (b *box) startsSeen() [][]string {
	data, _ := os.ReadFile(filepath.Join(b.dir, "starts")) // none yet
	var all [][]string
	for line := range strings.Lines(string(data)) {
		if strings.HasSuffix(line, "\n") {
			all = append(all, strings.Fields(line))
		}
	}
	return all
}

// program waits for the nth start and returns the number of its process.
func (b *box) program(n int) int {
	b.t.Helper()
	b.until(fmt.Sprintf("start %d never began", n), func() bool { return len(b.startsSeen()) >= n })
	pid, err := strconv.Atoi(b.startsSeen()[n-1][1])
	if err != nil {
		b.t.Fatal(err)
	}
	return pid
}

// handled starts a loop of the handler "work" through a tool.
func (c *client) handled(more map[string]any) string {
	c.b.t.Helper()
	arguments := map[string]any{"goal": "test", "name": "remote", "body": map[string]any{"kind": "handler", "name": "work"}}
	maps.Copy(arguments, more)
	s, problem := c.call("loop_start", arguments)
	if problem != "" {
		c.b.t.Fatal(problem)
	}
	return fmt.Sprint(s["loop_id"])
}

func kill(s *started) {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func onLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("leftovers are found on Linux only; see the package doc of loops/command")
	}
}

func TestHandlerServesALoopOfAnMCPClient(t *testing.T) {
	b := newBox(t)
	c := b.opened()
	arguments := map[string]any{"body": map[string]any{"kind": "handler", "name": "work", "with": map[string]any{"iterations": 3}}}
	id := c.handled(arguments)
	s, _ := c.call("loop_inspect", map[string]any{"loop_id": id, "view": "why"})
	if text := fmt.Sprint(s); s["status"] != "queued" || !strings.Contains(text, `nobody serves the handler \"work\"`) && !strings.Contains(text, `nobody serves the handler "work"`) {
		t.Errorf("before anybody serves it: %v", s)
	}
	h := b.handler("work")
	c.until(id, "completed")
	b.want(0, []string{"show", id, "--view", "output"}, "iteration 3")
	seen := b.startsSeen()
	if len(seen) != 3 || seen[2][0] != id+".3" || seen[0][2] != id {
		t.Errorf("the programs saw %v", seen)
	}
	b.want(0, []string{"host"}, "serves a handler")
	h.signal(syscall.SIGTERM)
	if r := h.wait(); r.code != 0 {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	b.env = append(b.env, "LOOP_HELPER=handler", "LOOP_MCP_PASS_ENV=LOOP_HELPER")
	b.start("handler", "work", "--exec", "sh", "--", "-c", "exec \"$0\"", helper).until("serving work")
	c.until(c.handled(nil), "completed")
}

// TestHandlerKilledInTheMiddle: what its program still does is ended, and its
// start runs again or asks, as after any crash.
func TestHandlerKilledInTheMiddle(t *testing.T) {
	onLinux(t)
	for _, onCrash := range []string{"rerun", "ask"} {
		t.Run(onCrash, func(t *testing.T) {
			b := newBox(t)
			c := b.opened()
			h := b.handler("work")
			b.write("hold", "")
			id := c.handled(map[string]any{"retry": map[string]any{"on_crash": onCrash}, "limits": map[string]any{"max_iterations": 2}})
			pid := b.program(1)
			killed := time.Now()
			kill(h)
			if onCrash == "ask" {
				c.until(id, "needs_input")
				b.untilGone(pid)
				b.handler("work")
				if err := os.Remove(filepath.Join(b.dir, "hold")); err != nil {
					t.Fatal(err)
				}
				b.want(0, []string{"approve", id})
			} else {
				b.handler("work")
				b.program(2)
				t.Logf("runs again %s after the kill", time.Since(killed).Round(time.Millisecond))
				b.untilGone(pid)
				if err := os.Remove(filepath.Join(b.dir, "hold")); err != nil {
					t.Fatal(err)
				}
			}
			c.until(id, "completed")
			if p, _ := c.progress(id); p.starts != 2 || p.iteration != 1 || len(b.startsSeen()) != 2 {
				t.Errorf("%+v, programs saw %v", p, b.startsSeen())
			}
		})
	}
}

// TestHandlersKilledAgainAndAgainStopAtTheCap: each kill costs a start, and no
// program runs above the cap.
func TestHandlersKilledAgainAndAgainStopAtTheCap(t *testing.T) {
	onLinux(t)
	b := newBox(t)
	c := b.opened()
	b.write("hold", "")
	id := c.handled(map[string]any{"limits": map[string]any{"max_iterations": 2}})
	for n := 1; n <= 2; n++ {
		h := b.handler("work")
		b.program(n)
		kill(h)
	}
	b.handler("work")
	c.until(id, "capped")
	if p, _ := c.progress(id); p.starts != 2 || len(b.startsSeen()) != 2 {
		t.Errorf("%+v, programs saw %v", p, b.startsSeen())
	}
}

// TestHostKilledInTheMiddleOfAHandlersStart: the server of the store is another
// one when the result comes, and the start has run once.
func TestHostKilledInTheMiddleOfAHandlersStart(t *testing.T) {
	b := newBox(t)
	host := b.handler("other")
	b.handler("work")
	c := b.opened()
	b.write("hold", "")
	id := c.handled(nil)
	b.program(1)
	kill(host)
	if err := os.Remove(filepath.Join(b.dir, "hold")); err != nil { // while nobody may host
		t.Fatal(err)
	}
	c.until(id, "completed")
	if p, _ := c.progress(id); p.starts != 1 || len(b.startsSeen()) != 1 {
		t.Errorf("%+v, programs saw %v", p, b.startsSeen())
	}
}

// TestWorkerKilledInTheMiddleOfAHandlersStart: another server takes the loop; the
// handler ends what it did for the dead one before it begins again.
func TestWorkerKilledInTheMiddleOfAHandlersStart(t *testing.T) {
	b := newBox(t)
	one := b.opened()
	b.handler("work")
	b.write("hold", "")
	id := one.handled(nil)
	pid := b.program(1)
	two := b.opened()
	_ = one.cmd.Process.Kill()
	_ = one.cmd.Wait()
	b.program(2)
	if alive(pid) {
		t.Error("the program of the first start still runs beside that of the second")
	}
	if err := os.Remove(filepath.Join(b.dir, "hold")); err != nil {
		t.Fatal(err)
	}
	two.until(id, "completed")
	if p, _ := two.progress(id); p.starts != 2 || len(b.startsSeen()) != 2 {
		t.Errorf("%+v, programs saw %v", p, b.startsSeen())
	}
}

func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(data), ") Z ")
}

func TestCancelEndsTheProgramOfAHandler(t *testing.T) {
	b := newBox(t)
	c := b.opened()
	b.handler("work")
	b.write("hold", "")
	id := c.handled(nil)
	pid := b.program(1)
	if s, problem := c.call("loop_cancel", map[string]any{"loop_id": id}); problem != "" || s["status"] != "cancelled" {
		t.Errorf("%v, %s", s["status"], problem)
	}
	b.untilGone(pid)
}

func TestWhatHandlerRefuses(t *testing.T) {
	b := newBox(t)
	for text, args := range map[string][]string{
		"needs a name, then -- and a program": {"handler", "work", helper},
		"or --exec and a program":             {"handler", "--exec", helper},
		"a handler's name has":                {"handler", "a b", "--", helper},
		"--starts: must be 1 to 1000":         {"handler", "work", "--starts", "0", "--", helper},
		"was not found on PATH":               {"handler", "work", "--", "no-such-program-here"},
	} {
		b.want(2, args, text)
	}
}
