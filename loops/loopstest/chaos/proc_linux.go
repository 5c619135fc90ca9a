package chaos

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
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

// endTime is how long a body that its worker's kill has left may go on; it has
// its work to do, and nobody is there who would end it.
const endTime = 15 * time.Second

// leftBehind notes the processes of a run that are there after all its servers
// have ended.
func (w *world) leftBehind(ctx context.Context) {
	left := w.processes()
	for end := time.Now().Add(endTime); len(left) > 0 && time.Now().Before(end) && pause(ctx, 100*time.Millisecond); {
		left = w.processes()
	}
	for pid, line := range left {
		w.history.add(audit.Told{Op: audit.OpLeft, PID: pid, Failed: line})
	}
}

// processes are the servers and bodies of the run, with their command lines.
func (w *world) processes() map[int]string {
	all := map[int]string{}
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline")) // gone meanwhile, or somebody else's
		env, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if pid != os.Getpid() && (bytes.Contains(line, []byte(w.effects())) || bytes.Contains(env, []byte("XDG_CONFIG_HOME="+w.dir+"/"))) {
			all[pid] = strings.Join(strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"), " ")
		}
	}
	return all
}
