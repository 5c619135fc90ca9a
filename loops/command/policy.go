package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

// Policy is what the operator allows. The zero value allows nothing to specs
// that come through a tool, and programs to all others: a person who names a
// file, trusts one or writes a Go program has consented.
type Policy struct {
	// Allow returns the programs that specs from tools may run. It is asked at
	// every check, so that a change holds at once; nil allows none.
	//
	// An entry is a bare name ("go"), looked up on PATH as the spec's program
	// is; an absolute path, "~" allowed, that stands for that file; or "*" for
	// everything. Symbolic links are followed, but name and file must both
	// agree: where ls and sh are one file (BusyBox), allowing ls does not allow
	// sh. A program in the spec's folder or working folder is never meant by a
	// bare name, and neither is one written with a path separator.
	Allow func() []string
	// Roots are the folders that specs from tools and trusted files may work
	// in, "~" allowed. None: they may work nowhere. Command lines and Go
	// programs are not restricted.
	Roots []string
	// PassEnv names further variables of the host that programs see.
	PassEnv []string
	// Env are variables that programs see besides, such as where the loops are.
	// One that PassEnv names goes before.
	Env map[string]string
}

// Job is a program as a spec describes it.
type Job struct {
	Source loops.Source
	Dir    string // absolute: what Cwd refers to
	Run    []string
	Cwd    string // empty: Dir
	Env    map[string]string
	Loop   loops.ID
	Iteration,
	Pass int
}

// Prepare checks a job and returns the command for it, with program, folder,
// environment and owner filled in. What is not allowed or not there is reported
// as joined [loops.FieldError]s for the fields run, cwd and env.
func (p Policy) Prepare(j Job) (Command, error) {
	dir, dirErr := p.folder(j)
	var path string
	var runErr error
	switch {
	case len(j.Run) == 0 || j.Run[0] == "":
		runErr = &loops.FieldError{Field: "run", Problem: `must name a program, such as ["go", "test", "./..."]`}
	case slices.ContainsFunc(j.Run, hasNUL):
		runErr = &loops.FieldError{Field: "run", Problem: "must not hold NUL characters"}
	default:
		path, runErr = p.program(j, dir)
	}
	env, envErr := p.environment(j)
	if err := errors.Join(runErr, dirErr, envErr); err != nil {
		return Command{}, err
	}
	return Command{Argv: j.Run, Path: path, Dir: dir, Env: env, Owner: Owner(j.Loop, j.Dir)}, nil
}

// Owner is the Command.Owner of everything that runs for a loop in its folder.
func Owner(id loops.ID, dir string) string { return string(id) + "@" + dir }

func hasNUL(text string) bool { return strings.IndexByte(text, 0) >= 0 }

// folder returns the absolute working folder with symbolic links followed.
func (p Policy) folder(j Job) (string, error) {
	wrong := func(format string, args ...any) (string, error) {
		return "", &loops.FieldError{Field: "cwd", Problem: fmt.Sprintf(format, args...)}
	}
	if hasNUL(j.Cwd) {
		return wrong("must not hold NUL characters")
	}
	dir, err := absolute(j.Cwd, j.Dir)
	if err != nil {
		return wrong("%v", err)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return wrong("the folder %s does not exist: create it or name another", dir)
	case err != nil:
		return wrong("the folder %s can't be used: %v", dir, err)
	case !info.IsDir():
		return wrong("%s is not a folder", dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return wrong("the folder %s can't be used: %v", dir, err)
	}
	if restricted(j.Source) && !p.Inside(real) {
		return wrong("%s is outside the folders that loops may work in (roots: %s): work below one of them, or ask the operator to add it to roots",
			real, p.rootsText())
	}
	return real, nil
}

// restricted reports whether roots apply.
func restricted(s loops.Source) bool {
	return s != loops.SourceCommandLine && s != loops.SourceLibrary
}

// MayRead says why files below an absolute folder may not be read for a loop of
// that source. nil: they may.
func (p Policy) MayRead(dir string, s loops.Source) error {
	if _, err := p.folder(Job{Cwd: dir, Source: s}); err != nil {
		if field, ok := errors.AsType[*loops.FieldError](err); ok {
			return errors.New(field.Problem)
		}
		return err
	}
	return nil
}

// Inside reports whether an absolute path without symbolic links lies in one of
// the roots.
func (p Policy) Inside(path string) bool {
	return slices.ContainsFunc(p.Roots, func(root string) bool {
		abs, err := absolute(root, "")
		if err != nil {
			return false
		}
		real, err := filepath.EvalSymlinks(abs)
		return err == nil && within(real, path)
	})
}

func (p Policy) rootsText() string {
	if len(p.Roots) == 0 {
		return "none"
	}
	return strings.Join(p.Roots, ", ")
}

// within reports whether path is folder or lies below it.
func within(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// absolute expands "~" and resolves path against dir, or the process's folder.
func absolute(path, dir string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%q can't be resolved: %w", path, err)
		}
		path = filepath.Join(home, rest)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return filepath.Abs(path)
}
