package embed_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/kvstate/embed"
)

// TestInspectLooksAndMakesNothing: before there is a store, and with one.
func TestInspectLooksAndMakesNothing(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, "state", "loop-mcp")
	f, err := embed.Inspect(dir)
	if err != nil || f.Store || f.Dir != home || !f.Writable || f.ReadOnly || f.Network != "" || f.Free == 0 || f.Need == 0 {
		t.Errorf("%+v %v", f, err)
	}
	if entries, _ := os.ReadDir(home); len(entries) > 0 {
		t.Errorf("looking made %v", entries)
	}
	h, err := embed.Start(t.Context(), embed.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err := embed.Inspect(dir); err != nil || !f.Store || f.Dir != dir {
		t.Errorf("%+v %v", f, err)
	}
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embed.Inspect(file); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Error(err)
	}
	if _, err := embed.Inspect(filepath.Join(file, "below")); err == nil {
		t.Error("a folder below a file was found")
	}
}
