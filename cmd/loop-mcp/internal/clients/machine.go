package clients

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Machine is where clients are set up. Its fields are those of the real one from
// [This]; tests and other systems' tables have their own.
type Machine struct {
	GOOS     string
	Env      func(string) string
	Dir      string // the project: where files of the scope project are
	LookPath func(program string) (string, error)
	Glob     func(pattern string) ([]string, error)
	Run      func(ctx context.Context, dir string, argv []string) (output string, err error)
	Now      func() time.Time
}

// This returns the machine that the program runs on, with a folder as project.
func This(env func(string) string, dir string) *Machine {
	return &Machine{GOOS: runtime.GOOS, Env: env, Dir: dir, LookPath: exec.LookPath, Glob: filepath.Glob, Run: runProgram, Now: time.Now}
}

// patience is how long a client's own command may take: some are large and look
// at the network first.
const patience = time.Minute

// runProgram runs a program to its end and returns what it said.
func runProgram(ctx context.Context, dir string, argv []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.New("it did not end within " + patience.String())
	}
	return string(out), err
}

// home is the folder of the person.
func (m *Machine) home() (string, error) {
	names := []string{"HOME"}
	if m.GOOS == "windows" {
		names = []string{"USERPROFILE", "HOME"}
	}
	for _, name := range names {
		if home := m.Env(name); home != "" {
			return home, nil
		}
	}
	return "", errors.New("find the home folder: " + names[0] + " is not set")
}

// join joins the parts of a path as the machine's system writes them.
func (m *Machine) join(parts ...string) string {
	if m.GOOS != "windows" {
		return filepath.Join(parts...)
	}
	return strings.ReplaceAll(strings.Join(parts, `\`), "/", `\`)
}

// belowHome is a path below the home folder.
func (m *Machine) belowHome(parts ...string) (string, error) {
	home, err := m.home()
	if err != nil {
		return "", err
	}
	return m.join(append([]string{home}, parts...)...), nil
}

// variableOr is a path below the folder that a variable names, else below
// another one in the home folder.
func (m *Machine) variableOr(variable string, home []string, parts ...string) (string, error) {
	if dir := m.Env(variable); dir != "" {
		return m.join(append([]string{dir}, parts...)...), nil
	}
	return m.belowHome(append(home, parts...)...)
}

// appData is a path below the folder for settings of programs.
func (m *Machine) appData(parts ...string) (string, error) {
	switch m.GOOS {
	case "windows":
		return m.variableOr("APPDATA", []string{"AppData", "Roaming"}, parts...)
	case "darwin":
		return m.belowHome(append([]string{"Library", "Application Support"}, parts...)...)
	}
	return m.variableOr("XDG_CONFIG_HOME", []string{".config"}, parts...)
}

// there reports whether a file or folder exists.
func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// parent is the folder of a path of the machine's system.
func (m *Machine) parent(path string) string {
	if i := strings.LastIndexAny(path, `/\`); i > 0 {
		return path[:i]
	}
	return path
}
