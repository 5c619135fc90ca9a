package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// member is one process, as /proc showed it.
type member struct {
	pid, parent, group int
	state              string // "Z": has ended and was not waited for
	born               int64  // clock ticks after boot
}

// lives is false for what is gone and for zombies.
func (m member) lives() bool { return m.state != "" && m.state != "Z" && m.state != "X" }

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

// eachProcess calls f for all processes, the newest last, and reads the list in
// small pieces: a number in it is soon out of date.
func eachProcess(f func(member)) {
	fd, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }() // only read
	buf := make([]byte, 512)
	var names []string
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil {
				if m := stat(pid); m.state != "" {
					f(m)
				}
			}
		}
	}
}

// look returns a living process; ok is false for one that is gone or a zombie.
func look(pid int) (m member, ok bool) {
	m = stat(pid)
	return m, m.lives()
}

// stat reads /proc/PID/stat; the state is empty for a process that is gone.
func stat(pid int) member {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return member{}
	}
	// The name in parentheses may hold anything, parentheses included.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return member{}
	}
	fields := strings.Fields(string(data[end+1:])) // from field 3, the state
	if len(fields) < 20 {
		return member{}
	}
	m := member{pid: pid, state: fields[0]}
	m.parent, _ = strconv.Atoi(fields[1])
	m.group, _ = strconv.Atoi(fields[2])
	m.born, _ = strconv.ParseInt(fields[19], 10, 64)
	return m
}

// startedAt returns when a process started, in clock ticks after boot; 0 when
// it is gone.
func startedAt(pid int) int64 { return stat(pid).born }

// markOf returns the mark that a process inherited. Processes of other users
// don't show theirs. bare is true when the process shows no environment at all:
// it was given none, or it is just being replaced by another program.
func markOf(pid int) (mark string, bare bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return "", false
	}
	for pair := range bytes.SplitSeq(data, []byte{0}) {
		if value, ok := bytes.CutPrefix(pair, []byte(markName+"=")); ok {
			return string(value), false
		}
	}
	return "", len(data) == 0
}

// ancestors returns this process and those above it: who loses its parent gets
// one of them, or a process below that is itself part of the run.
func ancestors() map[int]bool {
	above := make(map[int]bool)
	for pid := os.Getpid(); pid > 0 && !above[pid]; pid = stat(pid).parent {
		above[pid] = true
	}
	above[1] = true
	return above
}
