// Package disktest gives tests a disk of their own that can be filled up.
//
// A disk is a tmpfs. Where the test may not mount one, the test runs once more
// in a process with namespaces of its own, where everybody may. Where that is
// not possible either, the test is skipped with the reason, and fails when
// LOOP_MCP_MOUNT_TESTS is set.
package disktest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Required is the variable that makes a missing disk a failure.
const Required = "LOOP_MCP_MOUNT_TESTS"

// Disk is a small disk that goes with its test.
type Disk struct {
	Dir string // where it is mounted
	t   testing.TB
}

// ballast is the file that fills a disk.
func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Fill leaves about so many bytes free.
func (d *Disk) Fill(leave int) {
	d.t.Helper()
	file, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	size := int64(0)
	for chunk := make([]byte, 4096); err == nil; {
		var n int
		n, err = file.Write(chunk)
		size += int64(n)
	}
	if info, statErr := file.Stat(); statErr == nil {
		size = info.Size()
	}
	if err := errors.Join(file.Truncate(max(0, size-int64(leave))), file.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// Free makes room again.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		d.t.Fatal(err)
	}
}

// missing ends a test that can't have a disk.
func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(Required) != "" {
		t.Fatalf("no small disk can be mounted here, and %s is set: %v", Required, err)
	}
	t.Skipf("no small disk can be mounted here: %v", err)
}
