package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Folder is what can be known of the directory of a store without touching it.
type Folder struct {
	Store    bool   // a store was made there
	Dir      string // the directory, or the nearest one above it that exists
	Writable bool   // by this process
	ReadOnly bool   // the file system is
	Network  string // the network file system that it is on; empty: none
	Free     int64  // bytes on the disk; 0 with Need 0: not known
	Need     int64  // bytes that are left free: with fewer nothing is begun
}

// Inspect looks at the directory of a store, which may not exist yet. It takes
// no part and changes nothing.
func Inspect(dir string) (Folder, error) {
	f := Folder{Dir: filepath.Clean(dir)}
	for {
		info, err := os.Stat(f.Dir)
		if err == nil && !info.IsDir() {
			return f, &NoFolderError{Dir: dir, Err: errFile(f.Dir)}
		}
		if err == nil {
			break
		}
		above := filepath.Dir(f.Dir)
		missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) // below a file
		if !missing || above == f.Dir {
			return f, &NoFolderError{Dir: dir, Err: err}
		}
		f.Dir = above
	}
	if f.Dir == filepath.Clean(dir) {
		_, err := os.Stat(filepath.Join(dir, lockFile))
		f.Store = err == nil
	}
	f.Network, f.Writable = networkFS(f.Dir), writable(f.Dir)
	now, err := spaceOf(f.Dir)
	if err != nil {
		return f, fmt.Errorf("ask for the disk of %s: %w", dir, err)
	}
	f.ReadOnly = now.readOnly
	if now.total > 0 {
		f.Free, f.Need = now.free, now.reserve()
	}
	return f, nil
}

// NoFolderError says that there is no folder where a store is to be, and that none
// can be made.
type NoFolderError struct {
	Dir string
	Err error // why not
}

// Unwrap returns why not.
func (e *NoFolderError) Unwrap() error { return e.Err }

// Error names the folder and says what to do.
func (e *NoFolderError) Error() string {
	why := e.Err.Error()
	if readOnly(e.Err) {
		why = "the file system there is read-only"
	}
	return fmt.Sprintf("can't make the folder %s: %s: choose another one with LOOP_MCP_HOME", e.Dir, why)
}

// MakeFolder makes the folder of a store, closed to others, if it is not there. An
// error says why there can be none, a [*NoFolderError] or a [*DiskError].
func MakeFolder(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		return nil
	}
	f, unseen := Inspect(dir)
	switch {
	case isFile(unseen):
		return unseen
	case unseen != nil && errors.Is(err, fs.ErrPermission): // it may well be there
		return &DiskError{Dir: dir, Err: err}
	case unseen == nil && noRoom(err):
		return &DiskError{Dir: f.Dir, Free: f.Free, Need: f.Need, Err: err}
	}
	return &NoFolderError{Dir: dir, Err: err}
}

// errFile is why there can be no folder: a file has its name, or that of one above.
type errFile string

func (e errFile) Error() string { return string(e) + " is a file" }

func isFile(err error) bool {
	_, is := errors.AsType[errFile](err)
	return is
}
