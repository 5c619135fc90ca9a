//go:build unix

package mcptools

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"github.com/google/go-cmp/cmp"
)

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
