package command

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

// passed are the variables of the host that every program sees; a name that
// ends in * stands for all that begin so. They say who and where the user is,
// which language to speak, and where toolchains and certificates live. None of
// them holds a secret; a GOPROXY or GOFLAGS that carries a password (user@host)
// is left out.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "NO_COLOR", "TZ",
	"LANG", "LANGUAGE", "LC_*", "TMPDIR", "TEMP", "TMP", "XDG_*",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
	"GOROOT", "GOPATH", "GOMODCACHE", "GOCACHE", "GOFLAGS", "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOSUMDB", "GONOPROXY",
	"GOTOOLCHAIN", "GOENV", "GOTMPDIR", "CGO_ENABLED",
	"CARGO_HOME", "RUSTUP_HOME", "JAVA_HOME", "PYENV_ROOT", "VIRTUAL_ENV", "NVM_DIR",
	"LOOP_MCP_HOME",
}

// passedWindows is added on Windows, where programs do not start without some
// of them.
var passedWindows = []string{
	"SystemRoot", "SystemDrive", "windir", "ComSpec", "PATHEXT", "USERPROFILE", "USERNAME", "USERDOMAIN", "HOMEDRIVE", "HOMEPATH",
	"APPDATA", "LOCALAPPDATA", "ProgramData", "ProgramFiles", "ProgramFiles(x86)", "ProgramW6432", "CommonProgramFiles",
	"NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "OS",
}

// The variables that a program gets from its loop. A spec can't set them.
const (
	envLoop      = "LOOP_ID"
	envIteration = "LOOP_ITERATION"
	envPass      = "LOOP_PASS"
	envParent    = "LOOP_MCP_PARENT"  // the same id: a loop-mcp below it keeps its hands off that loop
	envMemory    = "LOOP_MEMORY_FILE" // a file with the memory of the last iteration as JSON; absent when there is none
)

var reserved = []string{envLoop, envIteration, envPass, envParent, envMemory, markName}

// environment returns the whole environment of a job, sorted: the host's
// allowed variables, then the spec's, then the loop's.
func (p Policy) environment(j Job) ([]string, error) {
	env := p.inherited(os.Environ())
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(j.Env)) {
		if problem := envProblem(name, j.Env[name], j.Source); problem != "" {
			problems = append(problems, &loops.FieldError{Field: "env." + name, Problem: problem})
			continue
		}
		setEnv(env, name, j.Env[name])
	}
	setEnv(env, envLoop, string(j.Loop))
	setEnv(env, envIteration, fmt.Sprint(j.Iteration))
	setEnv(env, envPass, fmt.Sprint(j.Pass))
	setEnv(env, envParent, string(j.Loop))
	pairs := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		pairs = append(pairs, name+"="+env[name])
	}
	return pairs, errors.Join(problems...)
}

func (p Policy) inherited(host []string) map[string]string {
	names := slices.Concat(passed, p.PassEnv)
	if runtime.GOOS == "windows" {
		names = append(names, passedWindows...)
	}
	env := make(map[string]string)
	for _, pair := range host {
		name, value, _ := strings.Cut(pair, "=")
		if isReserved(name) || !slices.ContainsFunc(names, func(n string) bool { return matches(n, name) }) {
			continue
		}
		if (sameName(name, "GOPROXY") || sameName(name, "GOFLAGS")) && strings.Contains(value, "@") && !slices.Contains(p.PassEnv, name) {
			continue
		}
		env[name] = value
	}
	for name, value := range p.Env {
		if _, there := env[name]; !there || !slices.ContainsFunc(p.PassEnv, func(n string) bool { return sameName(n, name) }) {
			setEnv(env, name, value)
		}
	}
	return env
}

// matches reports whether a host variable is meant by a name of the list. Only
// our own list has patterns: an operator names each variable.
func matches(listed, name string) bool {
	if prefix, ok := strings.CutSuffix(listed, "*"); ok && slices.Contains(passed, listed) {
		return len(name) > len(prefix) && sameName(name[:len(prefix)], prefix)
	}
	return sameName(listed, name)
}

// sameName compares names as the system does.
func sameName(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}

// setEnv replaces a variable, also one in another spelling on Windows.
func setEnv(env map[string]string, name, value string) {
	for old := range env {
		if sameName(old, name) {
			delete(env, old)
		}
	}
	env[name] = value
}

func isReserved(name string) bool {
	return slices.ContainsFunc(reserved, func(r string) bool { return sameName(r, name) })
}

func envProblem(name, value string, source loops.Source) string {
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00"):
		return "is not a name for a variable"
	case hasNUL(value):
		return "must not hold NUL characters"
	case isReserved(name):
		return "is set by loop-mcp itself: use another name"
	case source == loops.SourceTool && steersPrograms(name):
		return "decides which code a program loads, and specs that come through a tool may not set it: put it into a trusted loop file"
	}
	return ""
}

// steersPrograms names the variables with which an allowed program becomes any
// other: the dynamic loader's, and the search path. It can't be complete; an
// allowed interpreter runs what it is given anyway.
func steersPrograms(name string) bool {
	upper := strings.ToUpper(name)
	return strings.HasPrefix(upper, "LD_") || strings.HasPrefix(upper, "DYLD_") || upper == "PATH" || upper == "PATHEXT"
}
