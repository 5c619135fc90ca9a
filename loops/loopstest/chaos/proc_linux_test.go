package chaos

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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

// TestARunAtAPointThatIsNotReachedLeavesNoServer: it ran until the tests had ended.
func TestARunAtAPointThatIsNotReachedLeavesNoServer(t *testing.T) {
	for name, script := range map[string]string{
		"a server":                         `read line; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; : >up; while read line; do :; done`,
		"one that does not even say hello": `: >up; while read line; do :; done`,
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{dir: t.TempDir()}
			program := filepath.Join(w.dir, "program")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			enough := errors.New("it was up for long enough")
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				_ = w.until(ctx, func() bool { _, err := os.Stat(filepath.Join(w.dir, "files", "up")); return err == nil })
				if len(w.processes()) == 0 {
					t.Error("there is no server that could be left")
				}
				cancel(enough)
			}()
			_, _, err := At(ctx, Options{Dir: w.dir, Program: program, Body: program}, OpKillAt, Point{Name: "beforeBody"})
			cancel(nil)
			<-watched
			if !errors.Is(err, enough) {
				t.Errorf("the run ends with: %v", err)
			}
			if all := w.processes(); len(all) != 0 {
				t.Errorf("after the run there are %v", all)
			}
		})
	}
}
