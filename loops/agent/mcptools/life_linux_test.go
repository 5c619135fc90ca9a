package mcptools

import (
	"bufio"
	"bytes"
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
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
)

// lives reports whether a process is there and no zombie.
func lives(t *testing.T, pid string) bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(data, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

// stubborn opens a server that ignores SIGTERM and the end of its input, as its
// children and grandchildren do, and returns all their numbers.
func (w *world) stubborn() (tell string) {
	w.Helper()
	s := w.open("*")
	tell = w.says(s, "fake__pid", "")
	path := filepath.Join(w.dir, "pids")
	eventually(w.T, func() bool {
		data, _ := os.ReadFile(path)
		return bytes.HasSuffix(data, []byte("\n"))
	}, func() string { return "there is no grandchild" })
	data, _ := os.ReadFile(path)
	return tell + " " + strings.TrimSpace(string(data))
}

func newStubborn(t *testing.T) *world {
	w := newWorld(t, nil)
	w.box.servers["fake"] = fakeServer("stubborn", "pids="+filepath.Join(w.dir, "pids"))
	return w
}

func (w *world) gone(pids string) {
	w.Helper()
	for pid := range strings.FieldsSeq(pids) {
		if lives(w.T, pid) {
			w.Errorf("process %s is still there", pid)
		}
	}
}

func TestNothingOutlivesAToolbox(t *testing.T) {
	w := newStubborn(t)
	pids := w.stubborn()
	if err := w.box.Close(t.Context()); err != nil {
		t.Error(err)
	}
	w.gone(pids)
}

func TestNothingOutlivesALoop(t *testing.T) {
	w := newStubborn(t)
	pids := w.stubborn()
	s := w.box.live[theLoop]
	w.box.Rest(theLoop, loops.Completed)
	<-s.gone
	w.gone(pids)
}

// stopped opens a server and stops its process.
func (w *world) stopped() (s agent.Session, pid string) {
	w.Helper()
	s = w.open("*")
	pid = w.says(s, "fake__pid", "")
	number, _ := strconv.Atoi(pid)
	if err := syscall.Kill(number, syscall.SIGSTOP); err != nil {
		w.Fatal(err)
	}
	return s, pid
}

func TestAServerThatHangsIsReplaced(t *testing.T) {
	server := fakeServer()
	server.Timeout = loops.Duration(2 * time.Second)
	w := newWorld(t, map[string]Server{"fake": server})
	s, pid := w.stopped()
	if err := w.cancelled(s, "fake", "fake__echo", "", frameTaken); errors.Is(err, agent.ErrNotSent) {
		t.Errorf("a call that went out gave %v", err)
	}
	if got := w.says(s, "fake__pid", ""); got == pid {
		t.Error("it is the same process")
	}
	w.gone(pid)
}

func TestArgumentsThatAServerDoesNotRead(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	w := newWorld(t, map[string]Server{"fake": fakeServer("log=" + log)})
	s, pid := w.stopped()
	big := fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 1<<20))
	if err := w.cancelled(s, "fake", "fake__echo", big, frameTaken); errors.Is(err, agent.ErrNotSent) {
		t.Errorf("a call of which a part was written gave %v", err)
	}
	w.connection("fake").doubt.Store(false) // nobody noticed
	if err := w.cancelled(s, "fake", "fake__echo", "", frameQueued); !errors.Is(err, agent.ErrNotSent) {
		t.Errorf("a call that waited behind it gave %v", err)
	}
	number, _ := strconv.Atoi(pid)
	syscall.Kill(number, syscall.SIGCONT)
	w.says(s, "fake__echo", "")
	if calls := strings.Count(strings.Join(w.log(log), " "), "call:echo"); calls != 2 {
		t.Errorf("%d calls arrived, want the first and the last: %q", calls, w.log(log))
	}
}

// What a loop opens right after its rest must not meet the old processes: two
// servers on one file would spoil it.
func TestAServerEndsBeforeItsSuccessorStarts(t *testing.T) {
	w := newStubborn(t)
	pids := w.stubborn()
	w.box.Rest(theLoop, loops.Paused)
	w.open("*")
	w.gone(pids)
}

