//go:build unix

package command

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// groupTree is a process group and the processes that left it and can still be
// found.
type groupTree struct {
	pid  int // of the program, and the number of its group
	mark string
	born int64 // when the program started, in the unit of startedAt

	known map[int]int64 // members by number, and when they started; Linux only
}

func newTree(cmd *exec.Cmd, mark string) (tree, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &groupTree{pid: cmd.Process.Pid, mark: mark, born: startedAt(cmd.Process.Pid)}, nil
}

func (t *groupTree) ask()  { t.signal(syscall.SIGTERM) }
func (t *groupTree) kill() { t.signal(syscall.SIGKILL) }

func (t *groupTree) signal(sig syscall.Signal) {
	found := t.members()
	_ = syscall.Kill(-t.pid, sig) // it may be gone
	for _, m := range found {
		if m.group != t.pid {
			m.signal(sig)
		}
	}
}

// sweep kills until nothing is found any more. A process may fork while it is
// looked for, so one round is not enough.
func (t *groupTree) sweep() {
	for range 50 {
		_ = syscall.Kill(-t.pid, syscall.SIGKILL)
		if !t.alive() {
			return
		}
		t.kill()
		time.Sleep(4 * time.Millisecond)
	}
}

func (t *groupTree) close() {}

func passing(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) ||
		errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || busy(err)
}

func busy(err error) bool { return errors.Is(err, syscall.ETXTBSY) }

// exitOf returns the exit code, or -1 and the signal that ended the program.
func exitOf(s *os.ProcessState) (code int, signal string) {
	if s == nil {
		return -1, ""
	}
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return -1, status.Signal().String()
	}
	return s.ExitCode(), ""
}
