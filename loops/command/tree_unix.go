//go:build unix

package command

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// groupTree is a process group and, on Linux, the processes that left it and can
// still be found.
type groupTree struct {
	pid  int // of the program, and the number of its group
	hunt hunt
}

func newTree(cmd *exec.Cmd, mark string) (tree, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &groupTree{pid: cmd.Process.Pid, hunt: newHunt(cmd.Process.Pid, mark)}, nil
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
