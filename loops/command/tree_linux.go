package command

import (
	"strconv"
	"strings"
	"syscall"
)

func newHunt(group int, mark string) hunt {
	return hunt{group: group, since: startedAt(group), marked: func(other string) bool { return other == mark }}
}

// ask lets also those that are stopped save what they have.
func (t *groupTree) ask() {
	var outside []member
	t.hunt.look(func(m member, _ bool) {
		if m.group != t.pid {
			outside = append(outside, m)
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		_ = syscall.Kill(-t.pid, sig) // it may be gone
		for _, m := range outside {
			m.signal(sig)
		}
	}
}

func (t *groupTree) kill()  { t.hunt.end() }
func (t *groupTree) sweep() { t.hunt.end() }

func (t *groupTree) alive() bool {
	living, unsure := t.hunt.look(func(member, bool) {})
	return living > 0 || unsure
}

// endLeftovers kills the processes that a dead worker started for owner, and
// those below them. A worker that lives keeps its own.
func endLeftovers(owner string) int {
	h := hunt{marked: func(mark string) bool {
		parts := strings.Split(mark, "|")
		return len(parts) == 3 && parts[0] == markOwner(owner) && !workerLives(parts[1])
	}}
	h.end()
	return len(h.seen)
}

func workerLives(mark string) bool {
	number, _, _ := strings.Cut(mark, ".")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return false
	}
	_, lives := look(pid)
	return lives && workerMark(pid) == mark
}
