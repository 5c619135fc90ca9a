//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// takeStdout returns a file for what the program writes to standard output, and
// points descriptor 1 at stderr: whatever else prints, by whatever way, can't
// reach the reader of standard output.
func takeStdout(stdout, stderr *os.File) (*os.File, error) {
	kept, err := unix.FcntlInt(stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := redirect(int(stderr.Fd()), int(stdout.Fd())); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(kept), "protocol"), nil
}

// unread reports whether nobody reads file any more: a pipe without a reader, a
// terminal that is gone.
func unread(file *os.File) (gone bool) {
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	_ = conn.Control(func(fd uintptr) {
		look := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(look, 0)
		gone = err == nil && n > 0 && look[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return gone
}
