//go:build unix

package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"github.com/google/go-cmp/cmp"
)

func toolNamesOf(s agent.Session) []string {
	var names []string
	for _, tool := range s.Tools() {
		names = append(names, tool.Name)
	}
	return names
}

func find(t *testing.T, s agent.Session, name string) agent.Tool {
	t.Helper()
	i := slices.IndexFunc(s.Tools(), func(tool agent.Tool) bool { return tool.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s in %q", name, toolNamesOf(s))
	}
	return s.Tools()[i]
}

func TestToolsOfAServer(t *testing.T) {
	server := fakeServer("paged")
	server.PricePerCallUSD = map[string]loops.USD{"echo": 5000}
	server.Approve = []string{"fake__cr*"}
	server.ReadOnly = []string{"web.search", "!echo"}
	server.Idempotent = []string{"fake__pid"}
	w := newWorld(t, map[string]Server{"fake": server})
	s := w.open("fake__*", "!fake__huge")
	names := toolNamesOf(s)
	if !slices.IsSorted(names) || len(names) != len(fakeTools)-1 || slices.Contains(names, "fake__huge") {
		t.Errorf("the tools are %q", names)
	}
	schema := json.RawMessage(`{"type":"object","x-kept":[true]}`)
	for _, want := range []agent.Tool{
		{Name: "fake__echo", Description: "does echo", Schema: schema, Price: 5000, Destructive: true},
		{Name: "fake__crash", Description: "does crash", Schema: json.RawMessage(`{"type":"object"}`), Approve: true, Destructive: true},
		{Name: "fake__env", Description: "does env", Schema: schema, Idempotent: true},
		{Name: "fake__pid", Description: "does pid", Schema: schema, Idempotent: true, Destructive: true},
		{Name: shortened("fake__web.search", ""), Description: "does web.search", Schema: schema, ReadOnly: true},
	} {
		if diff := cmp.Diff(want, find(t, s, want.Name)); diff != "" {
			t.Error(diff)
		}
	}
	if got := w.says(s, shortened("fake__web.search", ""), `{"q":1}`); got != `{"q":1}` {
		t.Errorf("a renamed tool said %s", got)
	}
}

func TestTheSameLoopGetsTheSameSession(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer()})
	first := w.open("*")
	pid := w.says(first, "fake__pid", "")
	second := w.open("*")
	if got := w.says(second, "fake__pid", ""); got != pid || first != second {
		t.Errorf("the second session runs in process %s, the first in %s", got, pid)
	}
	other, err := w.box.Open(t.Context(), "other-bbbb", w.dir, []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.says(other, "fake__pid", ""); got == pid {
		t.Error("two loops share a process")
	}
	if diff := cmp.Diff(first.Tools(), other.Tools()); diff != "" {
		t.Errorf("the list changes: %s", diff)
	}
}

func TestOnlyWhatIsMeantIsStarted(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	w := newWorld(t, map[string]Server{"fake": fakeServer(), "other": fakeServer("log=" + log)})
	if err := w.box.Check([]string{"other__echo"}); err != nil {
		t.Error(err)
	}
	w.open("*", "!other__*")
	if _, err := os.Stat(log); err == nil {
		t.Error("a server was started that no pattern means")
	}
}

func TestPatternsAreCheckedAgainstTheTools(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer()})
	for _, tt := range []struct{ patterns, want string }{
		{"fake__ecko", `tools[0]: "fake__ecko" means a tool that the MCP server fake does not offer, did you mean fake__echo?`},
		{"fake__* !fake__ecko", `tools[1]: "!fake__ecko"`},
		{"flake__*", `did you mean fake?`},
	} {
		_, err := w.box.Open(t.Context(), theLoop, w.dir, strings.Fields(tt.patterns))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, loops.ErrInvalid) {
			t.Errorf("%q gives %v, want %q", tt.patterns, err, tt.want)
		}
	}
	if got := toolNamesOf(w.open("fake__web.search", "fake__nothing*")); len(got) != 1 {
		t.Errorf("the tools are %q", got)
	}
	if got := toolNamesOf(w.open()); len(got) != 0 {
		t.Errorf("without patterns the tools are %q", got)
	}
}

