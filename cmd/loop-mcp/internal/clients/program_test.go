package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheProgramIsNamedByItsLink: package managers move the file with each
// version.
func TestTheProgramIsNamedByItsLink(t *testing.T) {
	b := newBox(t)
	real := b.write("cellar/1.2.3/loop-mcp", "x")
	link := filepath.Join(b.home, "loop-mcp")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	other := b.write("other/loop-mcp", "y")
	for found, want := range map[string]Program{
		link: {Path: link, OnPath: true}, other: {Path: real}, "": {Path: real},
	} {
		b.LookPath = func(string) (string, error) {
			if found == "" {
				return "", errNotOnPath
			}
			return found, nil
		}
		got := b.Program(real)
		got.Unstable = "" // tests run in a temporary folder
		if got != want {
			t.Errorf("%s on PATH: %+v, want %+v", found, got, want)
		}
	}
	if got := b.Program(filepath.Join(b.home, "gone")); !strings.Contains(got.Unstable, "gone") {
		t.Error(got)
	}
}
