//go:build unix && !linux

package command

import (
	"syscall"
	"time"
)

// hunt finds processes that left the group, which only Linux can.
type hunt struct{}

func newHunt(int, string) hunt { return hunt{} }

// ask lets also those that are stopped save what they have.
func (t *groupTree) ask() {
	_ = syscall.Kill(-t.pid, syscall.SIGTERM) // it may be gone
	_ = syscall.Kill(-t.pid, syscall.SIGCONT)
}

func (t *groupTree) kill() { _ = syscall.Kill(-t.pid, syscall.SIGKILL) }

// sweep kills until nothing is left of the group. The end of a process takes the
// system a moment.
func (t *groupTree) sweep() {
	for range 50 {
		t.kill()
		if !t.alive() {
			return
		}
		time.Sleep(4 * time.Millisecond)
	}
}

// alive asks the kernel; a group of zombies answers EPERM here.
func (t *groupTree) alive() bool { return syscall.Kill(-t.pid, 0) == nil }

func endLeftovers(string) int { return 0 }

func startedAt(int) int64 { return 0 }
