package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/loops"
)

const roleEnv = "COMMAND_TEST_ROLE"

// TestMain lets the test binary play a worker that dies in the middle of a run,
// and the surroundings of a fork bomb.
func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "init":
		playInit()
		os.Exit(0)
	case "first process":
		workAsInit()
		os.Exit(0)
	case "bombed worker":
		workOnBomb()
		os.Exit(0)
	case "dying worker":
		var r Runner
		r.Run(context.Background(), Command{
			Argv: script("setsid sh -c 'echo left $$; exec sleep 600' & wait"), Env: basics(), Owner: os.Getenv("OWNER"),
			Emit: func(l loops.Live) {
				fmt.Println(l.Text)
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}})
		os.Exit(0)
	}
	os.Exit(leaktest.Run(m))
}

func lives(t *testing.T, pid string) bool {
	t.Helper()
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	_, ok := look(number)
	return ok
}

func TestNothingOutlivesARun(t *testing.T) {
	tests := []struct {
		name, script string
		ready        int
		cancel       error // nil: the program exits by itself
	}{
		{"grandchildren", `sh -c 'sleep 600 & echo ready $!; sleep 600 & echo ready $!; wait' & wait`, 2, loops.ErrCancelled},
		{"grandchildren, at once", `sh -c 'sleep 600 & echo ready $!; wait' & wait`, 1, loops.ErrCancelNow},
		{"a program that ignores SIGTERM", `trap '' TERM; echo ready $$; while :; do sleep 0.05; done`, 1, loops.ErrCancelled},
		{"a child that ignores SIGTERM", `sh -c "trap '' TERM; echo ready \$\$; while :; do sleep 0.05; done" & wait`, 1, loops.ErrCancelled},
		{"a session of its own", `setsid sh -c 'echo ready $$; exec sleep 600' & wait`, 1, loops.ErrCancelled},
		{"a daemon: own session and no parent", `(setsid sh -c 'echo ready $$; exec sleep 600' &) ; sleep 600`, 1, loops.ErrCancelled},
		{"a cleared environment below a living parent", `env -i setsid sh -c 'echo ready $$; exec sleep 600' & wait`, 1, loops.ErrCancelNow},
		{"one of these that ignores SIGTERM", `env -i setsid sh -c 'trap "" TERM; echo ready $$; while :; do sleep 0.05; done' & wait`, 1, loops.ErrCancelled},
		{"a child on the pipe after the exit", `sleep 600 & echo ready $!`, 1, nil},
		{"a daemon on the pipe after the exit", `mkfifo $FIFO; setsid sh -c 'echo ready $$; echo > $FIFO; exec sleep 600' & cat $FIFO`, 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, emit := lines()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			pids := make(chan string, 10)
			go func() {
				for range tt.ready {
					pids <- next(t, got, "ready ")
				}
				close(pids)
				if tt.cancel != nil {
					cancel(tt.cancel)
				}
			}()
			var r Runner
			_, err := r.Run(ctx, Command{
				Argv: script(tt.script), Emit: emit, Env: append(basics(), "FIFO="+filepath.Join(t.TempDir(), "fifo"))})
			if err != tt.cancel {
				t.Errorf("got %v, want %v", err, tt.cancel)
			}
			for pid := range pids {
				if lives(t, pid) {
					t.Errorf("process %s is still there", pid)
				}
			}
		})
	}
}

func TestARunLeavesOthersAlone(t *testing.T) {
	got, emit := lines()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	var r Runner
	go func() {
		_, err := r.Run(ctx, Command{Argv: script("echo ready $$; exec sleep 600"), Env: basics(), Emit: emit, Owner: "same"})
		done <- err
	}()
	pid := next(t, got, "ready ")
	if _, err := r.Run(t.Context(), Command{Argv: script("exit 0"), Env: basics(), Owner: "same"}); err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(pid)
	if m, ok := look(number); !ok || m.group != number {
		t.Errorf("the program is in group %d, want one of its own", m.group)
	}
	if n := r.EndLeftovers("same"); n != 0 || !lives(t, pid) {
		t.Errorf("ended %d processes of a worker that lives", n)
	}
	cancel(loops.ErrCancelNow)
	<-done
}

// dyingWorker starts a run in another process, which dies and leaves pid.
func dyingWorker(t *testing.T, owner string) (pid string) {
	t.Helper()
	worker := exec.Command(os.Args[0])
	worker.Env = append(basics(), roleEnv+"=dying worker", "OWNER="+owner)
	out, _ := worker.Output() // it dies by its own signal
	if _, err := fmt.Sscanf(string(out), "left %s", &pid); err != nil {
		t.Fatalf("the worker said %q", out)
	}
	if !lives(t, pid) {
		t.Fatal("the worker left nothing")
	}
	return pid
}

func TestARepeatedStartEndsLeftovers(t *testing.T) {
	tn := turn(t, loops.BodySpec{Run: script("exit 0")})
	var b Body
	if _, err := b.Run(t.Context(), tn); err != nil {
		t.Fatal(err)
	}
	pid := dyingWorker(t, Owner(tn.Loop, tn.Dir))
	tn.Attempt = 2
	if _, err := b.Run(t.Context(), tn); err != nil || lives(t, pid) {
		t.Errorf("it lives: %t, %v", lives(t, pid), err)
	}
}

func TestLeftoversOfADeadWorkerAreEnded(t *testing.T) {
	for name, end := range map[string]func(*Runner, string) error{
		"by name": func(r *Runner, owner string) error {
			if n := r.EndLeftovers(owner); n == 0 {
				return fmt.Errorf("found nothing")
			}
			return nil
		},
		"by the first run": func(r *Runner, owner string) error {
			_, err := r.Run(t.Context(), Command{Argv: script("exit 0"), Env: basics(), Owner: owner})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			owner := "demo|" + t.TempDir()
			pid := dyingWorker(t, owner)
			var r Runner
			if n := r.EndLeftovers("other"); n != 0 || !lives(t, pid) {
				t.Errorf("another owner's runs were ended: %d", n)
			}
			if err := end(&r, owner); err != nil {
				t.Error(err)
			}
			if lives(t, pid) {
				t.Error("it is still there")
			}
		})
	}
}

func BenchmarkRun(b *testing.B) {
	var r Runner
	for b.Loop() {
		if _, err := r.Run(b.Context(), Command{Argv: []string{"true"}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCancel measures from the request until the body has the signal, and
// until a tree of 20 processes is gone.
func BenchmarkCancel(b *testing.B) {
	var reached, gone time.Duration
	for b.Loop() {
		var asked time.Time
		ctx, cancel := context.WithCancelCause(b.Context())
		emit := func(l loops.Live) {
			switch l.Text {
			case "ready\n":
				asked = time.Now()
				cancel(loops.ErrCancelled)
			case "asked\n":
				reached += time.Since(asked)
			}
		}
		var r Runner
		_, err := r.Run(ctx, Command{Env: basics(), Emit: emit, Argv: script(
			`trap 'echo asked; exit' TERM; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do setsid sleep 600 & done; echo ready; while :; do sleep 0.002; done`)})
		if !errors.Is(err, loops.ErrCancelled) {
			b.Fatal(err)
		}
		gone += time.Since(asked)
	}
	b.ReportMetric(float64(reached.Microseconds())/1000/float64(b.N), "ms-to-reach")
	b.ReportMetric(float64(gone.Microseconds())/1000/float64(b.N), "ms-to-end")
}

func BenchmarkPlainExec(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
