package chaos

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestAProcessThatARunLeavesBehindIsSeen: a server by its environment, a body by
// its arguments.
func TestAProcessThatARunLeavesBehindIsSeen(t *testing.T) {
	w := &world{dir: t.TempDir()}
	for what, cmd := range map[string]*exec.Cmd{
		"server": {Path: "/bin/sh", Args: []string{"sh", "-c", "read x; : server"}, Env: append(os.Environ(), "XDG_CONFIG_HOME="+w.dir+"/config")},
		"body":   {Path: "/bin/sh", Args: []string{"sh", "-c", "read x; : body", w.effects()}},
	} {
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if all := w.processes(); len(all) != 1 || !strings.Contains(all[cmd.Process.Pid], what) {
			t.Errorf("%s: seen are %v", what, all)
		}
		in.Close()
		_ = cmd.Wait()
		if all := w.processes(); len(all) != 0 {
			t.Errorf("after its end: %v", all)
		}
	}
}
