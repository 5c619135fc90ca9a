package fixbuild

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/examples/internal/exampletest"
	"github.com/google/go-cmp/cmp"
)

func TestFixBuild(t *testing.T) {
	program := exampletest.Build(t)
	t.Run("repairs", func(t *testing.T) { repairs(t, program) })
	t.Run("holds its limit", func(t *testing.T) { holdsItsLimit(t, program) })
}

func repairs(t *testing.T, program exampletest.Program) {
	t.Helper()
	before := files(t, "project")

	s, code := program.Run(t, "fix-build.loop.yaml")
	t.Cleanup(func() { os.RemoveAll(filepath.Join("work", s.LoopID)) })
	if code != 0 || s.Status != "completed" || s.Stop.Reason != "goal.command" || s.Pass != 5 {
		t.Errorf("exit code %d, %+v; want 0, completed by its command in pass 5", code, s)
	}
	if diff := cmp.Diff(before, files(t, "project")); diff != "" {
		t.Errorf("the original changed: -before +after\n%s", diff)
	}
	repaired := files(t, filepath.Join("work", s.LoopID))
	for name, text := range before {
		if strings.HasSuffix(name, "_test.go") && repaired[name] != text {
			t.Errorf("%s differs in the working copy", name)
		}
	}
}

func holdsItsLimit(t *testing.T, program exampletest.Program) {
	t.Helper()
	s, code := program.Run(t, "fix-build.loop.yaml", "--limit", "max_passes=2")
	t.Cleanup(func() { os.RemoveAll(filepath.Join("work", s.LoopID)) })
	if code != 3 || s.Status != "capped" || s.Stop.Reason != "cap.passes" || s.Pass != 2 {
		t.Errorf("exit code %d, %+v; want 3, capped in pass 2", code, s)
	}
}

// files reads a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = string(data)
	}
	return all
}