func TestACrashTakesTheChildrenAlong(t *testing.T) {
	w := newStubborn(t)
	pids := w.stubborn()
	number, _ := strconv.Atoi(strings.Fields(pids)[0])
	c := w.box.live[theLoop].servers["fake"].current()
	syscall.Kill(number, syscall.SIGKILL)
	<-c.lost
	w.says(w.open("*"), "fake__echo", "")
	w.gone(pids)
}

func TestTheEndOfAnImpatientClose(t *testing.T) {
	w := newStubborn(t)
	pids := w.stubborn()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.box.Close(ctx); err == nil {
		t.Error("it did not say that something is left")
	}
	if err := w.box.Close(t.Context()); err != nil {
		t.Error(err)
	}
	w.gone(pids)
}

// A worker that was killed leaves servers that do not care about their input;
// whoever takes the loop next ends them first.
func TestServersOfADeadWorkerAreEnded(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"by name": func(w *world) { w.box.EndLeftovers(theLoop, w.dir) },
		"by the next start": func(w *world) {
			w.box.servers["fake"] = fakeServer()
			w.open("*")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStubborn(t)
			worker := exec.Command(os.Args[0], "-test.run", "^TestDyingWorker$")
			worker.Env = append(os.Environ(), "MCPTOOLS_DYING_WORKER="+w.dir)
			out, err := worker.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := worker.Start(); err != nil {
				t.Fatal(err)
			}
			var pids string
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if rest, ok := strings.CutPrefix(lines.Text(), "left "); ok {
					pids = rest
				}
			}
			worker.Wait() // it dies by its own signal
			for pid := range strings.FieldsSeq(pids) {
				if !lives(t, pid) {
					t.Fatalf("the worker left nothing: %q", pids)
				}
			}
			w.box.EndLeftovers("other-bbbb", w.dir)
			if !lives(t, strings.Fields(pids)[0]) {
				t.Error("another loop's servers were ended")
			}
			end(w)
			w.gone(pids)
		})
	}
}

// TestDyingWorker is such a worker, in a process of its own.
func TestDyingWorker(t *testing.T) {
	dir := os.Getenv("MCPTOOLS_DYING_WORKER")
	if dir == "" {
		return
	}
	w := newStubborn(t)
	w.dir = dir
	w.box.servers["fake"] = fakeServer("stubborn", "pids="+filepath.Join(dir, "pids"))
	fmt.Println("left " + w.stubborn())
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// The minute of a waiting loop, in virtual time, without processes.
func TestAWaitingLoopKeepsItsServersForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, err := New(Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		open := func() *session {
			s, err := box.Open(t.Context(), theLoop, "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			return s.(*session)
		}
		over := func(s *session) bool {
			synctest.Wait()
			select {
			case <-s.gone:
				return true
			default:
				return false
			}
		}
		s := open()
		box.Rest(theLoop, loops.Waiting)
		time.Sleep(59 * time.Second)
		if open() != s {
			t.Error("the session was not kept")
		}
		time.Sleep(time.Hour)
		if over(s) {
			t.Error("a session in use was ended")
		}
		box.Rest(theLoop, loops.Waiting)
		box.mu.Lock() // the minute ends while somebody opens the tools
		time.Sleep(idleTime)
		s.keep()
		box.mu.Unlock()
		if over(s) {
			t.Error("a session that was just opened was ended")
		}
		box.Rest(theLoop, loops.Waiting)
		time.Sleep(61 * time.Second)
		if !over(s) || open() == s {
			t.Error("an idle session was not ended")
		}
		for _, status := range loops.Statuses() {
			s := open()
			box.Rest(theLoop, loops.Waiting)
			box.Rest(theLoop, status)
			if over(s) != (status != loops.Waiting) {
				t.Errorf("%s: the session was ended: %t", status, over(s))
			}
		}
		box.Rest("nobody-cccc", loops.Waiting)
		if err := box.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
