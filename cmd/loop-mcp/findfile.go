package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopfile"
)

// library finds loop files by name.
type library struct {
	dirs  []string // in the order of precedence
	trust trustStore
}

var fileName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

func isFileName(name string) bool { return len(name) <= 128 && fileName.MatchString(name) }

// load returns the trusted loop file of that name.
func (l library) load(name string) (loopfile.File, error) {
	path, err := l.find(name)
	if err != nil {
		return loopfile.File{}, err
	}
	file, err := loopfile.Load(path)
	if file.Data == nil {
		return loopfile.File{}, err
	}
	// Trust is asked first: what is wrong inside an untrusted file is nobody's business yet.
	if untrusted := l.trust.check(file.Path, file.Data); untrusted != nil {
		return loopfile.File{}, &loops.RefusedError{Code: "untrusted_file", Problem: untrusted.Error()}
	}
	return file, err
}

// find returns the path of the first file of that name.
func (l library) find(name string) (string, error) {
	if !isFileName(name) {
		return "", &loops.FieldError{Field: "loop_file", Problem: fmt.Sprintf("must be the name of a loop file (lower-case letters, digits, dots, hyphens), never a path, got %q", clip(name, 80))}
	}
	for _, dir := range l.dirs {
		for _, ext := range loopfile.Extensions() {
			path := filepath.Join(dir, strings.TrimSuffix(name, ext)+ext)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	problem := fmt.Sprintf("there is no loop file %s in %s", name, strings.Join(l.dirs, ", "))
	if names := l.names(); len(names) > 0 {
		problem += "; there are " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return "", &loops.FieldError{Field: "loop_file", Problem: problem}
}

// names returns the names of all loop files, sorted.
func (l library) names() []string {
	var names []string
	for _, dir := range l.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, entry := range entries {
			if name, ok := baseName(entry.Name()); ok && isFileName(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// baseName cuts the ending of a loop file's name off.
func baseName(file string) (string, bool) {
	for _, ext := range loopfile.Extensions() {
		if name, ok := strings.CutSuffix(file, ext); ok {
			return name, true
		}
	}
	return "", false
}
