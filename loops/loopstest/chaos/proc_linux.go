package chaos

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bodiesBelow is how many children a process has.
func bodiesBelow(pid int) int {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	n := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			n += len(strings.Fields(string(data)))
		}
	}
	return n
}