func TestCalls(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer("banner")})
	s := w.open("*")
	for name, tt := range map[string]struct {
		tool, args string
		want       agent.Outcome
	}{
		"arguments":                {"echo", `{"n":12345678901234567890}`, agent.Outcome{Text: `{"n":12345678901234567890}`}},
		"no arguments":             {"echo", "", agent.Outcome{Text: "{}"}},
		"null for arguments":       {"echo", " null ", agent.Outcome{Text: "{}"}},
		"a list for arguments":     {"echo", "[1]", agent.Outcome{Error: true, Text: "the arguments must be a JSON object, got [1]"}},
		"broken arguments":         {"echo", `{"a":`, agent.Outcome{Error: true, Text: `the arguments must be a JSON object, got {"a":`}},
		"a tool that fails":        {"fail", "{}", agent.Outcome{Error: true, Text: "no such file"}},
		"a server that refuses":    {"refuse", "{}", agent.Outcome{Error: true, Text: "the server refused the call: the disk is full"}},
		"a tool that is not there": {"ecko", "{}", agent.Outcome{Error: true, Text: "there is no tool fake__ecko, did you mean fake__echo?"}},
		"much on all streams":      {"flood", "{}", agent.Outcome{Text: "dry"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Call(t.Context(), "fake__"+tt.tool, json.RawMessage(tt.args))
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
	if got := w.says(s, "fake__ping", "{}"); !strings.Contains(got, `"id":1,"result":{}`) || !strings.Contains(got, `"id":2,"error"`) {
		t.Errorf("the server's own requests were answered with %s", got)
	}
	if got := w.says(s, "fake__huge", "{}"); !strings.Contains(got, "[cut here: the result is 8388808 bytes long") {
		t.Errorf("a huge result ends with %q", got[len(got)-100:])
	}
}

func TestWhatAServerSees(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "secret")
	t.Setenv("GH_TOKEN", "passed")
	server := fakeServer()
	server.Env = map[string]string{"OWN": "1"}
	server.Cwd = "sub"
	w := worldOf(t, Config{PassEnv: []string{"GH_TOKEN"}, Servers: map[string]Server{"fake": server}})
	if err := os.Mkdir(filepath.Join(w.dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, _ := filepath.EvalSymlinks(filepath.Join(w.dir, "sub"))
	env := strings.Split(w.says(w.open("*"), "fake__env", ""), "\n")
	for _, want := range []string{"OWN=1", "GH_TOKEN=passed", "PATH=" + os.Getenv("PATH"), "LOOP_MCP_PARENT=" + string(theLoop), "LOOP_ID=" + string(theLoop), "CWD=" + dir} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %q", want, env)
		}
	}
	for _, pair := range env {
		if strings.HasPrefix(pair, "OPENAI_API_KEY") || strings.HasPrefix(pair, "LOOP_ITERATION") || strings.HasPrefix(pair, "LOOP_PASS") {
			t.Errorf("the server sees %s", pair)
		}
	}
}

func TestServersThatDoNotStart(t *testing.T) {
	short := func(s Server) Server {
		s.StartTimeout = loops.Duration(2 * time.Second)
		return s
	}
	nested := fakeServer()
	self := nested.Command
	for name, tt := range map[string]struct {
		server Server
		want   []string
	}{
		"one that dies":                {fakeServer("dies"), []string{"exit 2", "no token: set FAKE_TOKEN"}},
		"one that says why on stdout":  {fakeServer("complains-on-stdout"), []string{"exit 2", "no token: set FAKE_TOKEN"}},
		"one that does not answer":     {short(fakeServer("mute")), []string{"did not list its tools within 2s (start_timeout)", "fake server here"}},
		"one whose list has no end":    {fakeServer("pages-without-end"), []string{"more than 1000 pages"}},
		"a program that is not there":  {Server{Command: "no-such-program"}, []string{`mcp_servers.bad.command: the program "no-such-program" was not found on PATH`}},
		"a folder that is not there":   {Server{Command: "/bin/cat", Cwd: "nowhere"}, []string{"mcp_servers.bad.cwd: the folder", "does not exist"}},
		"a variable that is ours":      {Server{Command: "/bin/cat", Env: map[string]string{"LOOP_MCP_PARENT": "x"}}, []string{"mcp_servers.bad.env.LOOP_MCP_PARENT: is set by loop-mcp itself"}},
		"a program that is no server":  {Server{Command: "/bin/sh", Args: []string{"-c", "exec cat >/dev/null"}}, []string{"it closed its output; its process still runs"}},
		"this program by another path": {Server{Command: "./self"}, []string{"mcp_servers.bad.command: is loop-mcp itself"}},
	} {
		t.Run(name, func(t *testing.T) {
			box, err := New(Config{Servers: map[string]Server{"bad": tt.server, "good": fakeServer()}}, &Options{Self: filepath.Join(t.TempDir(), "none")})
			if err != nil {
				t.Fatal(err)
			}
			w := &world{T: t, box: box, dir: t.TempDir()}
			t.Cleanup(w.close)
			if tt.server.Command == "./self" {
				if err := os.Symlink(self, filepath.Join(w.dir, "self")); err != nil {
					t.Fatal(err)
				}
				box.self = self
			}
			if tt.server.Command == "./self" {
				delete(box.servers, "good")
			}
			_, err = box.Open(t.Context(), theLoop, w.dir, []string{"*"})
			for _, want := range append(tt.want, "the MCP server bad did not start") {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func TestASlowStart(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer("slow")})
	w.says(w.open("*"), "fake__echo", "")
}

func TestServersOfTheOlderEraThatDieOfAQuestion(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	w := newWorld(t, map[string]Server{"fake": fakeServer("strict", "log="+log)})
	s := w.open("*")
	if got := w.says(s, "fake__echo", `{"a":1}`); got != `{"a":1}` {
		t.Errorf("it said %s", got)
	}
	if got := strings.Count(strings.Join(w.log(log), " "), "start"); got != 2 {
		t.Errorf("it was started %d times, want 2", got)
	}
	s.Call(t.Context(), "fake__crash", nil)
	w.says(s, "fake__echo", "")
	if got := strings.Count(strings.Join(w.log(log), " "), "start"); got != 3 {
		t.Errorf("the lesson was not learnt: it was started %d times, want 3", got)
	}
}

func TestAnOutcomeThatNobodyKnows(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	w := newWorld(t, map[string]Server{"fake": fakeServer("log=" + log)})
	s := w.open("*")
	_, err := s.Call(t.Context(), "fake__crash", nil)
	if err == nil || errors.Is(err, agent.ErrNotSent) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"the MCP server fake", "exit 3", "about to crash", "whether the tool ran is not known"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if got := w.says(s, "fake__echo", `{"again":true}`); got != `{"again":true}` {
		t.Errorf("the next call gave %s", got)
	}
	want := []string{"start", "notifications/initialized", "call:crash", "start", "notifications/initialized", "call:echo"}
	if diff := cmp.Diff(want, w.log(log)); diff != "" {
		t.Error(diff)
	}
}

// A process that is killed between two calls: the next call can't have reached
// it and must not be lost, nor made twice.
func TestACallToADeadServerIsMadeOnTheNextOne(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	w := newWorld(t, map[string]Server{"fake": fakeServer("log=" + log)})
	s := w.open("*")
	var pid int
	fmt.Sscan(w.says(s, "fake__pid", ""), &pid)
	c := s.(*session).servers["fake"].current()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.lost
	if got := w.says(s, "fake__echo", `{"a":1}`); got != `{"a":1}` {
		t.Errorf("it said %s", got)
	}
	want := []string{"start", "notifications/initialized", "call:pid", "start", "notifications/initialized", "call:echo"}
	if diff := cmp.Diff(want, w.log(log)); diff != "" {
		t.Error(diff)
	}
}

func TestACallThatHangs(t *testing.T) {
	server := fakeServer()
	server.Timeout = loops.Duration(time.Second)
	w := newWorld(t, map[string]Server{"fake": server})
	s := w.open("*")
	pid := w.says(s, "fake__pid", "")
	_, err := s.Call(t.Context(), "fake__hang", nil)
	if err == nil || errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "there was no answer within 1s; whether the tool ran is not known") {
		t.Fatalf("got %v", err)
	}
	if got := w.says(s, "fake__pid", ""); got != pid {
		t.Error("a connection that answers was thrown away")
	}
}

func TestTheEndOfALoopEndsItsCalls(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer()})
	s := w.open("*")
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	for _, ctx := range []context.Context{ctx, t.Context()} {
		go func() {
			_, err := s.Call(ctx, "fake__hang", nil)
			failed <- err
		}()
	}
	cancel(loops.ErrCancelled)
	if err := <-failed; !errors.Is(err, loops.ErrCancelled) {
		t.Errorf("got %v", err)
	}
	w.box.Rest(theLoop, loops.Cancelled)
	if err := <-failed; !errors.Is(err, errOver) && !strings.Contains(err.Error(), "connection was closed") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Call(t.Context(), "fake__echo", nil); !errors.Is(err, agent.ErrNotSent) {
		t.Errorf("a call after the end gave %v", err)
	}
	w.says(w.open("*"), "fake__echo", "")
}

func TestAnEndlessMessage(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer()})
	s := w.open("*")
	_, err := s.Call(t.Context(), "fake__endless", nil)
	if err == nil || errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "a message of more than 32 MiB") {
		t.Errorf("got %v", err)
	}
	w.says(s, "fake__echo", "")
}

