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

// terminalWidth is the number of columns, 80 when nobody says.
func terminalWidth(file *os.File) int {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(file.Fd()), &info); err != nil {
		return 80
	}
	return max(int(info.Window.Right-info.Window.Left)+1, 20)
}
