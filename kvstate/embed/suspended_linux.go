package embed

import (
	"bytes"
	"fmt"
	"os"
)

// suspended reports whether a process is stopped (SIGSTOP, a debugger) and can do
// nothing until it is let go on.
func suspended(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name in parentheses may hold anything, parentheses included.
	at := bytes.LastIndexByte(data, ')') + 2
	return at > 1 && at < len(data) && (data[at] == 'T' || data[at] == 't')
}
