package embed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockFile = "LOCK"
)

// InUseError says that another process has the directory and does not share it.
type InUseError struct {
	Dir     string
	PID     int       // 0: not known
	Command string    // empty: not known
	Since   time.Time // zero: not known
	Silent  bool      // it should share the store, but it does not answer

	Suspended bool // it is known to be stopped; Silent as well
}

// Error names the holder and says what to do.
func (e *InUseError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d (%s, since %s)", e.PID, e.Command, e.Since.Local().Format(time.DateTime))
	}
	switch {
	case e.Suspended:
		return fmt.Sprintf("%s hosts the loops in %s and is stopped: let it go on (kill -CONT %d), or end it (kill -KILL %[3]d) and another process takes over", holder, e.Dir, e.PID)
	case e.Silent && e.PID != 0:
		return fmt.Sprintf("%s hosts the loops in %s and does not answer: let it go on if it is stopped (kill -CONT %d), or end it (kill -KILL %[3]d) and another process takes over", holder, e.Dir, e.PID)
	case e.Silent:
		return fmt.Sprintf("another process has the loops in %s and does not answer: end it, or set LOOP_MCP_HOME to another directory", e.Dir)
	}
	return fmt.Sprintf("the loops in %s are open in %s, which does not share them: end it, or set LOOP_MCP_HOME to another directory", e.Dir, holder)
}

// prepare makes the directory and closes it to others.
func prepare(opts Options) error {
	if err := MakeFolder(opts.Dir); err != nil {
		return err
	}
	if err := os.Chmod(opts.Dir, 0o700); err != nil { // others may have made it
		return fmt.Errorf("close the directory of the store to others: %w", err)
	}
	if opts.AllowNetwork {
		return nil
	}
	if kind := opts.network(opts.Dir); kind != "" {
		return fmt.Errorf("%s is on a network file system (%s), where a lock and a synced write may not be what they say, so loops could be lost: set LOOP_MCP_HOME to a directory on a local disk, or write network_store: allow into the configuration to take that risk", opts.Dir, kind)
	}
	return nil
}

func newLock(dir string) *flock.Flock {
	return flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
}

// patience is how long a lock may be held by nobody who says who it is: by a
// process that has just taken it, or by a child of a killed one that was made
// and has not become another program yet.
const patience = 2 * time.Second

// take takes the lock, or says which process has it.
func take(ctx context.Context, lock *flock.Flock, dir string) error {
	end := time.Now().Add(patience)
	for {
		locked, err := lock.TryLock()
		if err != nil {
			return fmt.Errorf("lock %s: %w: choose a directory on a local disk", lock.Path(), err)
		}
		if locked {
			return nil
		}
		found := inUse(dir)
		if found.PID != 0 || time.Now().After(end) {
			return found
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return found
		case <-timer.C:
		}
	}
}

// holds verifies that the lock keeps others out: on some network and container
// file systems everybody gets it.
func holds(path string) error {
	second := flock.New(path, flock.SetPermissions(0o600))
	locked, err := second.TryLock()
	if err == nil && !locked {
		return nil
	}
	return errors.Join(fmt.Errorf("locks do not work in %s, so two processes could destroy each other's loops: choose a directory on a local disk",
		filepath.Dir(path)), err, second.Unlock())
}

// inUse describes the process that has the directory, if it lives and has said
// who it is.
func inUse(dir string) *InUseError {
	found := &InUseError{Dir: dir}
	if e, ok := readEndpoint(dir); ok && lives(e.PID) {
		found.PID, found.Command, found.Since = e.PID, e.Command, e.Started
	}
	return found
}

// lives reports whether there may be a process with this id.
func lives(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil || pid <= 0 {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH)
}

// letGo unlocks the directory. What another host says of itself stays: it has
// another directory, with the same name.
func letGo(dir, runner string, lock *flock.Flock) error {
	var err error
	if e, ok := readEndpoint(dir); ok && e.PID == os.Getpid() && e.Runner == runner {
		err = os.Remove(filepath.Join(dir, endpointFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, lock.Unlock())
}
