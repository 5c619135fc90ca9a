package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const formatFile = "FORMAT"

// Format is the number of how a store is laid out: its folders, its streams. A
// program opens stores of its own number and of lower ones.
const Format = 1

// NewerError says that a newer version of the program made a store.
type NewerError struct {
	Dir    string
	Format int // of the store; this program has [Format]
}

// Error says what to do.
func (e *NewerError) Error() string {
	return fmt.Sprintf("the store in %s was made by a newer version (format %d, this program reads %d): update this program, or set LOOP_MCP_HOME to another directory", e.Dir, e.Format, Format)
}

// checkFormat refuses a store of a newer format and writes the number into one
// that has none. A number that can't be read says nothing.
func checkFormat(dir string) error {
	path := filepath.Join(dir, formatFile)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the format of the store: %w", err)
	}
	format, err := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err == nil && format > Format:
		return &NewerError{Dir: dir, Format: format}
	case err == nil && format == Format:
		return nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(Format)+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the format of the store: %w", err)
	}
	return nil
}
