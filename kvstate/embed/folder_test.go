package embed_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"example.com/loop-mcp/internal/disktest"
	"example.com/loop-mcp/kvstate/embed"
)

func takePart(t *testing.T, opts embed.Options) *embed.Member {
	t.Helper()
	m, err := embed.Join(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Log(err) // of a folder that is gone
		}
	})
	return m
}

// TestAStoreOfANewerVersionIsRefused as a whole, with a sentence.
func TestAStoreOfANewerVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := start(t, embed.Options{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	for text, refused := range map[string]bool{"2\n": true, "99": true, "1": false, "": false, "x\x00": false} {
		if err := os.WriteFile(filepath.Join(dir, "FORMAT"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, open := range map[string]func(context.Context, embed.Options) error{
			"Start": func(ctx context.Context, o embed.Options) error {
				h, err := embed.Start(ctx, o)
				if err == nil {
					err = h.Close()
				}
				return err
			},
			"Join": func(ctx context.Context, o embed.Options) error {
				m, err := embed.Join(ctx, o)
				if err == nil {
					err = m.Close()
				}
				return err
			},
		} {
			err := open(t.Context(), embed.Options{Dir: dir})
			var newer *embed.NewerError
			if errors.As(err, &newer) != refused || refused && !strings.Contains(err.Error(), "update this program") || !refused && err != nil {
				t.Errorf("%s with %q: %v", name, text, err)
			}
		}
	}
}

// TestTheFolderIsRemovedWhileItIsInUse, or replaced by another one: nothing is
// written into nowhere, both say so, and go on when it is back.
func TestTheFolderIsRemovedWhileItIsInUse(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a folder in use can't be removed there")
	}
	for _, replaced := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "data")
		host := takePart(t, embed.Options{Dir: dir})
		other := takePart(t, embed.Options{Dir: dir})
		put(t, host, "key", "value")
		if err := errors.Join(host.Room(1, false), other.Room(1, true), host.Try(), other.Try()); err != nil {
			t.Fatal(err)
		}
		aside := dir + ".aside"
		if err := os.Rename(dir, aside); err != nil {
			t.Fatal(err)
		}
		if replaced {
			third := takePart(t, embed.Options{Dir: dir}) // a store of its own
			put(t, third, "key", "other")
		}
		for name, m := range map[string]*embed.Member{"the host": host, "the other": other} {
			var disk *embed.DiskError
			if err := m.Room(1, true); !errors.As(err, &disk) || !strings.Contains(err.Error(), "removed or replaced") || !strings.Contains(err.Error(), dir) {
				t.Errorf("replaced %t: %s says %v", replaced, name, err)
			}
		}
		if replaced {
			continue
		}
		if err := os.Rename(aside, dir); err != nil {
			t.Fatal(err)
		}
		put(t, other, "key", "again")
		if err := other.Room(1, false); err != nil {
			t.Error(err)
		}
	}
}

// TestTheLockIsRemovedWhileItIsInUse: nobody opens a second server on the store.
func TestTheLockIsRemovedWhileItIsInUse(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a locked file can't be removed there")
	}
	dir := t.TempDir()
	host := takePart(t, embed.Options{Dir: dir})
	put(t, host, "key", "value")
	if err := os.Remove(filepath.Join(dir, "LOCK")); err != nil {
		t.Fatal(err)
	}
	if m, err := embed.Join(t.Context(), embed.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "LOCK was removed") {
		t.Errorf("another one joined: %v, %v", m, err)
	}
	if err := host.Room(1, true); err == nil {
		t.Error("the host goes on writing")
	}
	if err := host.Close(); err != nil {
		t.Log(err)
	}
	again := takePart(t, embed.Options{Dir: dir})
	if got := get(t, again, "key"); got != "value" {
		t.Errorf("the next one has %q", got)
	}
}

// TestANetworkFileSystemIsRefused with a reason, before there is a store, unless
// the operator knows better.
func TestANetworkFileSystemIsRefused(t *testing.T) {
	opts := embed.On(embed.Options{Dir: filepath.Join(t.TempDir(), "data")}, "nfs")
	_, start := embed.Start(t.Context(), opts)
	_, join := embed.Join(t.Context(), opts)
	for name, err := range map[string]error{"Start": start, "Join": join} {
		if err == nil || !strings.Contains(err.Error(), opts.Dir+" is on a network file system (nfs)") || !strings.Contains(err.Error(), "loops could be lost: set LOOP_MCP_HOME to a directory on a local disk") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(opts.Dir); err != nil || len(left) > 0 {
		t.Errorf("it has %v, %v", left, err)
	}
	opts.AllowNetwork = true
	put(t, takePart(t, opts), "key", "value")
}

// TestAReadOnlyFileSystemIsRefused at the start, with a sentence.
func TestAReadOnlyFileSystemIsRefused(t *testing.T) {
	disk := disktest.Small(t, 4<<20)
	dir := filepath.Join(disk.Dir, "data")
	h := start(t, embed.Options{Dir: dir})
	put(t, h, "key", "value")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	disk.ReadOnly(true)
	for range 2 {
		_, err := embed.Join(t.Context(), embed.Options{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "is read-only") || !strings.Contains(err.Error(), dir) {
			t.Errorf("a read-only file system: %v", err)
		}
	}
	disk.ReadOnly(false)
	m := takePart(t, embed.Options{Dir: dir})
	if got := get(t, m, "key"); got != "value" {
		t.Errorf("writable again it has %q", got)
	}
}
