package embed

import "golang.org/x/sys/unix"

const stopped = 4 // SSTOP

// suspended reports whether a process is stopped (SIGSTOP, a debugger) and can do
// nothing until it is let go on.
func suspended(pid int) bool {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	return err == nil && info.Proc.P_stat == stopped
}
