package fixbuild

import (
	"os"
	"path/filepath"
	"regexp"
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

	stdout, stderr, code := program.Print(t, "run", "fix-build.loop.yaml")
	id := loopID.FindString(stdout)
	t.Cleanup(func() { os.RemoveAll(filepath.Join("work", id)) })
	if code != 0 || !strings.HasPrefix(stdout, id+" completed (goal.command) · pass 5/10") {
		t.Fatalf("exit code %d, %s%s; want 0, completed by its command in pass 5", code, stderr, stdout)
	}
	if diff := cmp.Diff(normalised(transcript(t)), normalised(stderr+stdout)); diff != "" {
		t.Errorf("the README shows another run: -README +run\n%s", diff)
	}
	if diff := cmp.Diff(before, files(t, "project")); diff != "" {
		t.Errorf("the original changed: -before +after\n%s", diff)
	}
	repaired := files(t, filepath.Join("work", id))
	for name, text := range before {
		if strings.HasSuffix(name, "_test.go") && repaired[name] != text {
			t.Errorf("%s differs in the working copy", name)
		}
	}
}

var (
	loopID   = regexp.MustCompile(`fix-build-[a-z2-7]{4}\b`)
	duration = regexp.MustCompile(`\b([0-9.]+(ms|h|m|s))+\b`)
)

// transcript is the run that the README shows first.
func transcript(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "```console\n$ go run ./cmd/loop-mcp run examples/fix-build/fix-build.loop.yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("the README has no transcript of this example")
	}
	return text
}

// normalised takes out what differs from run to run.
func normalised(text string) string {
	return duration.ReplaceAllString(loopID.ReplaceAllString(text, "ID"), "TIME")
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
