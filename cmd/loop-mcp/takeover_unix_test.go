//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestRestingLoopsGoOnOnceTheStoreIsFree: the store was in use when the client
// came, and no call ever asks for it.
func TestRestingLoopsGoOnOnceTheStoreIsFree(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"start", b.loop("resting", "effect", "until: {all: [{kind: claim}]}")})
	lock, err := os.Open(filepath.Join(b.dir, "store", "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	c := b.connect()
	(&started{b: b, stderr: c.stderr}).until("resting loops do not go on")
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	b.untilFile("effects")
}
