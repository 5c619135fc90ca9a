package mark

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The names of files.
const (
	suffix = ".mark"
	half   = ".new" // of one that is being written
)

// maxDead is how many files of dead writers are left where they are.
const maxDead = 8

// refresh reads what other writers have added. The caller holds mu.
func (f *File) refresh() error {
	if f.opts.There() != nil { // whoever reads the store itself is told
		return nil //nolint:nilerr // see above
	}
	for try := 0; ; try++ {
		entries, err := os.ReadDir(f.opts.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, entry := range entries {
			if name := entry.Name(); err == nil && strings.HasSuffix(name, suffix) && name != filepath.Base(f.path) {
				err = f.readOther(name)
			}
		}
		// One was merged into another one meanwhile, which may be new.
		if !errors.Is(err, fs.ErrNotExist) || try == 10 {
			return err
		}
	}
}

// readOther reads what is new in a file of another writer. Names are used once,
// so what was read of it stays as it is.
func (f *File) readOther(name string) error {
	path := filepath.Join(f.opts.Dir, name)
	info, err := os.Stat(path)
	from, known := f.others[name]
	if err != nil || known && info.Size() <= from {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	data := make([]byte, info.Size()-from)
	n, err := in.ReadAt(data, from)
	if data = data[:n]; err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if from == 0 {
		head, err := checkHead(path, data)
		if err != nil {
			return err
		}
		from, data = int64(head), data[head:]
	}
	n, damaged := f.all.read(data)
	f.others[name] = from + int64(n)
	f.damaged += damaged
	return nil
}

// checkHead returns the length of a file's first line. A file of another format
// is an error, one whose first line is damaged is not.
func checkHead(path string, data []byte) (int, error) {
	if strings.HasPrefix(string(data), headline) {
		return len(headline), nil
	}
	head, _, whole := strings.Cut(string(data), "\n")
	if whole && strings.HasPrefix(head, headPrefix) {
		return 0, fmt.Errorf("%s has another format (%q) than this program writes: use a newer program", path, head)
	}
	return 0, nil
}

// write appends lines. The caller holds mu.
func (f *File) write(lines []byte) error {
	if f.out == nil {
		if err := f.create([]byte(headline)); err != nil {
			return err
		}
	}
	n, err := f.out.Write(lines)
	f.size += int64(n)
	return err
}

// create makes a file with a new name, which holds data from the moment on at
// which others see it, and opens it for appending.
func (f *File) create(data []byte) error {
	if err := f.opts.There(); err != nil {
		return err
	}
	if err := os.MkdirAll(f.opts.Dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(f.opts.Dir, url.QueryEscape(f.opts.Writer)+"."+strings.ToLower(rand.Text()[:10])+suffix)
	out, err := os.OpenFile(path+half, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(path+half, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+half))
	}
	if out, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	f.path, f.out, f.size = path, out, int64(len(data))
	return syncDir(f.opts.Dir)
}

// sync makes sure that what was noted is on the disk. The caller holds mu.
func (f *File) sync() error {
	if f.out == nil {
		return nil
	}
	if err := f.out.Sync(); err != nil {
		return err
	}
	f.unsynced = 0
	return nil
}

// settle syncs, or writes the file anew when that is due. The caller holds mu.
func (f *File) settle() error {
	if f.out == nil && !f.broken {
		return nil
	}
	if f.outgrown() {
		return f.rewrite()
	}
	if f.unsynced == 0 {
		return nil
	}
	return f.sync()
}

// outgrown reports whether the file is to be written anew: because it is large
// for what it says, with what dead writers left, because writing to it failed,
// or because it is gone: somebody took this process for dead.
func (f *File) outgrown() bool {
	if f.broken {
		return true
	}
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	size, dead := f.size, f.dead()
	for _, name := range dead {
		size += f.others[name]
	}
	return len(dead) > maxDead || size > max(minGrowth, growth*f.base)
}

// dead returns the files that nobody writes to any more.
func (f *File) dead() (names []string) {
	for name := range f.others {
		writer := name[:strings.LastIndexByte(strings.TrimSuffix(name, suffix), '.')+1]
		writer, err := url.QueryUnescape(strings.TrimSuffix(writer, "."))
		if err == nil && !f.opts.Alive(writer) {
			names = append(names, name)
		}
	}
	return names
}

// rewrite begins a new file with all that is known and removes the one before
// and those of dead writers. The caller holds mu.
func (f *File) rewrite() error {
	if err := f.refresh(); err != nil {
		return err
	}
	now := time.Now()
	for key, m := range f.all {
		if m.forgotten(now) {
			delete(f.all, key)
		}
	}
	before, old := f.out, f.path
	data := f.all.encode()
	if err := f.create(data); err != nil {
		return err
	}
	f.unsynced, f.broken, f.base = 0, false, int64(len(data))
	var err error
	if before != nil {
		err = errors.Join(before.Close(), remove(old))
	}
	for _, name := range f.dead() {
		err = errors.Join(err, remove(filepath.Join(f.opts.Dir, name)))
		delete(f.others, name)
	}
	return err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
