package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// isTerminal reports whether a person may be at the other end of file.
func isTerminal(file *os.File) bool {
	var mode uint32
	return windows.GetConsoleMode(windows.Handle(file.Fd()), &mode) == nil
}

// terminalSize is how large the window is, 80 by 24 when nobody says.
func terminalSize(file *os.File) (columns, rows int) {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(file.Fd()), &info); err != nil {
		return 80, 24
	}
	return max(int(info.Window.Right-info.Window.Left)+1, 20), int(info.Window.Bottom-info.Window.Top) + 1
}

// unread is asked after a SIGPIPE, which does not exist here.
func unread(*os.File) bool { return false }

// takeStdout returns a file for what the program writes to standard output, and
// points the standard handle at stderr.
func takeStdout(stdout, stderr *os.File) (*os.File, error) {
	if err := windows.SetStdHandle(windows.STD_OUTPUT_HANDLE, windows.Handle(stderr.Fd())); err != nil {
		return nil, err
	}
	return stdout, nil
}
