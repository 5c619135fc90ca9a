package judge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

const (
	maxFile  = 256 << 20 // a larger one is named and not read
	fileEnds = 96 << 10  // bytes kept of the head and of the tail of a large file
	sniffed  = 8 << 10   // bytes that decide whether a file is text
)

// locate makes the path of a file absolute.
func locate(path, cwd, dir string) string {
	if !filepath.IsAbs(cwd) {
		cwd = filepath.Join(dir, cwd)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(cwd, path)
	}
	return filepath.Clean(path)
}

// mayLook says why a file may not be read, whether it is there or not. Of a
// missing one, the nearest folder above it counts.
func (m *Model) mayLook(path string, source loops.Source) error {
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			if info, err := os.Stat(real); err == nil && !info.IsDir() {
				real = filepath.Dir(real)
			}
			return m.Policy.MayRead(real, source)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s can't be read: %w", path, err)
		}
		above := filepath.Dir(path)
		if above == path {
			return fmt.Errorf("%s can't be read: %w", path, err)
		}
		path = above
	}
}

// lookFile reads a file. That it is missing, no text or out of reach is
// evidence too: the worker could have brought it about, and must not end the
// loop by it.
func (m *Model) lookFile(ctx context.Context, e loops.Evidence, b brief, look loops.Look) (item, error) {
	path := locate(look.Path, b.Cwd, e.Dir)
	says := func(fact string) (item, error) {
		return item{source: look.Path, observed: true, facts: []string{fact}, hash: digest(fact), stable: digest(fact)}, nil
	}
	if err := m.mayLook(path, e.Source); err != nil {
		return says("the file is not shown: " + plain(err.Error()))
	}
	f, size, err := openRegular(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return says("the file does not exist")
	case err != nil:
		return says("the file is not shown: " + plain(err.Error()))
	case size > maxFile:
		f.Close()
		return says(fmt.Sprintf("the file is not shown: it has %d bytes, more than the %d MiB that evidence may have", size, maxFile>>20))
	}
	defer f.Close()
	it, err := readEnds(ctx, f)
	if ctx.Err() != nil {
		return item{}, context.Cause(ctx)
	}
	if err != nil {
		return says("the file is not shown: " + plain(err.Error()))
	}
	it.source = look.Path
	return it, nil
}

// openRegular opens a file that is one: not a folder, and not a pipe that would
// wait for a writer. A link that replaces it meanwhile leads nowhere.
func openRegular(path string) (*os.File, int64, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := os.Lstat(real)
	switch {
	case err != nil:
		return nil, 0, err
	case info.IsDir():
		return nil, 0, errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return nil, 0, errors.New("it is no regular file")
	}
	root, err := os.OpenRoot(filepath.Dir(real))
	if err != nil {
		return nil, 0, err
	}
	defer root.Close() //nolint:errcheck // it was only read from
	f, err := root.Open(filepath.Base(real))
	return f, info.Size(), err
}

// readEnds hashes a whole file and keeps its head and tail.
func readEnds(ctx context.Context, f io.Reader) (item, error) {
	whole := sha256.New()
	var head, tail []byte
	var total int64
	part := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := f.Read(part)
		whole.Write(part[:n])
		if total += int64(n); total > maxFile {
			return item{}, fmt.Errorf("it has more than the %d MiB that evidence may have", maxFile>>20)
		}
		keep := min(n, fileEnds-len(head))
		head = append(head, part[:keep]...)
		tail = append(tail, part[keep:n]...)
		if len(tail) > 2*fileEnds {
			tail = append(tail[:0], tail[len(tail)-fileEnds:]...)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return item{}, err
		}
	}
	tail = tail[max(0, len(tail)-fileEnds):]
	return fileItem(head, tail, total, hex.EncodeToString(whole.Sum(nil))), nil
}

func fileItem(head, tail []byte, total int64, sum string) item {
	it := item{observed: true, hash: sum, stable: sum}
	switch {
	case total == 0:
		it.facts = []string{"the file is empty"}
	case binary(head):
		it.facts = []string{fmt.Sprintf("the file is not text: %d bytes, SHA-256 %s", total, sum)}
	default:
		if cut := total - int64(len(head)) - int64(len(tail)); cut > 0 {
			it.text = plain(strings.ToValidUTF8(string(head), "")) + cutNote(cut) + plain(strings.ToValidUTF8(string(tail), ""))
			return it
		}
		it.text = plain(string(head) + string(tail))
		if fold(it.text) == "" {
			it.facts = []string{"the file holds nothing but white space"}
		}
	}
	return it
}

// binary reports whether the beginning of a file is not text.
func binary(head []byte) bool {
	head = head[:min(len(head), sniffed)]
	if bytes.IndexByte(head, 0) >= 0 {
		return true
	}
	bad := 0
	for rest := head; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			bad++
		}
		rest = rest[size:]
	}
	return bad > len(head)/10+utf8.UTFMax // Latin-1 is text too, and the sample may cut a character
}
