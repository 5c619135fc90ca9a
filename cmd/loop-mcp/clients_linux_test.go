package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wild is a server whose client is the test, byte by byte.
type wild struct {
	b           *box
	cmd         *exec.Cmd
	in          io.WriteCloser
	out, errOut io.ReadCloser
	lines       *bufio.Reader
}

func (b *box) wild(args ...string) *wild {
	b.t.Helper()
	w := &wild{b: b, cmd: b.command(args...)}
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		b.t.Fatal(err)
	}
	if w.out, err = w.cmd.StdoutPipe(); err != nil {
		b.t.Fatal(err)
	}
	if w.errOut, err = w.cmd.StderrPipe(); err != nil {
		b.t.Fatal(err)
	}
	w.lines = bufio.NewReaderSize(w.out, 1<<20)
	if err := w.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	hang := time.AfterFunc(2*time.Minute, func() { _ = w.cmd.Process.Kill() })
	b.t.Cleanup(func() {
		hang.Stop()
		if w.cmd.ProcessState == nil {
			_ = w.cmd.Process.Kill()
			_ = w.cmd.Wait()
		}
	})
	return w
}

func (w *wild) write(text string) {
	w.b.t.Helper()
	if _, err := io.WriteString(w.in, text); err != nil {
		w.b.t.Fatalf("write to the server: %v", err)
	}
}

// vanish closes all that a killed client had open.
func (w *wild) vanish() {
	w.in.Close()
	w.out.Close()
	w.errOut.Close()
}

// wildReply is a line of the server's.
type wildReply struct {
	ID     json.RawMessage
	Method string
	Params struct{ ProgressToken, Progress any }
	Result map[string]any
	Error  *struct{ Code int }
}

func (w *wild) next() wildReply {
	w.b.t.Helper()
	line, err := w.lines.ReadBytes('\n')
	var r wildReply
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		w.b.t.Fatalf("the server wrote %.200q: %v", line, err)
	}
	return r
}

// answer waits for the answer with the id.
func (w *wild) answer(id string) wildReply {
	w.b.t.Helper()
	for {
		if r := w.next(); string(r.ID) == id {
			return r
		}
	}
}

func request(id int, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`+"\n", id, method, params)
}

func callTool(id int, tool, arguments, token string) string {
	if token != "" {
		token = `,"_meta":{"progressToken":"` + token + `"}`
	}
	return request(id, "tools/call", fmt.Sprintf(`{"name":%q,"arguments":%s%s}`, tool, arguments, token))
}

const helloServer = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"wild","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
`

// memory is how much a process has in memory now and had at most, in kB.
func memory(t testing.TB, pid int) (now, most int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		switch fields := strings.Fields(line); fields[0] {
		case "VmRSS:":
			now, _ = strconv.Atoi(fields[1])
		case "VmHWM:":
			most, _ = strconv.Atoi(fields[1])
		}
	}
	return now, most
}

// works is where the bodies of trusted loop files work.
const works = "config/loop-mcp/loops"

// trusted makes a loop file known to servers by its name.
func (b *box) trusted(name, role, rest string) {
	b.write(works+"/"+name+".loop.yaml", readFile(b.t, b.loop(name, role, rest)))
}

// startLoop starts a trusted loop file over c and returns the loop's id.
func (c *client) startLoop(name string) string {
	c.b.t.Helper()
	answer, problem := c.call("loop_start", map[string]any{"loop_file": name})
	if problem != "" {
		c.b.t.Fatal(problem)
	}
	return answer["loop_id"].(string)
}

// endless goes on for thirty iterations, whatever they say.
const endless = "until: {all: [{kind: predicate, expression: 'false'}]}\nlimits: {max_passes: 30, max_iterations: 30}\nstall: {passes: 0}"

// TestAClientThatNeverReads asks for progress two hundred times over and reads
// nothing: 24,000 events later the server has not grown by more than with a
// client that reads, the loop has gone on, others were served, and who reads at
// last finds every answer.
func TestAClientThatNeverReads(t *testing.T) {
	read := memoryOfWaits(t, true)
	unread := memoryOfWaits(t, false)
	t.Logf("at most %d kB with a client that reads, %d kB with one that does not", read, unread)
	if unread > read+16<<10 {
		t.Errorf("the server has %d kB, and %d kB when its client reads", unread, read)
	}
}

