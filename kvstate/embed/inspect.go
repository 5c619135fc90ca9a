package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
			return f, inTheWay(dir, errors.New(f.Dir+" is a file"))
		}
		if err == nil {
			break
		}
		above := filepath.Dir(f.Dir)
		if !errors.Is(err, fs.ErrNotExist) || above == f.Dir {
			return f, inTheWay(dir, err)
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

func inTheWay(dir string, err error) error {
	return fmt.Errorf("there can be no folder %s: %w: move what is in its way, or set LOOP_MCP_HOME to another folder", dir, err)
}
