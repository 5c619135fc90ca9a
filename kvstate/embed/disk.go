package embed

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The part of a disk that is left free, so that the server never meets a full
// one: a sixteenth of it, within these bounds. What ends or pauses a loop may use
// three quarters of that.
const (
	mostReserve  = 32 << 20
	leastReserve = 256 << 10
)

// A disk with plenty of room is asked again after a moment: nobody writes that
// much meanwhile.
const (
	plenty   = 1 << 30
	askEvery = 10 * time.Millisecond
)

// hungAfter is when a disk that has been written to for a test counts as one
// that does not answer.
const hungAfter = time.Second

// DiskError says why nothing can be written to the folder of a store now.
// Nothing that was acknowledged is lost, and work goes on without a restart when
// the cause is mended.
type DiskError struct {
	Dir  string
	Free int64 // bytes
	Need int64 // bytes that must be free; 0: room is not what is missing
	Err  error // what the system says; nil: room is all that is missing
}

// Lasts reports that waiting does not help: somebody has to do something.
func (e *DiskError) Lasts() bool { return true }

// Unwrap returns what the system says.
func (e *DiskError) Unwrap() error { return e.Err }

// Error names the folder and says what to do.
func (e *DiskError) Error() string {
	switch {
	case e.Err == nil || noRoom(e.Err):
		need := ""
		if e.Need > e.Free {
			need = fmt.Sprintf(", %s are needed", inBytes(e.Need))
		}
		return fmt.Sprintf("the disk of %s is full (%s free%s): make room on it, and the loops go on by themselves", e.Dir, inBytes(e.Free), need)
	case readOnly(e.Err):
		return fmt.Sprintf("the file system of %s is read-only: mount it writable, and the loops go on by themselves", e.Dir)
	case errors.Is(e.Err, errRemoved), errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("the folder %s, or a part of it, was removed while it was in use, and nothing is written any more: put it back within a minute, and the loops go on by themselves; later they are given up, and the next call of a client, or the next program, begins anew", e.Dir)
	case errors.Is(e.Err, errReplaced):
		return fmt.Sprintf("the folder %s was replaced by another one while it was in use: this program writes to neither and gives up the loops of the old one; the next call of a client, or the next program, works with the new one", e.Dir)
	case errors.Is(e.Err, errUnlocked):
		return fmt.Sprintf("the file %s in %s was removed while it was in use, and nothing is written any more: end the programs that use the folder (loop-mcp host shows them) and start anew", lockFile, e.Dir)
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("the folder %s may not be written to (%v): give this user its permissions back, for the folder and all that is in it, and the loops go on by themselves", e.Dir, e.Err)
	}
	return fmt.Sprintf("the disk of %s does not take what is written (%v): look at the system's log, and copy the folder to another disk; if it works again, the loops go on by themselves", e.Dir, e.Err)
}

var errHung = errors.New("a small file was not written within " + hungAfter.String())

// inBytes is a size for people.
func inBytes(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// Full reports whether an error says that a disk is full, or this user's part of it.
func Full(err error) bool { return noRoom(err) }

// space is what a file system says of itself.
type space struct {
	free, total int64 // bytes; total 0: it is not known
	readOnly    bool
}

// reserve is how much is left free for all but what ends or pauses a loop.
func (s space) reserve() int64 { return min(mostReserve, max(leastReserve, s.total/16)) }

// folder is the directory of a store, as this process has found it.
type folder struct {
	path string

	mu          sync.Mutex
	lock        os.FileInfo // of LOCK, which is never removed; nil: not seen yet
	server      os.FileInfo // of serverDir; nil: not seen yet
	last        space
	at          time.Time // when last was asked for
	millisecond time.Time // when the one began in which it was looked for last
	finds       int       // how often in it

	trying sync.Mutex
	since  time.Time // guarded by mu: when the test write under way began; zero: none is
}

// room returns a [*DiskError] when size bytes can't be written. urgent is for
// what ends or pauses a loop: it may use what else is left free.
func (f *folder) room(size int64, urgent bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if err := f.still(now); err != nil {
		return err
	}
	if f.last.free < plenty || size > plenty/2 || now.Sub(f.at) > askEvery {
		if err := f.look(); err != nil {
			f.last = space{}
			return err
		}
		f.at = now
	}
	need := f.last.reserve()
	if urgent {
		need /= 4
	}
	if need += size; f.last.total > 0 && f.last.free < need {
		return &DiskError{Dir: f.path, Free: f.last.free, Need: need}
	}
	return nil
}

// look asks the system. The caller holds mu.
func (f *folder) look() error {
	var err error
	f.last, err = spaceOf(f.path)
	switch {
	case err != nil:
		return &DiskError{Dir: f.path, Err: err}
	case f.last.readOnly:
		return &DiskError{Dir: f.path, Err: errReadOnly}
	}
	return nil
}

// try writes a small file, which shows what asking does not. It returns soon
// also when the disk does not.
func (f *folder) try() error {
	if err := f.room(0, false); err != nil {
		return err
	}
	if !f.trying.TryLock() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.since.IsZero() && time.Since(f.since) > hungAfter {
			return &DiskError{Dir: f.path, Err: errHung}
		}
		return nil
	}
	defer f.trying.Unlock()
	return f.tried()
}

// works reports whether a try of its own succeeds. While another one is under way
// that is not known.
func (f *folder) works() bool {
	if f.room(0, false) != nil || !f.trying.TryLock() {
		return false
	}
	defer f.trying.Unlock()
	return f.tried() == nil
}

// tried is try for who holds trying.
func (f *folder) tried() error {
	f.began(time.Now())
	defer f.began(time.Time{})
	return f.because(cmp.Or(writeSome(f.path), shut(f.path)))
}

// shut returns an error when a folder or file in dir may not be written to.
func shut(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
			return nil
		case err != nil:
			return err
		case entry.IsDir() && !writable(path), entry.Type().IsRegular() && !usable(path) && exists(path):
			return &fs.PathError{Op: "write to", Path: path, Err: fs.ErrPermission}
		}
		return nil
	})
}

func (f *folder) began(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since = at
}

func writeSome(dir string) error {
	file, err := os.CreateTemp(dir, "try-*")
	if err != nil {
		return nameless(err)
	}
	_, err = file.Write(make([]byte, 4096))
	if err == nil {
		err = file.Sync()
	}
	return cmp.Or(nameless(err), nameless(file.Close()), nameless(os.Remove(file.Name())))
}

// nameless is what the system says, without the name of a file that is another
// one each time: the same trouble is logged once.
func nameless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// because returns a [*DiskError] for an error of a write.
func (f *folder) because(err error) error {
	if err == nil {
		return nil
	}
	e := &DiskError{Dir: f.path, Err: err}
	if now, askErr := spaceOf(f.path); askErr == nil {
		e.Free, e.Need = now.free, now.reserve()
	}
	return e
}

// explain puts the disk in front of an error that it may be the cause of.
func (f *folder) explain(err error) error {
	var known *DiskError
	var none *NoFolderError
	if err == nil || errors.As(err, &known) || errors.As(err, &none) {
		return err
	}
	if cause := f.try(); cause != nil {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	if errors.Is(err, fs.ErrPermission) { // of what is in it
		return &DiskError{Dir: f.path, Err: err}
	}
	return err
}
