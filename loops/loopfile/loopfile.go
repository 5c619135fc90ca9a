package loopfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

// MaxSize is the size above which a loop file is refused, in bytes.
const MaxSize = 1 << 20

// Extensions are the endings of loop file names, in the order in which a file
// is looked for by name.
func Extensions() []string {
	return []string{".loop.yaml", ".loop.yml", ".loop.md", ".loop.json"}
}

// File is a loop file that was read.
type File struct {
	Path string // absolute
	Dir  string // absolute folder of the file: what the spec's relative paths refer to
	Data []byte // exactly the bytes that Spec was read from
	Spec loops.Spec

	tree node
}

// Load reads the loop file at path. A file that is not a correct loop file
// gives joined [loops.FieldError]s with lines.
func Load(path string) (File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return File{}, fmt.Errorf("read loop file %s: %w", path, err)
	}
	if _, err := format(abs); err != nil {
		return File{}, fmt.Errorf("read loop file %s: %w", path, err)
	}
	data, err := read(abs)
	if err != nil {
		return File{}, fmt.Errorf("read loop file %s: %w", path, err)
	}
	f, err := parse(abs, data)
	f.Path, f.Dir, f.Data = abs, filepath.Dir(abs), data
	return f, err
}

// Parse reads a loop file from memory. Only the ending of name counts: it says
// which form data has. What is wrong is reported as joined
// [loops.FieldError]s with lines.
func Parse(name string, data []byte) (loops.Spec, error) {
	f, err := parse(name, data)
	return f.Spec, err
}

// Locate returns err with the line and column of each [loops.FieldError] in it
// that has none, for problems that were found after the file was read.
func (f File) Locate(err error) error {
	found := loops.FieldErrors(err)
	if len(found) == 0 {
		return err
	}
	return locate(f.tree, found)
}

func parse(name string, data []byte) (File, error) {
	read, err := format(name)
	if err != nil {
		return File{}, err
	}
	text, err := clean(data)
	if err != nil {
		return File{}, err
	}
	tree, err := read(text)
	if err != nil {
		return File{}, err
	}
	f := File{tree: tree}
	encoded := tree.appendJSON(nil)
	if f.Spec, err = loops.DecodeSpec(encoded); err != nil {
		return f, f.Locate(err)
	}
	return f, f.Locate(f.Spec.Validate())
}

// format returns the reader for a file of that name.
func format(name string) (func(text string) (node, error), error) {
	switch base := filepath.Base(name); {
	case strings.HasSuffix(base, ".loop.yaml"), strings.HasSuffix(base, ".loop.yml"):
		return parseYAML, nil
	case strings.HasSuffix(base, ".loop.json"):
		return parseJSON, nil
	case strings.HasSuffix(base, ".loop.md"):
		return parseMarkdown, nil
	}
	return nil, problem(0, 0, "a loop file's name ends in %s, got %q", strings.Join(slices.Sorted(slices.Values(Extensions())), ", "), filepath.Base(name))
}

// read returns the whole of a regular file of at most MaxSize bytes.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, cause(err)
	}
	return data, nil
}

// cause leaves out the path that the caller names anyway.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
