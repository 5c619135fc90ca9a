package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/loop-mcp/loops"
)

// bomb becomes $1 processes, each in a session of its own and deaf to SIGTERM.
// Each runs a successor and exits, again and again, so that whoever looks for
// it finds another process than the one it signals. It stops by itself after 60
// generations, and once the file $STOP is there.
const bomb = `trap '' TERM
if [ $1 -gt 1 ]; then
	half=$(($1 / 2))
	setsid sh "$0" $half 60 &
	setsid sh "$0" $(($1 - half)) 60 &
	exit
fi
[ -e "$STOP" ] || [ $2 = 0 ] && exit
[ $2 = 60 ] && echo >> "$READY"
sleep $PAUSE
setsid sh "$0" 1 $(($2 - 1)) &
`

const bombSize = 500

// playInit runs the test binary in another role, and takes in orphans and waits
// for them, as the first process of a machine does: the zombies of a bomb would
// fill a machine whose own is slow.
func playInit() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	worker := exec.Command(os.Args[0])
	worker.Env, worker.Stdout, worker.Stderr = append(os.Environ(), roleEnv+"=bombed worker"), os.Stdout, os.Stderr
	if err := worker.Start(); err != nil {
		panic(err)
	}
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// workOnBomb runs a bomb, cancels it when it has all its processes, and says
// what came of it.
func workOnBomb() {
	size, _ := strconv.Atoi(os.Getenv("SIZE"))
	cause := loops.ErrCancelNow
	if os.Getenv("GENTLY") != "" {
		cause = loops.ErrCancelled
	}
	var asked time.Time
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		for tick := time.NewTicker(10 * time.Millisecond); sizeOf(os.Getenv("READY")) < size; <-tick.C {
		}
		asked = time.Now()
		cancel(cause)
	}()
	var r Runner
	_, err := r.Run(ctx, Command{Argv: script(`sh "$BOMB" $SIZE 60; exec sleep 600`), Env: os.Environ()})
	fmt.Printf("%v; %d are left, %d zombies here (all gone after %v)\n", err, withEnv("STOP="+os.Getenv("STOP")), zombies(), time.Since(asked))
}

func TestAForkBombIsEnded(t *testing.T) {
	for _, tt := range []struct {
		name, pause, gently string
		size                int
		cause               error
	}{
		{"many processes", "2", "", bombSize, loops.ErrCancelNow},
		{"fast ones", "0.02", "", 8, loops.ErrCancelNow},
		{"fast ones, asked first", "0.02", "yes", 8, loops.ErrCancelled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			stop := filepath.Join(dir, "stop")
			t.Cleanup(func() { write(t, stop, "", 0o600) })
			play := exec.CommandContext(t.Context(), os.Args[0])
			play.Env = append(basics(), roleEnv+"=init", "BOMB="+write(t, filepath.Join(dir, "bomb.sh"), bomb, 0o600), "STOP="+stop,
				"READY="+filepath.Join(dir, "ready"), "SIZE="+strconv.Itoa(tt.size), "PAUSE="+tt.pause, "GENTLY="+tt.gently)
			out, err := play.CombinedOutput()
			if want := tt.cause.Error() + "; 0 are left, 0 zombies here"; err != nil || !strings.HasPrefix(string(out), want) {
				t.Errorf("got %s, %v; want %s", out, err, want)
			}
			t.Logf("%s", out)
		})
	}
}

// workAsInit runs a program that leaves children to this process, as it would be
// the first one of a container, and says how many zombies that makes.
func workAsInit() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	var r Runner
	_, err := r.Run(context.Background(), Command{Env: basics(),
		Argv: script(`(sleep 600 &); (setsid sh -c 'echo; exec sleep 600' &) | read x; (exit 0 &); exec sleep 0.1`)})
	fmt.Printf("%v, %d zombies", err, zombies())
}

func TestNoZombiesInAContainer(t *testing.T) {
	worker := exec.CommandContext(t.Context(), os.Args[0])
	worker.Env = append(basics(), roleEnv+"=first process")
	if out, err := worker.CombinedOutput(); err != nil || string(out) != "<nil>, 0 zombies" {
		t.Errorf("got %s, %v", out, err)
	}
}

func sizeOf(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// withEnv counts the living processes but this one whose environment has the
// pair and the mark of a run.
func withEnv(pair string) (count int) {
	eachProcess(func(m member) {
		data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(m.pid), "environ"))
		if text := string(data); m.lives() && strings.Contains(text, pair) && strings.Contains(text, markName) {
			count++
		}
	})
	return count
}

// zombies counts the children of this process that nobody waited for.
func zombies() (count int) {
	eachProcess(func(m member) {
		if m.parent == os.Getpid() && m.state == "Z" {
			count++
		}
	})
	return count
}
