package handlerpython

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.com/loop-mcp/examples/internal/exampletest"
)

// python returns Python 3. Without it the test is skipped, unless
// LOOP_MCP_PYTHON_TESTS says that it has to be there.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err == nil {
		err = exec.CommandContext(t.Context(), path, "--version").Run()
	}
	switch {
	case err == nil:
		return path
	case os.Getenv("LOOP_MCP_PYTHON_TESTS") != "":
		t.Fatalf("python3: %v", err)
	}
	t.Skipf("python3: %v; set LOOP_MCP_PYTHON_TESTS to make that a failure", err)
	return ""
}

func TestPythonHandlerShortensTheText(t *testing.T) {
	interpreter := python(t)
	p := exampletest.Build(t)
	handler := p.Command("handler", "summarise", "--", interpreter, "summarise.py")
	told, err := handler.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := handler.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = handler.Process.Kill() // what it serves is over
		_ = handler.Wait()
	}()
	lines := bufio.NewReader(told)
	if line, err := lines.ReadString('\n'); err != nil || line != "serving summarise\n" {
		t.Fatalf("%q, %v", line, err)
	}
	go func() { _, _ = lines.WriteTo(t.Output()) }()
	s, code := p.Run(t, "summarise.loop.yaml", "--input", "most=11")
	if code != 0 || s.Status != "completed" || s.Stop.Reason != "goal.predicate" || s.Iteration != 4 || len(strings.Fields(s.Output)) != 11 {
		t.Errorf("exit code %d: %+v", code, s)
	}
}

func TestExampleIsShort(t *testing.T) {
	text, err := os.ReadFile("summarise.py")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 40 {
		t.Errorf("summarise.py has %d lines", n)
	}
}
