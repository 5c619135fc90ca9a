package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside tells a test that it runs in namespaces of its own.
const inside = "LOOP_MCP_TEST_NAMESPACES"

// Small returns a disk of so many bytes. A test calls it first.
func Small(t testing.TB, size int) *Disk {
	t.Helper()
	return mount(t, t.TempDir(), size)
}

// Over puts a disk of so many bytes over a folder of the system, for this test
// alone, which runs in namespaces of its own. A test calls it first.
func Over(t testing.TB, dir string, size int) *Disk {
	t.Helper()
	if os.Getenv(inside) == "" {
		again(t)
	}
	return mount(t, dir, size)
}

func mount(t testing.TB, dir string, size int) *Disk {
	t.Helper()
	d := &Disk{Dir: dir, t: t}
	err := unix.Mount("tmpfs", d.Dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size))
	switch {
	case errors.Is(err, unix.EPERM) && os.Getenv(inside) == "":
		again(t)
	case err != nil:
		missing(t, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// ReadOnly mounts the disk anew. Nothing on it may be open for writing.
func (d *Disk) ReadOnly(on bool) {
	d.t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if on {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("tmpfs", d.Dir, "tmpfs", flags, ""); err != nil {
		d.t.Fatal(err)
	}
}

// again runs this test in a process that may mount, and ends it here.
func again(t testing.TB) {
	t.Helper()
	var name []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		name = append(name, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+strings.Join(name, "/"), "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		missing(t, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("in namespaces of its own: %v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "--- SKIP") {
		missing(t, errors.New(out.String()))
	}
	t.Skip("passed in namespaces of its own")
}
