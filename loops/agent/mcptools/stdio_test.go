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
