package clients

import (
	"os"
	"path/filepath"
	"strings"
)

// Program is how clients are to start loop-mcp.
type Program struct {
	Path     string // absolute
	OnPath   bool   // a program that looks for loop-mcp on PATH finds the same one
	Unstable string // why the path will not last; empty: nothing speaks against it
}

// Program says how a running program is best named. A link on PATH comes before
// the file that it leads to: package managers move that with each version.
func (m *Machine) Program(executable string) Program {
	p := Program{Path: executable}
	running, err := os.Stat(executable)
	if err != nil {
		p.Unstable = "the file is gone: it was removed or replaced while it runs"
		return p
	}
	if found, err := m.LookPath("loop-mcp"); err == nil {
		info, err := os.Stat(found)
		if abs, absErr := filepath.Abs(found); err == nil && absErr == nil && os.SameFile(info, running) {
			p.Path, p.OnPath = abs, true
		}
	}
	p.Unstable = unstable(p.Path, os.TempDir())
	return p
}

// unstable says why a path will not last.
func unstable(path, temp string) string {
	slashes := strings.ReplaceAll(path, `\`, "/")
	switch {
	case strings.Contains(slashes, "/go-build"):
		return "it is what go run builds, and is removed when that ends; go install puts it where it stays"
	case strings.Contains(slashes, "/_npx/"):
		return "it is in the cache of npx, which is emptied at times; install it with npm -g"
	case strings.Contains(slashes, "/AppTranslocation/"):
		return "macOS runs it from a place of its own; move it out of the folder of downloads first"
	case strings.HasPrefix(slashes, strings.TrimSuffix(strings.ReplaceAll(temp, `\`, "/"), "/")+"/"), strings.HasPrefix(slashes, "/tmp/"):
		return "it is in a folder for temporary files, which is emptied at times"
	}
	return ""
}
