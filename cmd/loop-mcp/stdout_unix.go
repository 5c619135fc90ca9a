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