// memoryOfWaits is how much a server has in memory at most while two hundred
// calls wait for a loop of thirty iterations, in kB.
func memoryOfWaits(t *testing.T, reads bool) int {
	b := newBox(t)
	b.trusted("job", "slow", endless)
	w := b.wild("serve")
	w.write(helloServer + callTool(1, "loop_start", `{"loop_file":"job"}`, ""))
	loop, _ := w.answer("1").Result["structuredContent"].(map[string]any)
	id := fmt.Sprint(loop["loop_id"])
	const calls = 200
	for n := range calls {
		w.write(callTool(100+n, "loop_wait", fmt.Sprintf(`{"loop_id":%q,"for":"settled","wait_seconds":50}`, id), fmt.Sprint("token", n)))
	}
	read := make(chan struct{})
	answers := func() { defer close(read); w.readAnswers(calls) }
	if reads {
		go answers()
	}
	b.write(works+"/go-on", "")
	other := b.connect()
	second, problem := other.call("loop_wait", map[string]any{"loop_id": id, "for": "settled", "wait_seconds": 50})
	if problem != "" || second["status"] != "capped" {
		t.Errorf("another client sees %v, %s", second["status"], problem)
	}
	_, most := memory(t, w.cmd.Process.Pid)
	if !reads {
		go answers()
	}
	<-read
	w.in.Close()
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	return most
}

// readAnswers reads the answers to waits, and the progress before them.
func (w *wild) readAnswers(calls int) {
	notified := map[string]int{}
	for answered := 0; answered < calls; {
		var r wildReply
		line, err := w.lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &r)
		}
		if err != nil {
			w.b.t.Errorf("the server wrote %.200q: %v", line, err)
			return
		}
		if r.Method != "" {
			notified[fmt.Sprint(r.Params.ProgressToken)]++
			continue
		}
		loop, _ := r.Result["structuredContent"].(map[string]any)
		if answered++; loop["status"] != "capped" || loop["timed_out"] == true {
			w.b.t.Errorf("call %s is answered with %v", r.ID, loop["summary"])
		}
	}
	for token, n := range notified {
		if n > 60 {
			w.b.t.Errorf("%s got %d notifications: they were kept and not joined", token, n)
		}
	}
}

