package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// maxFile is the largest configuration that is read: Claude Code keeps histories
// in its own, of some megabytes.
const maxFile = 64 << 20

// file is a configuration on the disk as it was when it was read.
type file struct {
	path   string // where it really is: behind links
	exists bool
	data   []byte
	info   fs.FileInfo
}

// readFile reads a file, behind links; one that is not there is empty.
func readFile(path string) (file, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if link, err := os.Readlink(path); err == nil {
			return file{}, fmt.Errorf("%s is a link to %s, which is not there: put that file there or remove the link", path, link)
		}
		return file{path: path}, nil
	}
	if err != nil {
		return file{}, fmt.Errorf("read the configuration: %w", err)
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return file{}, fmt.Errorf("read the configuration: %w", err)
	case !info.Mode().IsRegular():
		return file{}, fmt.Errorf("%s is no file", path)
	case info.Size() > maxFile:
		return file{}, fmt.Errorf("%s has %d bytes, too many for a configuration", path, info.Size())
	}
	data, err := os.ReadFile(real)
	if err != nil {
		return file{}, fmt.Errorf("read the configuration: %w", err)
	}
	return file{path: real, exists: true, data: data, info: info}, nil
}

// same returns an error when the file is not as it was read.
func (f file) same() error {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) && !f.exists {
		return nil
	}
	if err == nil && (!f.exists || !bytes.Equal(data, f.data)) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s was changed meanwhile by another program, and is left alone: run the command again", f.path)
	}
	return err
}

// backup writes a copy beside the file and returns its path; empty: there is
// nothing to copy.
func (f file) backup(now time.Time) (string, error) {
	if !f.exists {
		return "", nil
	}
	base := f.path + ".loop-mcp-" + now.Format("20060102T150405")
	for n := range 100 {
		path := base + ".bak"
		if n > 0 {
			path = fmt.Sprintf("%s-%d.bak", base, n)
		}
		out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = fill(out, f.data, f.info)
		}
		if err != nil {
			return "", fmt.Errorf("keep a copy of %s: %w", f.path, err)
		}
		return path, nil
	}
	return "", fmt.Errorf("keep a copy of %s: there are a hundred of this second", f.path)
}

// fill writes a new file to the end, with the owner and mode of another one.
func fill(out *os.File, data []byte, like fs.FileInfo) error {
	_, err := out.Write(data)
	if err == nil && like != nil {
		err = errors.Join(keepOwner(out, like), out.Chmod(like.Mode().Perm()))
	}
	return errors.Join(err, out.Sync(), out.Close())
}

// replace puts other bytes in the place of the file, in one step: whoever reads
// it meanwhile sees the old or the new ones.
func (f file) replace(data []byte) error {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	// The mode of the temporary file hides what the configuration hides.
	out, err := os.CreateTemp(dir, "."+filepath.Base(f.path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	err = fill(out, data, f.info)
	if err == nil {
		err = f.same()
	}
	if err == nil {
		err = os.Rename(out.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, errors.Join(err, os.Remove(out.Name())))
	}
	return nil
}
