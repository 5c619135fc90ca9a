package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := output(t, dir)
	if !strings.HasSuffix(first, "\n1.41421356237309\n") || !strings.Contains(first, "completed (goal.claimed)") {
		t.Errorf("the program printed %q", first)
	}
	if second := output(t, dir); second != first {
		t.Errorf("run again, it printed %q, not the loop it has: %q", second, first)
	}
}

// output is what the program prints.
func output(t *testing.T, dir string) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdout := os.Stdout
	os.Stdout = file
	err = run(t.Context(), dir)
	os.Stdout = stdout
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
