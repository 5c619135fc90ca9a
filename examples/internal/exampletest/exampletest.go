// Package exampletest runs the examples as a user would: with the real program,
// in folders of their own.
package exampletest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Program is a built loop-mcp with its own store and configuration.
type Program struct {
	Path string
	Env  []string
}

// Build builds loop-mcp for one test.
func Build(tb testing.TB) Program {
	tb.Helper()
	dir := tb.TempDir()
	path := filepath.Join(dir, "loop-mcp")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	if out, err := exec.CommandContext(tb.Context(), "go", "build", "-o", path, "example.com/loop-mcp/cmd/loop-mcp").CombinedOutput(); err != nil {
		tb.Fatalf("build loop-mcp: %v\n%s", err, out)
	}
	env := append(os.Environ(), "LOOP_MCP_HOME="+filepath.Join(dir, "store"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	// The go commands of the examples find their settings below the configuration folder.
	if out, err := exec.CommandContext(tb.Context(), "go", "env", "GOENV").Output(); err == nil {
		env = append(env, "GOENV="+strings.TrimSpace(string(out)))
	}
	return Program{Path: path, Env: env}
}

// Command returns a command of the program.
func (p Program) Command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), p.Path, args...) // tb.Context ends before clean-up does
	cmd.Env = p.Env
	return cmd
}

// Snapshot is what the tests look at in the answer of run --json.
type Snapshot struct {
	LoopID    string `json:"loop_id"`
	Status    string `json:"status"`
	Iteration int    `json:"iteration"`
	Pass      int    `json:"pass"`
	Output    string `json:"output"`
	Stop      struct {
		Reason string `json:"reason"`
	} `json:"stop"`
	Usage struct {
		CostUSD   float64 `json:"cost_usd"`
		ToolCalls int     `json:"tool_calls"`
	} `json:"usage"`
}

// Without returns the program with variables taken out of its environment.
func (p Program) Without(names ...string) Program {
	p.Env = slices.DeleteFunc(slices.Clone(p.Env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, name)
	})
	return p
}

// Run runs `loop-mcp run --json` and returns the snapshot and the exit code.
func (p Program) Run(tb testing.TB, args ...string) (Snapshot, int) {
	tb.Helper()
	stdout, stderr, code := p.Print(tb, append([]string{"run", "--json"}, args...)...)
	var s Snapshot
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		tb.Fatalf("run %s: %v\nstdout: %s\nstderr: %s", strings.Join(args, " "), err, stdout, stderr)
	}
	return s, code
}

// Print runs a command of the program and returns what it printed and its exit
// code.
func (p Program) Print(tb testing.TB, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	cmd := p.Command(args...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatal(err)
	}
	return out.String(), problems.String(), cmd.ProcessState.ExitCode()
}
