package audit

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTheAuditorIsIndependent: what it judges has no part in it.
func TestTheAuditorIsIndependent(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(out)) {
		if pkg = strings.TrimSpace(pkg); strings.HasPrefix(pkg, "example.com/loop-mcp/") && !strings.HasSuffix(pkg, "/chaos/audit") {
			t.Errorf("the auditor imports %s", pkg)
		}
	}
}
