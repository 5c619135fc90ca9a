package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"example.com/loop-mcp/kvstate/embed"
)

// configDir is the folder of config.yaml, allow, trust.json and loops/.
func configDir(env func(string) string) (string, error) {
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "loop-mcp"), nil
	}
	return belowHome(env, ".config", "loop-mcp")
}

// dataDir is the folder of the store.
func dataDir(env func(string) string) (string, error) {
	if dir := env("LOOP_MCP_HOME"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "loop-mcp"), nil
	}
	return belowHome(env, ".local", "state", "loop-mcp")
}

func belowHome(env func(string) string, parts ...string) (string, error) {
	home, err := homeDir(env)
	if err != nil {
		return "", err
	}
	return filepath.Join(append([]string{home}, parts...)...), nil
}

func homeDir(env func(string) string) (string, error) {
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if home := env(name); filepath.IsAbs(home) {
			return home, nil
		}
	}
	return "", errors.New("find the home folder: HOME is not set; set it, or LOOP_MCP_HOME and XDG_CONFIG_HOME")
}

// writeFile replaces a file of the configuration in one step, so that a server
// that reads it meanwhile sees the old or the new text, never a part.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return unwritten("write "+path, path, err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return unwritten("write "+path, path, err)
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(0o600), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return unwritten("write "+path, path, errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// unwritten says why a file was not written, and when its disk is full what to do.
func unwritten(what, path string, err error) error {
	if embed.Full(err) {
		return fmt.Errorf("%s: the disk of %s is full: make room on it and try again (%w)", what, filepath.Dir(path), err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
