package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// allowList is the file that `loop-mcp allow` keeps: one program a line, # for
// comments. It is read anew at each question, so that a running server follows.
type allowList struct{ path string }

// programs returns what is allowed; a missing file allows nothing.
func (a allowList) programs() ([]string, error) {
	lines, err := a.lines()
	if err != nil {
		return nil, err
	}
	var programs []string
	for _, line := range lines {
		if line != "" && !strings.HasPrefix(line, "#") {
			programs = append(programs, line)
		}
	}
	return programs, nil
}

func (a allowList) lines() ([]string, error) {
	data, err := os.ReadFile(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the allowed programs: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return nil, nil
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines, nil
}

// add allows programs and returns those that were not allowed before.
func (a allowList) add(programs []string) (added []string, err error) {
	lines, err := a.lines()
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		if !slices.Contains(lines, p) {
			lines, added = append(lines, p), append(added, p)
		}
	}
	if len(added) == 0 {
		return nil, nil
	}
	return added, writeFile(a.path, []byte(strings.Join(lines, "\n")+"\n"))
}

// remove takes programs back and returns those that were there.
func (a allowList) remove(programs []string) (removed []string, err error) {
	lines, err := a.lines()
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(lines, func(line string) bool {
		gone := slices.Contains(programs, line)
		if gone {
			removed = append(removed, line)
		}
		return gone
	})
	if len(removed) == 0 {
		return nil, nil
	}
	return removed, writeFile(a.path, []byte(strings.Join(append(kept, ""), "\n")))
}

// checkProgram refuses what can't be the first element of an argv.
func checkProgram(name string) error {
	if name == "" || strings.TrimSpace(name) != name || strings.HasPrefix(name, "#") || strings.ContainsFunc(name, isControl) {
		return usagef("allow %q: a program is a name such as go, or a path such as /usr/bin/make", name)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
