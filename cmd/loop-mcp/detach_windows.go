package main

import (
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detach lets a program outlive this one: without a console, and outside the
// job that a client may end as a whole.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{HideWindow: true,
		CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_BREAKAWAY_FROM_JOB}
}

// attach takes back what may not be allowed here, and reports whether that is
// something: not every job lets its processes leave.
func attach(cmd *exec.Cmd) bool {
	was := cmd.SysProcAttr.CreationFlags
	cmd.SysProcAttr.CreationFlags &^= windows.CREATE_BREAKAWAY_FROM_JOB
	return cmd.SysProcAttr.CreationFlags != was
}

// endCommand is what a person types to end a background server. It has no
// console that a gentler request would come by; loops stand a kill.
func endCommand(pid int) string { return fmt.Sprintf("taskkill /F /PID %d", pid) }
