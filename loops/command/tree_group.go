//go:build unix && !linux

package command

import "syscall"

// member is a process outside the group that belongs to a run. Only Linux can
// find one.
type member struct{ group int }

func (member) signal(syscall.Signal) {}

func (t *groupTree) members() []member { return nil }

// alive asks the kernel; a group of zombies answers EPERM here.
func (t *groupTree) alive() bool { return syscall.Kill(-t.pid, 0) == nil }

func endLeftovers(string) int { return 0 }

func startedAt(int) int64 { return 0 }
