package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/internal/kepttest"
	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
)

// program is the built loop-mcp, helper the test binary itself: with
// LOOP_HELPER in its environment it is a worker of a loop.
var program, helper string

func TestMain(m *testing.M) {
	clustertest.Main()
	if role := os.Getenv("LOOP_HELPER"); role != "" {
		os.Exit(work(role))
	}
	// Below nohup hang-ups are ignored, and programs inherit that from the tests;
	// not so what is caught.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(build4tests(m))
}

func build4tests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loop-mcp")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "loop-mcp")
	build := exec.Command("go", "build", "-tags", "grpcnotrace", "-trimpath", "-ldflags", "-s -w", "-o", program, ".") // as make build does
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	if helper, err = os.Executable(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return leaktest.Run(m)
}

// work is what the bodies of the tests do. It returns the exit code.
func work(role string) int {
	switch role {
	case "tools":
		return serveTools()
	case "handler":
		return handlerProgram()
	}
	if role == "client" {
		return keepClient()
	}
	stdin, _ := io.ReadAll(os.Stdin)
	iteration := os.Getenv("LOOP_ITERATION")
	switch role {
	case "count": // the number of the iteration as text and score
		fmt.Fprintf(os.Stdout, `{"output": "pass %s", "score": %s}`, iteration, iteration)
	case "same":
		fmt.Fprint(os.Stdout, "the same again")
	case "fail":
		fmt.Fprint(os.Stderr, "no luck today")
		return 1
	case "escape": // text that tries to steer a terminal
		fmt.Fprint(os.Stdout, "\x1b]0;evil\x07\x1b[2Jred ", iteration)
	case "echo":
		fmt.Fprint(os.Stdout, string(stdin))
	case "talk": // until it is told to go on
		fmt.Fprint(os.Stdout, "reading\x1b]0;evil\x07 main.go\n\x1b[2J世界\n")
		for !exists("go-on") {
			<-time.After(10 * time.Millisecond)
		}
	case "sleep": // for an hour; says under which number
		if os.WriteFile("pid.new", []byte(strconv.Itoa(os.Getpid())), 0o600) != nil || os.Rename("pid.new", "pid") != nil {
			return 1
		}
		<-time.After(time.Hour)
	case "hang": // only the first time
		if !exists("again") && os.WriteFile("again", nil, 0o600) == nil {
			<-time.After(time.Hour)
		}
		fmt.Fprint(os.Stdout, "done at last")
	case "effect": // leaves a mark that the outside world sees
		f, err := os.OpenFile("effects", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return 1
		}
		defer f.Close()
		fmt.Fprintln(f, os.Getenv("LOOP_ID"), iteration)
		fmt.Fprint(os.Stdout, "iteration ", iteration)
	case "slow": // until it is told to go on
		if os.WriteFile("begun", nil, 0o600) != nil {
			return 1
		}
		for !exists("go-on") {
			<-time.After(10 * time.Millisecond)
		}
		fmt.Fprintf(os.Stdout, `{"output": "pass %s", "score": %s}`, iteration, iteration)
	}
	return 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// box is a user's machine: a working folder, a store, a configuration.
type box struct {
	t     testing.TB
	dir   string
	env   []string
	as    func(*exec.Cmd) // makes a process run as another user; nil: as this one
	plain string          // the built program, where that user may run it; empty: program
}

func newBox(t testing.TB) *box {
	t.Helper()
	dir := kepttest.Dir(t)
	env := append(os.Environ(), "LOOP_MCP_HOME="+filepath.Join(dir, "store"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"),
		"HOME="+dir, "LOOP_HELPER=", "NO_COLOR=")
	return &box{t: t, dir: dir, env: env}
}

// write puts a file into the working folder and returns its path.
func (b *box) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// loop writes a loop file whose body is a role of work. A program built with the
// race detector waits a second at its end unless it is told not to.
func (b *box) loop(name, role, rest string) string {
	b.t.Helper()
	return b.write(name+".loop.yaml", fmt.Sprintf("name: %s\ngoal: test\nbody: {kind: command, run: [%q], env: {LOOP_HELPER: %s, GORACE: atexit_sleep_ms=0}}\n%s\n", name, helper, role, rest))
}

// result is what a finished process left.
type result struct {
	code           int
	stdout, stderr string
}

func (b *box) command(args ...string) *exec.Cmd {
	cmd := exec.Command(cmp.Or(b.plain, program), args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	if b.as != nil {
		b.as(cmd)
	}
	return cmd
}

// run runs loop-mcp to its end, with nothing on standard input.
func (b *box) run(args ...string) result {
	b.t.Helper()
	return b.finish(b.command(args...))
}

func (b *box) finish(cmd *exec.Cmd) result {
	b.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return result{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// want fails unless loop-mcp ends with the code and says all of the texts.
func (b *box) want(code int, args []string, texts ...string) result {
	b.t.Helper()
	r := b.run(args...)
	if r.code != code {
		b.t.Errorf("loop-mcp %s: exit code %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			b.t.Errorf("loop-mcp %s does not say %q\nstdout: %s\nstderr: %s", strings.Join(args, " "), text, r.stdout, r.stderr)
		}
	}
	return r
}

// answer is the JSON that a command printed.
func (b *box) answer(r result) map[string]any {
	b.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		b.t.Fatalf("stdout is no JSON: %v\n%s\nstderr: %s", err, r.stdout, r.stderr)
	}
	return v
}

// started is a loop-mcp that runs.
type started struct {
	b      *box
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr *watched
}

func (b *box) start(args ...string) *started {
	b.t.Helper()
	s := &started{b: b, cmd: b.command(args...), stderr: newWatched()}
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, s.stderr
	if err := s.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	return s
}

func (s *started) signal(sig syscall.Signal) {
	s.b.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.b.t.Fatal(err)
	}
}

func (s *started) wait() result {
	s.b.t.Helper()
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		s.b.t.Fatal(err)
	}
	return result{code: s.cmd.ProcessState.ExitCode(), stdout: s.stdout.String(), stderr: s.stderr.text()}
}

// watched collects output and tells who waits for a text.
type watched struct {
	lock chan struct{}
	buf  bytes.Buffer
	grew chan struct{}
}

func newWatched() *watched {
	return &watched{lock: make(chan struct{}, 1), grew: make(chan struct{}, 1)}
}

func (w *watched) Write(p []byte) (int, error) {
	w.lock <- struct{}{}
	defer func() { <-w.lock }()
	select {
	case w.grew <- struct{}{}:
	default:
	}
	return w.buf.Write(p)
}

func (w *watched) text() string {
	w.lock <- struct{}{}
	defer func() { <-w.lock }()
	return w.buf.String()
}

// until waits for a text on stderr.
func (s *started) until(text string) {
	s.b.t.Helper()
	late := time.After(time.Minute)
	for !strings.Contains(s.stderr.text(), text) {
		select {
		case <-s.stderr.grew:
		case <-late:
			s.b.t.Fatalf("stderr never said %q: %s", text, s.stderr.text())
		}
	}
}

// untilFile waits for a file that a body writes.
func (b *box) untilFile(name string) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !exists(filepath.Join(b.dir, name)); {
		select {
		case <-tick.C:
		case <-late:
			b.t.Fatalf("no body wrote %s", name)
		}
	}
}

func number(v any) string {
	f, _ := v.(float64)
	return strconv.Itoa(int(f))
}
