//go:build unix

package main

import (
	"fmt"
	"os/exec"
	"syscall"
)

// detach lets a program outlive this one: in a session of its own, without a
// terminal that could end it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// attach takes back what may not be allowed here, and reports whether that is
// something.
func attach(*exec.Cmd) bool { return false }

// endCommand is what a person types to end a background server.
func endCommand(pid int) string { return fmt.Sprintf("kill %d", pid) }
