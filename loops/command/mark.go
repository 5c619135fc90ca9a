package command

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// markName is the environment variable by which a process is known as part of a
// run: "<owner>|<worker>|<random>".
const markName = "LOOP_MCP_RUN"

func newMark(owner string) string {
	return fmt.Sprintf("%s|%s|%s", markOwner(owner), workerMark(os.Getpid()), rand.Text())
}

// markOwner keeps an owner from looking like more than one part.
func markOwner(owner string) string {
	return strings.Map(func(r rune) rune {
		if r == '|' || r == 0 {
			return '_'
		}
		return r
	}, owner)
}

// workerMark names a process for as long as it lives, also when its number is
// used again later.
func workerMark(pid int) string {
	return fmt.Sprintf("%d.%d", pid, startedAt(pid))
}
