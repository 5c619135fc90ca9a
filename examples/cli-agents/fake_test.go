//go:build unix

package cliagents

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

// step is what a fake command line does in one start.
type step struct {
	Print   []string          // recorded output of the real one, by the names of its files
	Replace map[string]string // in what is printed
	Stderr  string
	Exit    int
	Fix     bool // makes the tests of the project pass
	Hang    bool // with a child, until both are killed
}

// call is how a fake command line was called.
type call struct {
	Args  []string
	Stdin string
}

// stageVariable names the folder with the script of a fake.
const stageVariable = "FAKE_AGENT_STAGE"

// TestMain is also the fake: the test binary under the name of a command line.
func TestMain(m *testing.M) {
	if stage := os.Getenv(stageVariable); stage != "" && !strings.HasSuffix(os.Args[0], ".test") {
		os.Exit(fake(stage))
	}
	os.Exit(m.Run())
}

func fake(stage string) int {
	if len(os.Args) == 2 && os.Args[1] == "hang" {
		return hang(stage, "child")
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return complain(err)
	}
	s, err := next(stage, call{os.Args[1:], string(stdin)})
	if err != nil {
		return complain(err)
	}
	for _, name := range s.Print {
		text, err := os.ReadFile(filepath.Join(stage, name+".txt"))
		if err != nil {
			return complain(err)
		}
		for old, replacement := range s.Replace {
			text = []byte(strings.ReplaceAll(string(text), old, replacement))
		}
		os.Stdout.Write(text)
	}
	io.WriteString(os.Stderr, s.Stderr)
	if s.Fix {
		if err := os.WriteFile("answer.txt", []byte("42\n"), 0o600); err != nil {
			return complain(err)
		}
	}
	if s.Hang {
		if err := exec.Command(os.Args[0], "hang").Start(); err != nil {
			return complain(err)
		}
		return hang(stage, "parent")
	}
	return s.Exit
}

// next writes down how it was called and returns what the script wants now.
func next(stage string, c call) (step, error) {
	dir := filepath.Join(stage, os.Getenv("LOOP_ID"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return step{}, err
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		return step{}, err
	}
	said, err := json.Marshal(c)
	if err != nil {
		return step{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.json", len(before)+1)), said, 0o600); err != nil {
		return step{}, err
	}
	var steps []step
	data, err := os.ReadFile(filepath.Join(stage, "steps.json"))
	if err == nil {
		err = json.Unmarshal(data, &steps)
	}
	if err == nil && len(before) >= len(steps) {
		err = fmt.Errorf("start %d is not in the script", len(before)+1)
	}
	if err != nil {
		return step{}, err
	}
	return steps[len(before)], nil
}

// hang tells the test that it is there, and stays. The connection is closed when
// the process is gone.
func hang(stage, who string) int {
	conn, err := net.Dial("unix", filepath.Join(stage, "alive"))
	if err != nil {
		return complain(err)
	}
	fmt.Fprintln(conn, who)
	forever := make(chan os.Signal, 1)
	signal.Notify(forever, os.Interrupt)
	<-forever
	return 0
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "the fake:", err)
	return 99
}

// stage is a project with the loop files and fakes of the command lines.
type stage struct {
	dir     string // of the script
	project string
}

const projectTest = `package project

import (
	"os"
	"testing"
)

func TestAnswer(t *testing.T) {
	if text, err := os.ReadFile("answer.txt"); string(text) != "42\n" {
		t.Fatalf("the answer is wrong: %q, %v", text, err)
	}
}
`

// project makes a project whose tests fail, with the loop files in it.
func project(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	own, err := filepath.Glob("*.loop.yaml")
	if err != nil || len(own) != len(agents) {
		t.Fatalf("loop files %v, agents %v: %v", own, agents, err)
	}
	copyFiles(t, dir, append(own, "gemini-policy.toml")...)
	write(t, filepath.Join(dir, "go.mod"), "module project\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "answer_test.go"), projectTest)
	return dir
}

// setStage makes a project and puts a fake of each command
// line, which plays the steps for each loop, on PATH.
func setStage(t *testing.T, steps ...step) *stage {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") //nolint:usetesting // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &stage{dir: dir, project: project(t)}
	s.play(t, steps...)
	recordings, err := filepath.Glob("../../loops/command/testdata/*.txt")
	if err != nil || len(recordings) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	copyFiles(t, dir, recordings...)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, agent := range agents {
		if err := os.Symlink(program, filepath.Join(bin, agent)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv(stageVariable, dir)
	return s
}

// play replaces the script.
func (s *stage) play(t *testing.T, steps ...step) {
	t.Helper()
	data, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.dir, "steps.json"), string(data))
}

// calls are the starts of a loop's command line so far.
func (s *stage) calls(t *testing.T, id loops.ID) []call {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, string(id), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]call, len(names))
	for i, name := range names {
		data, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(data, &all[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func copyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(name)), string(data))
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
