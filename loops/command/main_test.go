package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

// script returns the argument vector of a shell script.
func script(text string) []string { return []string{"/bin/sh", "-c", text} }

// basics is an environment that scripts can live in.
func basics() []string { return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")} }

// lines makes an Emit that hands each line to a channel. The channel is large
// enough that no line of a test is lost.
func lines() (chan string, func(loops.Live)) {
	got := make(chan string, 1000)
	return got, func(l loops.Live) { got <- l.Text }
}

// next waits for a line that begins with prefix and returns the rest of it.
func next(t *testing.T, got chan string, prefix string) string {
	t.Helper()
	for {
		select {
		case line := <-got:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSpace(rest)
			}
		case <-t.Context().Done():
			t.Fatalf("no line with %q", prefix)
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
