//go:build unix

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// noRights is the user that has no rights of its own.
const noRights = 65534

// asUser is a machine of a user whom permissions bind: root is another one there.
func asUser(t *testing.T) *box {
	t.Helper()
	b := newBox(t)
	if os.Getuid() != 0 {
		return b
	}
	dir, err := os.MkdirTemp("", "revoked-") //nolint:usetesting // the folders above that of a test are closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b.plain = filepath.Join(dir, "loop-mcp")
	data, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(b.plain, data, 0o755)
	}
	for _, path := range []string{dir, b.plain} {
		if err == nil {
			err = os.Chmod(path, 0o755)
		}
	}
	work := filepath.Join(dir, "work")
	if err == nil {
		err = os.Mkdir(work, 0o700)
	}
	for i, v := range b.env {
		b.env[i] = strings.ReplaceAll(v, b.dir, work)
	}
	b.dir = work
	b.as = func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: noRights, Gid: noRights}}
	}
	if err == nil {
		err = b.own()
	}
	if err != nil {
		t.Fatal(err)
	}
	try := b.command("version")
	if out, err := try.CombinedOutput(); err != nil {
		t.Skipf("no process can run as user %d here: %v\n%s", noRights, err, out)
	}
	return b
}

// own gives all that was written to the user.
func (b *box) own() error {
	if b.as == nil {
		return nil
	}
	return filepath.WalkDir(b.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, noRights, noRights)
	})
}

// slowShell writes a loop file whose body runs until the file go-on is there.
func (b *box) slowShell() string {
	b.t.Helper()
	file := b.write("slow.loop.yaml", "name: slow\ngoal: test\nbody: {kind: command, run: [sh, -c, 'touch begun; while ! [ -e go-on ]; do sleep 0.02; done; echo done']}\nuntil: {all: [{kind: claim}]}\n")
	if err := b.own(); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// modes are the permissions of what is below a folder.
func modes(t *testing.T, dir string, set func(path string, dir bool) fs.FileMode) (back func()) {
	t.Helper()
	was := map[string]fs.FileMode{}
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && d.Type()&fs.ModeSocket == 0 {
			was[path] = info.Mode().Perm()
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range paths {
		path := paths[len(paths)-1-i]
		info, err := os.Lstat(path)
		if err == nil {
			err = os.Chmod(path, set(path, info.IsDir()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for _, path := range paths {
			if err := os.Chmod(path, was[path]); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that ended
				t.Error(err)
			}
		}
	}
}

// human is a loop that rests until a person says something.
var human = map[string]any{"goal": "x", "until": map[string]any{"all": []any{map[string]any{"kind": "human", "question": "?"}}}}

// saysShut verifies what a person or a client is told.
func (b *box) saysShut(what, text string) {
	b.t.Helper()
	if !strings.Contains(text, "may not be written to") || !strings.Contains(text, "give this user its permissions back") || strings.Contains(text, "internal error") {
		b.t.Errorf("%s says %q", what, text)
	}
}

// TestThePermissionsOfTheStoreAreTakenAway from two servers and a command line
// that have it open. What can't be stored is refused with the reason, what is
// acknowledged is there, nobody's loop fails, and all goes on without a restart
// when the permissions are back.
func TestThePermissionsOfTheStoreAreTakenAway(t *testing.T) {
	readOnly := func(_ string, dir bool) fs.FileMode {
		if dir {
			return 0o500
		}
		return 0o400
	}
	for _, test := range []struct {
		name  string
		below string // of the store
		set   func(path string, dir bool) fs.FileMode
		all   bool // no write works, and not only one that needs a new file
		kill  bool // the host, too
	}{
		{"not searchable", ".", func(string, bool) fs.FileMode { return 0 }, true, false},
		{"read-only, and its host is killed", ".", readOnly, false, true},
		{"read-only below it", "store", readOnly, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := asUser(t)
			host, other := b.opened(), b.opened()
			b.want(0, []string{"start", b.slowShell()})
			slow := b.only("slow")
			b.untilFile("begun")
			other.until(slow, "running")
			mine, problem := host.call("loop_start", human)
			if problem != "" {
				t.Fatal(problem)
			}
			large := map[string]any{"loop_id": mine["loop_id"], "action": "submit", "attention_id": "it-1", "output": strings.Repeat("0123456789", 60_000)}
			back := modes(t, filepath.Join(b.dir, "store", test.below), test.set)
			var told []any
			for name, c := range map[string]*client{"the host": host, "the other": other} {
				_, problem := c.call("loop_continue", large)
				b.saysShut("a large output through "+name, problem)
				s, problem := c.call("loop_start", human)
				if test.all || problem != "" {
					b.saysShut("loop_start of "+name, problem)
				} else {
					told = append(told, s["loop_id"])
				}
				if s, problem := c.call("loop_inspect", map[string]any{"loop_id": slow}); problem != "" || s["status"] != "running" {
					t.Errorf("%s shows %v, %s", name, s["status"], problem)
				}
			}
			if test.below == "." { // else it has all that it opens
				b.saysShut("a new process", b.want(1, []string{"ls"}).stderr)
			}
			if test.kill {
				if err := host.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = host.cmd.Wait() // it was killed
				_, problem := other.call("loop_list", map[string]any{})
				b.saysShut("loop_list without a host", problem)
			}
			b.write("go-on", "")
			back()
			other.until(slow, "completed")
			if p, _ := other.progress(slow); p.starts != p.iteration && !test.kill {
				t.Errorf("%v starts for %v iterations", p.starts, p.iteration)
			}
			if _, problem := other.call("loop_continue", large); problem != "" {
				t.Errorf("with permissions again: %s", problem)
			}
			for _, id := range told {
				if _, problem := other.call("loop_inspect", map[string]any{"loop_id": id}); problem != "" {
					t.Errorf("%v was acknowledged: %s", id, problem)
				}
			}
			b.want(0, []string{"verify"})
		})
	}
}