func TestAToolThatVanished(t *testing.T) {
	for name, traits := range map[string][]string{"with a notice": nil, "without": {"quiet"}} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			w := newWorld(t, map[string]Server{"fake": fakeServer(append(traits, "log="+log)...)})
			s := w.open("*")
			before := s.Tools()
			w.says(s, "fake__vanish", "")
			out, err := s.Call(t.Context(), "fake__echo", nil)
			if err != nil || !out.Error || !strings.Contains(out.Text, "the MCP server fake no longer offers the tool echo") {
				t.Errorf("got %+v, %v", out, err)
			}
			if traits == nil && slices.Contains(w.log(log), "call:echo") {
				t.Error("it was called although it is known to be gone")
			}
			if diff := cmp.Diff(before, s.Tools()); diff != "" {
				t.Errorf("the list changed under the loop: %s", diff)
			}
		})
	}
}

func TestAServerThatStartsLaterDoesNotStartTheOthersAnew(t *testing.T) {
	dir := t.TempDir()
	log, needed := filepath.Join(dir, "log"), filepath.Join(dir, "needed")
	w := newWorld(t, map[string]Server{"good": fakeServer("log=" + log), "bad": fakeServer("needs=" + needed)})
	if _, err := w.box.Open(t.Context(), theLoop, w.dir, []string{"*"}); err == nil || !strings.Contains(err.Error(), "the MCP server bad did not start") {
		t.Fatalf("got %v", err)
	}
	if err := os.WriteFile(needed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.says(w.open("*"), "bad__echo", "")
	if got := strings.Join(w.log(log), " "); strings.Count(got, "start") != 1 {
		t.Errorf("the good one was started again: %s", got)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer("mute")})
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	go func() {
		_, err := w.box.Open(ctx, theLoop, w.dir, []string{"*"})
		failed <- err
	}()
	cancel(loops.ErrCancelled)
	if err := <-failed; !errors.Is(err, loops.ErrCancelled) {
		t.Errorf("got %v", err)
	}
}

func TestAClosedToolbox(t *testing.T) {
	w := newWorld(t, map[string]Server{"fake": fakeServer()})
	s := w.open("*")
	if err := w.box.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := w.box.Open(t.Context(), theLoop, w.dir, []string{"*"}); err == nil {
		t.Error("a closed toolbox was opened")
	}
	if _, err := s.Call(t.Context(), "fake__echo", nil); !errors.Is(err, agent.ErrNotSent) {
		t.Errorf("got %v", err)
	}
	w.box.Rest(theLoop, loops.Completed)
}
