package command

import (
	"os"
	"syscall"
	"time"
)

const (
	huntTime = 5 * time.Second        // for the end of what can't be caught, or can't be ended
	bareTime = 250 * time.Millisecond // after which a process without environment has none
	huntRest = 2 * time.Millisecond   // between two looks
)

// hunt finds the processes of one run, or of the runs that a dead worker left,
// and ends them.
//
// A process belongs when it is in the group, in a group that a member leads,
// carries the mark, or has a parent that belongs. One that was found once stays
// known, also when the end of its parent cuts it off. What forks and exits all
// the time is another process whenever it is looked at; so members are stopped
// as they are seen (who is stopped does not fork), until a look finds no more
// of them, and killed then.
type hunt struct {
	group  int // 0: none
	since  int64
	marked func(mark string) bool

	above map[int]bool      // where orphans go
	known map[int]int64     // living members by number, and when they started
	seen  map[int]int64     // all members ever found
	leads map[int]bool      // groups that a member leads
	bare  map[int]bareSince // that may turn out to be members
}

type bareSince struct {
	born int64
	at   time.Time
}

// look goes through all processes once. It calls act for members as they are
// seen, with whether they are new, and reports how many there are, and whether
// there may be others.
func (h *hunt) look(act func(m member, fresh bool)) (living int, unsure bool) {
	if h.above == nil {
		h.above = ancestors()
		h.seen = make(map[int]int64)
	}
	var others []member
	found, bare, leads := make(map[int]int64), make(map[int]bareSince), make(map[int]bool)
	strangers := make(map[int]bool)
	self := os.Getpid()
	take := func(m member) {
		fresh := h.known[m.pid] != m.born
		found[m.pid] = m.born
		h.seen[m.pid] = m.born
		if m.group == m.pid || h.leads[m.group] {
			leads[m.group] = true
		}
		act(m, fresh)
	}
	eachProcess(func(m member) {
		switch {
		case m.pid == self || !m.lives():
		case m.born < h.since:
			strangers[m.pid] = !h.above[m.pid]
		case leads[m.group] || h.related(m, found):
			take(m)
		case h.since > 0 && strangers[m.parent]: // who loses its parent gets one of ours
			strangers[m.pid] = true
			others = append(others, m)
		default:
			mark, none := markOf(m.pid)
			if h.marked(mark) {
				take(m)
				return
			}
			strangers[m.pid] = !h.above[m.pid]
			others = append(others, m)
			if none && h.above[m.parent] {
				h.suspect(m, bare)
			}
		}
	})
	for again := true; again; { // numbers start anew at some time: a child may come before its parent
		again = false
		for _, m := range others {
			if _, known := found[m.pid]; !known && found[m.parent] != 0 {
				take(m)
				again = true
			}
		}
	}
	h.known, h.bare = found, bare
	h.leads = leads // the number of a group that has ended may be given anew
	for _, b := range bare {
		unsure = unsure || time.Since(b.at) < bareTime
	}
	return len(found), unsure
}

// related tells members that need not show a mark.
func (h *hunt) related(m member, found map[int]int64) bool {
	return h.group != 0 && m.group == h.group || h.leads[m.group] || h.known[m.pid] == m.born || found[m.parent] != 0
}

// suspect remembers a process that shows no environment: it may be a member in
// the middle of an exec.
func (h *hunt) suspect(m member, bare map[int]bareSince) {
	since, ok := h.bare[m.pid]
	if !ok || since.born != m.born {
		since = bareSince{m.born, time.Now()}
	}
	bare[m.pid] = since
}

// end ends all members. It gives up on what is still there after huntTime.
func (h *hunt) end() {
	for begun := time.Now(); time.Since(begun) < huntTime; time.Sleep(huntRest) {
		if h.freeze(begun) {
			h.reap()
			return
		}
		h.look(func(m member, _ bool) { m.signal(syscall.SIGKILL) })
	}
}

// freeze stops members until a look finds no new one. It reports whether there
// is none at all.
func (h *hunt) freeze(begun time.Time) (none bool) {
	for {
		fresh := false
		living, unsure := h.look(func(m member, isNew bool) {
			fresh = fresh || isNew
			if m.state == "T" {
				return
			}
			if m.group == h.group || m.group == m.pid || h.leads[m.group] { // all of a group at once
				_ = syscall.Kill(-m.group, syscall.SIGSTOP)
			}
			m.signal(syscall.SIGSTOP)
		})
		if !fresh || time.Since(begun) > huntTime {
			return living == 0 && !unsure
		}
	}
}

// reap waits for what has ended and lost its parent, where that makes it a child
// of this process: the first one of a container, or a subreaper. Nobody else
// would, and numbers of processes run out.
func (h *hunt) reap() {
	self := os.Getpid()
	eachProcess(func(m member) {
		if m.state == "Z" && m.parent == self && m.pid != h.group && m.born >= h.since && (m.group == h.group || h.seen[m.pid] == m.born) {
			_, _ = syscall.Wait4(m.pid, nil, syscall.WNOHANG, nil)
		}
	})
}
