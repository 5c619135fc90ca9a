//go:build unix

package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

func TestRunReportsHowItEnded(t *testing.T) {
	tests := []struct {
		name string
		argv []string
		in   string
		want Outcome
	}{
		{"success", script("echo out; echo err >&2"), "", Outcome{Stdout: "out\n", Stderr: "err\n"}},
		{"exit code", script("exit 7"), "", Outcome{Exit: 7}},
		{"signal", script("kill -KILL $$"), "", Outcome{Exit: -1, Signal: "killed"}},
		{"stdin", []string{"cat"}, "in", Outcome{Stdout: "in"}},
		{"no stdin", []string{"cat"}, "", Outcome{}},
		{"stdin that is not read", script("exec echo ok"), strings.Repeat("x", 1<<20), Outcome{Stdout: "ok\n"}},
		{"bytes that are no text", script(`printf 'a\000\000b\377\376c\000'`), "", Outcome{Stdout: "a\uFFFDb\uFFFDc\uFFFD"}},
		{"escapes stay", script(`printf '\033[31mred\033[0m'`), "", Outcome{Stdout: "\x1b[31mred\x1b[0m"}},
		{"arguments are not split", []string{"printf", "%s|", "a b", "$HOME", "*"}, "", Outcome{Stdout: "a b|$HOME|*|"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Runner
			got, err := r.Run(t.Context(), Command{Argv: tt.argv, Env: basics(), Stdin: tt.in})
			got.Duration = 0
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestRunMergesInOrderOfArrival(t *testing.T) {
	var r Runner
	var tee strings.Builder
	got, err := r.Run(t.Context(), Command{
		Argv: script("echo 1; echo 2 >&2; echo 3; echo 4 >&2"), Env: basics(), Merge: true, Tee: &tee})
	if want := "1\n2\n3\n4\n"; err != nil || got.Stdout != want || tee.String() != want || got.Stderr != "" {
		t.Errorf("got %+v, tee %q, %v", got, tee.String(), err)
	}
}

func TestRunThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain"), "no program", 0o644)
	for name, c := range map[string]Command{
		"empty":          {},
		"not found":      {Argv: []string{"no-such-program-here"}},
		"not executable": {Argv: []string{plain}},
		"no folder":      {Argv: script("true"), Dir: filepath.Join(dir, "missing")},
	} {
		t.Run(name, func(t *testing.T) {
			var r Runner
			_, err := r.Run(t.Context(), c)
			var start *StartError
			if !errors.As(err, &start) || start.Passing {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := new(Runner).Run(t.Context(), Command{Argv: []string{"no-such-program-here"}}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v, want %v inside", err, exec.ErrNotFound)
	}
}

func TestRunEndsAFlood(t *testing.T) {
	var r Runner
	// Without being ended it would wait for ever.
	out, err := r.Run(t.Context(), Command{Argv: script("head -c 100000000 /dev/zero | tr '\\000' x; sleep 600"), Env: basics()})
	if !errors.Is(err, ErrOutputSize) || !strings.Contains(err.Error(), "64 MiB") {
		t.Fatalf("got %v", err)
	}
	if len(out.Stdout) > keep {
		t.Errorf("kept %d bytes", len(out.Stdout))
	}
}

func TestRunKeepsHeadAndTailOfStderr(t *testing.T) {
	var r Runner
	out, err := r.Run(t.Context(), Command{Argv: script("(echo first; head -c 9000000 /dev/zero | tr '\\000' x; echo last) >&2"), Env: basics()})
	if err != nil {
		t.Fatal(err)
	}
	marker := "\n… 8934475 bytes left out …\n" // 9000011 - 2 * 32768
	if !strings.HasPrefix(out.Stderr, "first\n") || !strings.HasSuffix(out.Stderr, "xlast\n") || !strings.Contains(out.Stderr, marker) {
		t.Errorf("got %q … %q", out.Stderr[:20], out.Stderr[len(out.Stderr)-20:])
	}
	if want := 2*keep + len(marker); len(out.Stderr) != want {
		t.Errorf("got %d bytes, want %d", len(out.Stderr), want)
	}
}

func TestCancelIsGentleUnlessAtOnce(t *testing.T) {
	for _, tt := range []struct {
		cause  error
		gentle bool
	}{{loops.ErrCancelled, true}, {loops.ErrShutdown, true}, {loops.ErrCancelNow, false}} {
		t.Run(tt.cause.Error(), func(t *testing.T) {
			asked := filepath.Join(t.TempDir(), "asked")
			got, emit := lines()
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { next(t, got, "ready"); cancel(tt.cause) }()
			var r Runner
			_, err := r.Run(ctx, Command{
				Argv: script("trap 'echo > " + asked + "; exit' TERM; echo ready; while :; do sleep 0.02; done"),
				Env:  basics(), Emit: emit})
			if !errors.Is(err, tt.cause) {
				t.Errorf("got %v, want %v", err, tt.cause)
			}
			if exists(asked) != tt.gentle {
				t.Errorf("SIGTERM arrived: %t, want %t", !tt.gentle, tt.gentle)
			}
		})
	}
}

func TestCancelGivesAllTheGrace(t *testing.T) {
	// The shell dies of SIGTERM at once; its child needs a moment to save.
	saved := filepath.Join(t.TempDir(), "saved")
	got, emit := lines()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { next(t, got, "ready"); cancel(loops.ErrCancelled) }()
	var r Runner
	r.Run(ctx, Command{Env: basics(), Emit: emit,
		Argv: script(`sh -c "trap 'sleep 0.3; echo > ` + saved + `; exit' TERM; echo ready; while :; do sleep 0.02; done" & wait`)})
	if !exists(saved) {
		t.Error("the child was killed before the grace was over")
	}
}

func TestTimeoutIsNoError(t *testing.T) {
	var r Runner
	out, err := r.Run(t.Context(), Command{Argv: script("echo begun; exec sleep 600"), Env: basics(), Timeout: 200 * time.Millisecond})
	if err != nil || !out.TimedOut || out.Signal != "terminated" {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestRunWithEndedContextStartsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(loops.ErrShutdown)
	var r Runner
	_, err := r.Run(ctx, Command{Argv: []string{"touch", file}})
	if !errors.Is(err, loops.ErrShutdown) || exists(file) {
		t.Errorf("got %v, ran %t", err, exists(file))
	}
}

func TestLiveLinesNeverHoldUpTheProcess(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	finished := filepath.Join(t.TempDir(), "finished")
	if err := syscall.Mkfifo(finished, 0o600); err != nil {
		t.Fatal(err)
	}
	count := 0
	emit := func(loops.Live) {
		count++
		select {
		case entered <- struct{}{}:
		default:
		}
		<-release
	}
	go func() {
		// Emit blocks until the process has written everything and said so.
		defer close(release)
		<-entered
		os.ReadFile(finished)
	}()
	var r Runner
	_, err := r.Run(t.Context(), Command{Argv: script("seq 1 100000; echo > " + finished), Env: basics(), Emit: emit})
	if err != nil || count < 2 || count > 50_000 {
		t.Errorf("emitted %d lines, %v", count, err)
	}
}

func TestLiveLinesAreClippedAndPlain(t *testing.T) {
	got, emit := lines()
	var r Runner
	r.Run(t.Context(), Command{Env: basics(), Emit: emit,
		Argv: script(`printf '\033[31mred\033[0m\n\n10%%\r20%%\r30%%\n'; head -c 3000 /dev/zero | tr '\000' x; printf '\nno newline'`)})
	close(got)
	want := []string{"red\n", "30%\n", strings.Repeat("x", liveLine) + "…\n", "no newline\n"}
	var lines []string
	for line := range got {
		lines = append(lines, line)
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
}

func TestEnvironmentIsExactlyWhatIsGiven(t *testing.T) {
	t.Setenv("SOME_API_KEY", "secret")
	var r Runner
	out, err := r.Run(t.Context(), Command{Argv: []string{"env"}, Env: []string{"PATH=" + os.Getenv("PATH"), "A=1"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out.Stdout) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"A", markName, "PATH"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}
