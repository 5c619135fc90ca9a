package embed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockFile   = "LOCK"
	holderFile = "holder.json"
)

// InUseError says that another process has the directory.
type InUseError struct {
	Dir     string
	PID     int       // 0: not known
	Command string    // empty: not known
	Since   time.Time // zero: not known
}

// Error names the holder and says what to do.
func (e *InUseError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d (%s, since %s)", e.PID, e.Command, e.Since.Local().Format(time.DateTime))
	}
	return fmt.Sprintf("the loops in %s are open in %s: use that one, end it, or set LOOP_MCP_HOME to another directory", e.Dir, holder)
}

// holder is what holder.json says about the process that has the directory.
type holder struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Version string    `json:"version"`
	Command string    `json:"command"`
}

// acquire makes the directory and locks it.
func acquire(ctx context.Context, opts Options) (*flock.Flock, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir := opts.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the store: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // others may have made it
		return nil, fmt.Errorf("close the directory of the store to others: %w", err)
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	if err := take(ctx, lock, dir); err != nil {
		return nil, err
	}
	if err := holds(lock.Path()); err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	if err := announce(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", holderFile, err), lock.Unlock())
	}
	return lock, nil
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

// announce tells other processes who has the directory.
func announce(opts Options) error {
	command := strings.Join(os.Args, " ")
	if len(command) > 200 {
		command = strings.ToValidUTF8(command[:200], "") + "…"
	}
	data, err := json.Marshal(holder{PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second), Version: opts.Version, Command: command})
	if err != nil {
		return err
	}
	path := filepath.Join(opts.Dir, holderFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// inUse describes the process that has the directory, if it lives and has said
// who it is.
func inUse(dir string) *InUseError {
	found := &InUseError{Dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, holderFile))
	var h holder
	if err == nil && json.Unmarshal(data, &h) == nil && lives(h.PID) {
		found.PID, found.Command, found.Since = h.PID, h.Command, h.Started
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

// letGo unlocks the directory.
func letGo(dir string, lock *flock.Flock) error {
	err := os.Remove(filepath.Join(dir, holderFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, lock.Unlock())
}
