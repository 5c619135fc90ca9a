package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// trustStore is the file that `loop-mcp trust` keeps: the absolute path of each
// trusted loop file with the SHA-256 of its content. Files below own need no
// entry: they lie in the user's configuration folder.
type trustStore struct {
	path string
	own  string
}

// check returns nil when exactly this content of the file is trusted, else why
// not, as a sentence.
func (t trustStore) check(file string, content []byte) error {
	if rest, err := filepath.Rel(t.own, file); err == nil && filepath.IsLocal(rest) {
		return nil
	}
	pins, err := t.pins()
	if err != nil {
		return err
	}
	switch pinned, ok := pins[file]; {
	case !ok:
		return fmt.Errorf("the loop file %s is not trusted: it runs commands of its own; have the user read it and run `loop-mcp trust %s`", file, file)
	case pinned != hash(content):
		return fmt.Errorf("the loop file %s has changed since it was trusted; have the user read it again and run `loop-mcp trust %s`", file, file)
	}
	return nil
}

// pin trusts the content of a file.
func (t trustStore) pin(file string, content []byte) error {
	pins, err := t.pins()
	if err != nil {
		return err
	}
	pins[file] = hash(content)
	return t.write(pins)
}

// unpin takes the trust back; it reports whether there was any.
func (t trustStore) unpin(file string) (bool, error) {
	pins, err := t.pins()
	if err != nil {
		return false, err
	}
	if _, ok := pins[file]; !ok {
		return false, nil
	}
	delete(pins, file)
	return true, t.write(pins)
}

func (t trustStore) write(pins map[string]string) error {
	data, err := json.MarshalIndent(pins, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(t.path, append(data, '\n'))
}

func (t trustStore) pins() (map[string]string, error) {
	data, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(data)) == "" {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the trusted files: %w", err)
	}
	pins := map[string]string{}
	if err := json.Unmarshal(data, &pins); err != nil {
		return nil, fmt.Errorf("read the trusted files: %s is not the JSON that loop-mcp writes: %w; remove it and trust the files again", t.path, err)
	}
	return pins, nil
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
