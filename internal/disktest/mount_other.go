//go:build !linux

package disktest

import (
	"errors"
	"runtime"
	"testing"
)

var errSystem = errors.New("on " + runtime.GOOS + " these tests know no way to do it")

// Small returns a disk of so many bytes. A test calls it first.
func Small(t testing.TB, _ int) *Disk {
	t.Helper()
	missing(t, errSystem)
	return nil
}

// Over puts a disk of so many bytes over a folder of the system.
func Over(t testing.TB, _ string, _ int) *Disk {
	t.Helper()
	missing(t, errSystem)
	return nil
}

// ReadOnly mounts the disk anew.
func (d *Disk) ReadOnly(bool) { missing(d.t, errSystem) }
