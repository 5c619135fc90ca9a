package embed_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/internal/disktest"
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
	if _, err := embed.Inspect(filepath.Join(file, "below")); err == nil || !strings.Contains(err.Error(), file+" is a file") {
		t.Errorf("below a file: %v", err)
	}
}

// TestAFolderThatCannotBeMadeIsNotSaidToHaveBeenRemoved, nor its disk to be broken:
// another one is to be chosen.
func TestAFolderThatCannotBeMadeIsNotSaidToHaveBeenRemoved(t *testing.T) {
	disk := disktest.Small(t, 4<<20)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	disk.ReadOnly(true)
	for dir, why := range map[string]string{
		file:                             file + " is a file",
		filepath.Join(file, "a", "b"):    file + " is a file",
		filepath.Join(disk.Dir, "a"):     "the file system there is read-only",
		"/proc/loop-mcp":                 "no such file or directory",
		filepath.Join("/proc", "a", "b"): "no such file or directory",
	} {
		_, alone := embed.Start(t.Context(), embed.Options{Dir: dir})
		_, err := embed.Join(t.Context(), embed.Options{Dir: dir})
		for _, err := range []error{err, alone} {
			want := "can't make the folder " + dir + ": "
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), why) || !strings.HasSuffix(err.Error(), ": choose another one with LOOP_MCP_HOME") {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
}
