package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// member is one living process, as /proc showed it.
type member struct {
	pid, parent, group int
	born               int64 // clock ticks after boot
}

// signal reaches the process that was looked at and no later one with its
// number: FindProcess holds a handle (pidfd) before born is compared.
func (m member) signal(sig syscall.Signal) {
	p, err := os.FindProcess(m.pid)
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if now, ok := look(m.pid); ok && now.born == m.born {
		_ = p.Signal(sig) // it may be gone
	}
}

// members returns the living processes of the run: in the group, with the mark,
// or below one of these. One that was found once stays known, also when the end
// of its parent cuts it off.
func (t *groupTree) members() []member {
	found := choose(func(m member) bool {
		return m.born >= t.born && (m.group == t.pid || t.known[m.pid] == m.born || markOf(m.pid) == t.mark)
	})
	t.known = make(map[int]int64, len(found))
	for _, m := range found {
		t.known[m.pid] = m.born
	}
	return found
}

func (t *groupTree) alive() bool { return len(t.members()) > 0 }

// choose returns the processes for which belongs is true, and all below them.
func choose(belongs func(member) bool) []member {
	all := processes()
	self := os.Getpid()
	chosen := make(map[int]bool)
	children := make(map[int][]int)
	at := make(map[int]member, len(all))
	var open []int
	for _, m := range all {
		at[m.pid] = m
		children[m.parent] = append(children[m.parent], m.pid)
		if m.pid != self && belongs(m) {
			open = append(open, m.pid)
		}
	}
	var found []member
	for len(open) > 0 {
		pid := open[len(open)-1]
		open = open[:len(open)-1]
		if chosen[pid] || pid == self {
			continue
		}
		chosen[pid] = true
		found = append(found, at[pid])
		open = append(open, children[pid]...)
	}
	return found
}

func processes() []member {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []member
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if m, ok := look(pid); ok {
			all = append(all, m)
		}
	}
	return all
}

// look returns a living process; ok is false for one that is gone or a zombie.
func look(pid int) (m member, ok bool) {
	m, state := stat(pid)
	return m, state != "" && state != "Z" && state != "X"
}

// stat reads /proc/PID/stat; the state is empty for a process that is gone.
func stat(pid int) (m member, state string) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return m, ""
	}
	// The name in parentheses may hold anything, parentheses included.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return m, ""
	}
	fields := strings.Fields(string(data[end+1:])) // from field 3, the state
	if len(fields) < 20 {
		return m, ""
	}
	m.pid = pid
	m.parent, _ = strconv.Atoi(fields[1])
	m.group, _ = strconv.Atoi(fields[2])
	m.born, _ = strconv.ParseInt(fields[19], 10, 64)
	return m, fields[0]
}

// startedAt returns when a process started, in clock ticks after boot; 0 when
// it is gone.
func startedAt(pid int) int64 {
	m, _ := stat(pid)
	return m.born
}

// markOf returns the mark that a process inherited. Processes of other users
// don't show theirs.
func markOf(pid int) string {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return ""
	}
	for pair := range bytes.SplitSeq(data, []byte{0}) {
		if value, ok := bytes.CutPrefix(pair, []byte(markName+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// endLeftovers kills the processes that a dead worker started for owner, and
// those below them. A worker that lives keeps its own.
func endLeftovers(owner string) int {
	// A dying process shows no environment any more: known ones stay known.
	known := make(map[int]int64)
	left := func() []member {
		return choose(func(m member) bool {
			if known[m.pid] == m.born {
				return true
			}
			parts := strings.Split(markOf(m.pid), "|")
			return len(parts) == 3 && parts[0] == markOwner(owner) && !workerLives(parts[1])
		})
	}
	for range 50 {
		found := left()
		if len(found) == 0 {
			break
		}
		for _, m := range found {
			known[m.pid] = m.born
			m.signal(syscall.SIGKILL)
		}
		time.Sleep(4 * time.Millisecond)
	}
	return len(known)
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
