package command

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"example.com/loop-mcp/loops"
)

// program returns the file that run[0] means, when the spec may run it.
func (p Policy) program(j Job, dir string) (string, error) {
	name := j.Run[0]
	wrong := func(format string, args ...any) (string, error) {
		return "", &loops.FieldError{Field: "run", Problem: fmt.Sprintf(format, args...)}
	}
	if dir == "" && hasSeparator(name) && !filepath.IsAbs(name) {
		return "", nil // refers to a folder that is reported already
	}
	found, err := find(name, dir)
	switch {
	case errors.Is(err, exec.ErrDot):
		return wrong("%q is only in the current folder, which is not searched: write ./%s", name, name)
	case err != nil && hasSeparator(name):
		return wrong("%s can't be run: %v", found, cause(err))
	case err != nil:
		return wrong("the program %q was not found on PATH: install it or name its path", name)
	}
	if j.Source != loops.SourceTool {
		return found, nil
	}
	inside := inWorkspace(found, j.Dir, dir)
	if p.allows(name, found, inside) {
		return found, nil
	}
	switch {
	case inside && !hasSeparator(name):
		return wrong("run %q is %s, inside the workspace, where a worker can change it: ask the operator to run: loop-mcp allow %s", name, found, found)
	case hasSeparator(name):
		return wrong("run %q is not allowed for specs that come through a tool: ask the operator to run: loop-mcp allow %s", name, found)
	}
	return wrong("run %q is not allowed for specs that come through a tool: ask the operator to run: loop-mcp allow %s", name, name)
}

func (p Policy) allows(name, found string, inside bool) bool {
	if p.Allow == nil {
		return false
	}
	for _, entry := range p.Allow() {
		switch entry = strings.TrimSpace(entry); {
		case entry == "*":
			return true
		case entry == "":
		case !hasSeparator(entry) && !strings.HasPrefix(entry, "~"):
			if hasSeparator(name) || inside {
				continue
			}
			if meant, err := find(entry, ""); err == nil && same(meant, found) {
				return true
			}
		default:
			meant, err := absoluteEntry(entry)
			if err == nil && (samePath(meant, found) || !inside && same(meant, found)) {
				return true
			}
		}
	}
	return false
}

// absoluteEntry refuses relative entries: they would mean another file in
// another folder.
func absoluteEntry(entry string) (string, error) {
	if !filepath.IsAbs(entry) && !strings.HasPrefix(entry, "~") {
		return "", errors.New("not absolute")
	}
	return absolute(entry, "")
}

// find returns the absolute path of a program: on PATH, or relative to dir when
// it is written with a separator. Beside an error it is the path that was tried.
func find(name, dir string) (string, error) {
	if !hasSeparator(name) {
		found, err := exec.LookPath(name)
		if err != nil {
			return name, err
		}
		return filepath.Abs(found)
	}
	path, err := absolute(name, dir)
	if err != nil {
		return name, err
	}
	found, err := exec.LookPath(path) // checks that it can be executed; adds .exe on Windows
	if err != nil {
		return path, err
	}
	return found, nil
}

func hasSeparator(name string) bool {
	return strings.ContainsRune(name, '/') || strings.ContainsRune(name, filepath.Separator) || filepath.VolumeName(name) != ""
}

// same reports whether two paths mean the same file under the same name.
func same(a, b string) bool {
	if samePath(a, b) {
		return true
	}
	realA, errA := filepath.EvalSymlinks(a)
	realB, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && samePath(realA, realB) && samePath(filepath.Base(a), filepath.Base(b))
}

func samePath(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}

// inWorkspace reports whether the program, or the file that it is a link to,
// lies where the worker works. A home folder or a folder above it is no
// workspace: all programs of the user would be in it.
func inWorkspace(found string, folders ...string) bool {
	real, err := filepath.EvalSymlinks(found)
	if err != nil {
		real = found
	}
	home, homeErr := os.UserHomeDir()
	for _, folder := range folders {
		if folder == "" {
			continue
		}
		if resolved, err := filepath.EvalSymlinks(folder); err == nil {
			folder = resolved
		}
		if homeErr == nil && within(folder, home) {
			continue
		}
		if within(folder, real) || within(folder, found) {
			return true
		}
	}
	return false
}

// cause drops what exec and os put around the reason.
func cause(err error) error {
	if lookup, ok := errors.AsType[*exec.Error](err); ok {
		err = lookup.Err
	}
	if path, ok := errors.AsType[*os.PathError](err); ok {
		err = path.Err
	}
	return err
}
