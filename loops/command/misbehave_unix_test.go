//go:build unix

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

// allocated returns how many bytes f allocated, whether they were freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestABodyThatPrintsAGigabyte: it is read to the end or ended, in memory that
// has nothing to do with how much it prints.
func TestABodyThatPrintsAGigabyte(t *testing.T) {
	const gigabyte = 1_000_000_000
	zeros := fmt.Sprintf("head -c %d /dev/zero", gigabyte)
	for name, tt := range map[string]struct {
		command Command
		memory  uint64
		check   func(Outcome, error) bool
	}{
		"on stderr": {Command{Argv: script(zeros + " >&2; echo ok")}, 2 << 20, func(out Outcome, err error) bool {
			return err == nil && out.Stdout == "ok\n" && strings.Contains(out.Stderr, fmt.Sprintf("… %d bytes left out …", gigabyte-2*keep))
		}},
		"on both, as one stream": {Command{Argv: script("head -c 100000000 /dev/zero >&2; echo ok"), Merge: true}, 2 << 20, func(out Outcome, err error) bool {
			return err == nil && strings.HasSuffix(out.Stdout, "ok\n") && strings.Contains(out.Stdout, "bytes left out")
		}},
		"as lines": {Command{Argv: script(fmt.Sprintf("yes | head -c %d >&2", gigabyte/50)), Emit: func(loops.Live) {}}, 1 << 30, func(out Outcome, err error) bool {
			return err == nil && strings.Contains(out.Stderr, "bytes left out")
		}},
		"on stdout": {Command{Argv: script(zeros + "; exec sleep 600")}, 2 * loops.MaxOutputSize, func(out Outcome, err error) bool {
			return errors.Is(err, ErrOutputSize) && len(out.Stdout) <= keep
		}},
		"as one line, shown live": {Command{Argv: script("head -c 100000000 /dev/zero | tr '\\000' x >&2"), Emit: func(loops.Live) {}}, 4 << 20, func(out Outcome, err error) bool {
			return err == nil && len(out.Stderr) < 3*keep
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.command.Env = basics()
			var r Runner
			var out Outcome
			var err error
			if n := allocated(func() { out, err = r.Run(t.Context(), tt.command) }); n > tt.memory {
				t.Errorf("it took %d bytes of memory", n)
			}
			if !tt.check(out, err) {
				t.Errorf("got %.100q, stderr %.100q, %v", out.Stdout, out.Stderr, err)
			}
		})
	}
}

func TestOutputIsKeptWhole(t *testing.T) {
	var want strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintln(&want, i+1)
	}
	var r Runner
	out, err := r.Run(t.Context(), Command{Argv: []string{"seq", "1000000"}, Env: basics(), Emit: func(loops.Live) {}})
	if err != nil || out.Stdout != want.String() {
		t.Errorf("a million lines: %d of %d bytes, %v", len(out.Stdout), want.Len(), err)
	}
	// More than the pipes hold in both directions at once.
	text := strings.Repeat("0123456789abcde\n", 1<<19)
	out, err = r.Run(t.Context(), Command{Argv: []string{"cat"}, Env: basics(), Stdin: text})
	if err != nil || out.Stdout != text {
		t.Errorf("8 MiB through cat: %d bytes, %v", len(out.Stdout), err)
	}
}

func TestBodiesThatMisbehave(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		script, stdin string
		want          Outcome
	}{
		"closes stdout":             {"echo a; exec >&-; sleep 0.1; exit 3", "", Outcome{Exit: 3, Stdout: "a\n"}},
		"closes all it has":         {"exec <&- >&- 2>&-; exit 4", strings.Repeat("x", 1<<20), Outcome{Exit: 4}},
		"exits before it reads":     {"exit 0", strings.Repeat("x", 1<<20), Outcome{}},
		"reads a bit, then exits":   {"head -c 3", strings.Repeat("x", 1<<20), Outcome{Stdout: "xxx"}},
		"deletes its folder":        {"rmdir " + dir + "/gone && echo ok", "", Outcome{Stdout: "ok\n"}},
		"locks its folder":          {"chmod 000 . && echo ok", "", Outcome{Stdout: "ok\n"}},
		"kills itself":              {"kill -SEGV $$", "", Outcome{Exit: -1, Signal: "segmentation fault"}},
		"kills its group":           {"kill -KILL 0", "", Outcome{Exit: -1, Signal: "killed"}},
		"leaves zombies":            {"for i in 1 2 3 4 5 6 7 8; do true & done; exec sleep 0.1", "", Outcome{}},
		"leaves a stopped child":    {`sh -c 'kill -STOP $$' & sleep 0.1; echo ok`, "", Outcome{Stdout: "ok\n"}},
		"uses up its open files":    {"ulimit -n 4; exec 3</dev/null 4</dev/null 2>&1; echo ok", "", Outcome{Exit: 2}},
		"answers in another tongue": {`printf '\377\376\000\033]0;t\007\302'`, "", Outcome{Stdout: "\uFFFD\uFFFD\x1b]0;t\a\uFFFD"}},
	} {
		t.Run(name, func(t *testing.T) {
			own := filepath.Join(dir, name)
			if name == "deletes its folder" {
				own = filepath.Join(dir, "gone")
			}
			if err := os.Mkdir(own, 0o700); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(own, 0o700)
			var r Runner
			got, err := r.Run(t.Context(), Command{Argv: script(tt.script), Dir: own, Env: basics(), Stdin: tt.stdin})
			got.Duration, got.Stderr = 0, ""
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// TestAFolderThatIsGone: the next start of a body that deleted its folder says so.
func TestAFolderThatIsGone(t *testing.T) {
	tn := turn(t, loops.BodySpec{Run: script("rmdir ../work"), Cwd: "work"})
	if err := os.Mkdir(filepath.Join(tn.Dir, "work"), 0o700); err != nil {
		t.Fatal(err)
	}
	var b Body
	if _, err := b.Run(t.Context(), tn); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(t.Context(), tn); kindOf(err) != "permanent" || !strings.Contains(err.Error(), "cwd") {
		t.Errorf("got %s: %v", kindOf(err), err)
	}
}

func TestABodyThatStoppedItselfIsEnded(t *testing.T) {
	for _, cause := range []error{loops.ErrCancelled, loops.ErrCancelNow} {
		got, emit := lines()
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { next(t, got, "ready"); cancel(cause) }()
		var r Runner
		// Continued by the request to end, so that it can save what it has.
		out, err := r.Run(ctx, Command{Env: basics(), Emit: emit,
			Argv: script(`trap 'echo saved; exit' TERM; sh -c 'echo ready; kill -STOP $PPID'; while :; do sleep 0.02; done`)})
		if !errors.Is(err, cause) || strings.Contains(out.Stdout, "saved") != (cause == loops.ErrCancelled) {
			t.Errorf("%v: got %q, %v", cause, out.Stdout, err)
		}
	}
}

func TestManyBodiesAtOnceLeaveNoFileOpen(t *testing.T) {
	var r Runner
	burst := func(n int) {
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*20*time.Millisecond)
				defer cancel()
				if i%5 == 0 {
					ctx = t.Context()
				}
				_, err := r.Run(ctx, Command{Env: basics(), Stdin: strings.Repeat("x", 100_000), Argv: script("sleep 0.1 & exec cat"), Emit: func(loops.Live) {}})
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	burst(10)
	files := openFiles(t)
	burst(200)
	if now := openFiles(t); now > files {
		t.Errorf("%d files are open, %d before", now, files)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
