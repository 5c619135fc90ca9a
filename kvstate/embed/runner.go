package embed

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

const (
	runnersDir = "runners"
	lockSuffix = ".lock"
)

// runner is this process as one that works on loops: a file that it keeps locked
// as long as it lives.
type runner struct {
	dir  string
	name string
	lock *flock.Flock // held by reference: a collected lock is no lock; nil: there was no room for it
}

// newRunner gives this process a name and removes those of dead ones. Who only looks
// claims nothing, so nobody asks for its name: without room it has none there.
func newRunner(o Options) (*runner, error) {
	r, err := enroll(o)
	if err != nil && o.Looks && noRoom(err) {
		return &runner{dir: filepath.Join(o.Dir, runnersDir), name: newName()}, nil
	}
	return r, err
}

func newName() string { return "run-" + strings.ToLower(rand.Text()[:10]) }

func enroll(o Options) (*runner, error) {
	r := &runner{dir: filepath.Join(o.Dir, runnersDir)}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("say that this process works on the store: %w", err)
	}
	r.clear()
	for {
		name := newName()
		lock := flock.New(r.path(name), flock.SetPermissions(0o600))
		locked, err := lock.TryLock()
		if err != nil {
			return nil, fmt.Errorf("say that this process works on the store: %w", err)
		}
		if locked && same(lock) {
			r.name, r.lock = name, lock
			if err := r.describe(o); err != nil {
				return nil, errors.Join(err, r.close())
			}
			return r, nil
		}
		if err := lock.Unlock(); err != nil { // somebody cleared it away in between
			return nil, fmt.Errorf("say that this process works on the store: %w", err)
		}
	}
}

func (r *runner) path(name string) string { return filepath.Join(r.dir, name+lockSuffix) }

// same reports whether the locked file still has its name.
func same(lock *flock.Flock) bool {
	mine, err := lock.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(lock.Path())
	return err == nil && os.SameFile(mine, there)
}

// alive reports whether a process holds the lock of name. Names of another form
// belong to nobody who can be asked.
func (r *runner) alive(name string) bool {
	if name == "" || filepath.Base(name) != name {
		return false
	}
	path := r.path(name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	// Shared, so that those who ask at once are not taken for the process.
	probe := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := probe.TryRLock()
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	if free {
		_ = probe.Unlock() // closing it is all that can fail
	}
	return !free
}

// clear removes the files of processes that are gone.
func (r *runner) clear() {
	files, err := os.ReadDir(r.dir)
	if err != nil {
		return // it is only litter
	}
	for _, file := range files {
		name, ours := strings.CutSuffix(file.Name(), lockSuffix)
		if !ours {
			r.clearAbout(file.Name())
			continue
		}
		probe := flock.New(r.path(name), flock.SetFlag(os.O_RDONLY))
		if free, err := probe.TryLock(); err == nil && free {
			_ = os.Remove(r.about(name))
			_ = os.Remove(probe.Path()) // while it is locked; where that can't be done it stays
			_ = probe.Unlock()
		}
	}
}

// clearAbout removes what is written about a process whose lock is gone: its own
// end was cut off.
func (r *runner) clearAbout(file string) {
	name, _, _ := strings.Cut(file, ".")
	if _, err := os.Stat(r.path(name)); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(filepath.Join(r.dir, file)) // it is only litter
	}
}

// close gives the name up.
func (r *runner) close() error {
	if r.lock == nil {
		return nil
	}
	var problems []error
	for _, path := range []string{r.about(r.name), r.lock.Path()} {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(append(problems, r.lock.Unlock())...)
}