// TestHalfALineAndSilence: nobody waits for the other half but who sends it.
func TestHalfALineAndSilence(t *testing.T) {
	b := newBox(t)
	b.trusted("job", "count", endless)
	w := b.wild("serve")
	w.write(helloServer)
	w.answer("0")
	line := callTool(7, "loop_list", `{}`, "")
	w.write(line[:len(line)/2])
	other := b.connect()
	id := other.startLoop("job")
	if answer, problem := other.call("loop_wait", map[string]any{"loop_id": id, "for": "settled", "wait_seconds": 50}); problem != "" || answer["status"] != "capped" {
		t.Errorf("another client's loop is %v, %s", answer, problem)
	}
	w.write(line[len(line)/2:])
	if r := w.answer("7"); r.Error != nil {
		t.Errorf("the whole line is answered with %+v", r.Error)
	}
	w.write(line[:len(line)/2])
	w.in.Close()
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestAClientThatGoesAway in any way leaves a loop that rests at its last
// checkpoint and no process, and the next client's server goes on with it.
func TestAClientThatGoesAway(t *testing.T) {
	for name, tt := range map[string]struct {
		leave func(w *wild)
		code  int // -2: any, but no signal
	}{
		"closes stdin in the middle of a call": {func(w *wild) { w.in.Close(); go io.Copy(io.Discard, w.out) }, 0},
		"closes stdout":                        {func(w *wild) { w.out.Close(); w.write(callTool(3, "loop_list", `{}`, "")) }, 1},
		"is killed":                            {(*wild).vanish, -2},
		"is killed with a call on its way":     {func(w *wild) { w.write(callTool(3, "loop_list", `{}`, "")); w.vanish() }, -2},
		"is killed in the middle of a line":    {func(w *wild) { w.write(`{"jsonrpc":"2.0","id":3,"met`); w.vanish() }, -2},
		"closes its terminal":                  {func(w *wild) { _ = w.cmd.Process.Signal(syscall.SIGHUP) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.trusted("job", "sleep", endless)
			w := b.wild("serve", "--log-level", "debug")
			w.write(helloServer + callTool(1, "loop_start", `{"loop_file":"job"}`, ""))
			loop, _ := w.answer("1").Result["structuredContent"].(map[string]any)
			id := fmt.Sprint(loop["loop_id"])
			b.untilFile(works + "/pid")
			body := readFile(t, filepath.Join(b.dir, works, "pid"))
			w.write(callTool(2, "loop_wait", fmt.Sprintf(`{"loop_id":%q,"for":"settled","wait_seconds":50}`, id), "token"))
			if name != "is killed" {
				go io.Copy(io.Discard, w.errOut)
			}
			tt.leave(w)
			err := w.cmd.Wait()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			state := w.cmd.ProcessState
			if code := state.ExitCode(); code < 0 || tt.code >= 0 && code != tt.code {
				t.Errorf("it ended with %v, want exit code %d", state, tt.code)
			}
			if number, _ := strconv.Atoi(body); syscall.Kill(number, 0) == nil {
				t.Errorf("the body %s is still there", body)
				_ = syscall.Kill(number, syscall.SIGKILL)
			}
			b.want(0, []string{"show", id}, id, "starts 1/30")
			b.want(0, []string{"verify"})
		})
	}
}

// TestAServerThatIsToldToEndEndsWell: with 0, and without a word about its client's
// pipe, which nobody has closed. The keyboard interrupts it.
func TestAServerThatIsToldToEndEndsWell(t *testing.T) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGTERM: 0, syscall.SIGHUP: 0, syscall.SIGINT: 130} {
		w := newBox(t).wild("serve")
		w.write(helloServer)
		w.answer("0")
		_ = w.cmd.Process.Signal(signal)
		said, _ := io.ReadAll(w.errOut)
		if _ = w.cmd.Wait(); w.cmd.ProcessState.ExitCode() != code || len(said) > 0 {
			t.Errorf("after %s it ended with %v and said %q", signal, w.cmd.ProcessState, said)
		}
	}
}

// TestRunWhoseTerminalCloses leaves no body behind, and a loop that rests.
func TestRunWhoseTerminalCloses(t *testing.T) {
	b := newBox(t)
	s := b.start("run", b.loop("job", "sleep", endless))
	b.untilFile("pid")
	s.signal(syscall.SIGHUP)
	if r := s.wait(); r.code != 130 {
		t.Errorf("it ended with %v: %s", s.cmd.ProcessState, r.stderr)
	}
	body, _ := strconv.Atoi(readFile(t, filepath.Join(b.dir, "pid")))
	if syscall.Kill(body, 0) == nil {
		t.Error("the body is still there")
		_ = syscall.Kill(body, syscall.SIGKILL)
	}
	b.want(0, []string{"show", b.only("job")}, "starts 1/30")
}

// TestRunIntoAPipeThatCloses, as in `loop-mcp run … 2>&1 | head`: it ends, and
// the loop rests.
func TestRunIntoAPipeThatCloses(t *testing.T) {
	b := newBox(t)
	w := b.wild("run", b.loop("job", "slow", endless))
	w.in.Close()
	_, _ = bufio.NewReaderSize(w.errOut, 1).ReadByte()
	w.vanish()
	b.write("go-on", "")
	if err := w.cmd.Wait(); w.cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("it ended with %v", err)
	}
	if r := b.run("show", b.only("job")); strings.Contains(r.stdout, "capped") || r.code != 0 {
		t.Errorf("the loop did not rest: %d %s", r.code, r.stdout)
	}
}
