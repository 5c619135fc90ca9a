package embed_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/internal/disktest"
	"example.com/loop-mcp/kvstate/embed"
	"github.com/google/go-cmp/cmp"
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

// away moves the folder of a store away, or what the server has in it.
func away(t *testing.T, path string) (back func()) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a folder in use can't be removed there")
	}
	aside := path + ".aside"
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
	}
}

// saysGone verifies what is said of a folder.
func saysGone(t *testing.T, what string, err error, words string) {
	t.Helper()
	if disk, ok := errors.AsType[*embed.DiskError](err); !ok || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), disk.Dir) {
		t.Errorf("%s says %v, want %q", what, err, words)
	}
}

// TestTheFolderIsRemovedWhileItIsInUse, or what the server has in it: nothing is
// written into nowhere, all say so, and go on when it is back.
func TestTheFolderIsRemovedWhileItIsInUse(t *testing.T) {
	for _, below := range []string{".", "store"} {
		dir := filepath.Join(t.TempDir(), "data")
		host, other := takePart(t, embed.Options{Dir: dir}), takePart(t, embed.Options{Dir: dir})
		put(t, host, "key", "value")
		if err := errors.Join(host.Room(1, false), other.Room(1, true), host.Try(), other.Try(), other.There()); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Millisecond) // what was seen counts for one
		back := away(t, filepath.Join(dir, below))
		for name, m := range map[string]*embed.Member{"the host": host, "the other": other} {
			saysGone(t, name, m.There(), "was removed")
			saysGone(t, name, m.Room(1, true), "was removed")
		}
		eventually(t, func(context.Context) error {
			if host.Hosts() || other.Hosts() || host.Trouble() == nil || other.Trouble() == nil {
				return errors.New("somebody uses what is not there")
			}
			return nil
		})
		saysGone(t, "the other", other.Trouble(), "was removed")
		back()
		put(t, other, "key", "again")
		if err := other.Room(1, false); err != nil {
			t.Error(err)
		}
	}
}

// TestTheFolderIsReplacedWhileItIsInUse: whoever had the old one gives it up, and
// takes nothing from the new one's host; others go on there.
func TestTheFolderIsReplacedWhileItIsInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	host, other := takePart(t, embed.Options{Dir: dir}), takePart(t, embed.Options{Dir: dir})
	put(t, host, "key", "value")
	away(t, dir)
	third := takePart(t, embed.Options{Dir: dir}) // a store of its own
	put(t, third, "key", "other")
	was := tree(t, filepath.Join(dir, "store"))
	for name, m := range map[string]*embed.Member{"the host": host, "the other": other} {
		saysGone(t, name, m.Room(1, true), "was replaced")
		<-m.Replaced()
		saysGone(t, name, m.Trouble(), "was replaced")
		if m.Hosts() {
			t.Errorf("%s hosts", name)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s closes with %v", name, err)
		}
	}
	if diff := cmp.Diff(was, tree(t, filepath.Join(dir, "store"))); diff != "" && runtime.GOOS == "linux" {
		t.Errorf("the new store was changed (-before +after):\n%s", diff)
	}
	if h, ok := embed.Look(dir); !ok || !h.Answers {
		t.Errorf("nobody finds the new host any more: %+v, %t", h, ok)
	}
	holds(t, takePart(t, embed.Options{Dir: dir}), "key", "other")
}

// TestAFolderThatStaysAwayIsGivenUp, and nobody waits for it for ever.
func TestAFolderThatStaysAwayIsGivenUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	host := takePart(t, embed.WithAway(embed.Options{Dir: dir}, 5*time.Millisecond, time.Millisecond))
	put(t, host, "key", "value")
	away(t, dir)
	<-host.Replaced()
	saysGone(t, "the host", host.Trouble(), "was removed")
	if _, err := os.Stat(dir); err == nil {
		t.Error("it has made the folder again")
	}
}

// TestWhoComesToAStoreThatIsGoneIsToldSo, while its host has not noticed yet.
func TestWhoComesToAStoreThatIsGoneIsToldSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	host := takePart(t, embed.WithAway(embed.Options{Dir: dir}, time.Hour, 0))
	put(t, host, "key", "value")
	away(t, filepath.Join(dir, "store"))
	_, err := embed.Join(t.Context(), embed.Options{Dir: dir})
	saysGone(t, "who comes", err, "was removed")
}

// tree returns the files below a folder, with the time at which each was written.
func tree(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	files := map[string]time.Time{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		files[path] = info.ModTime()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
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
	saysGone(t, "the host", host.Room(1, true), "the file LOCK in")
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
		if err == nil || !strings.Contains(err.Error(), opts.Dir+" is on a network file system (nfs)") || !strings.Contains(err.Error(), "loops could be lost: set LOOP_MCP_HOME to a directory on a local disk, or write network_store: allow") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(opts.Dir); err != nil || len(left) > 0 {
		t.Errorf("it has %v, %v", left, err)
	}
	opts.AllowNetwork = true
	put(t, takePart(t, opts), "key", "value")
}

// TestLocksThatKeepNobodyOutAreNoticed: everybody gets them on some file systems.
func TestLocksThatKeepNobodyOutAreNoticed(t *testing.T) {
	dir := t.TempDir()
	if err := embed.Holds(filepath.Join(dir, "LOCK")); err == nil || !strings.Contains(err.Error(), "locks do not work in "+dir) {
		t.Errorf("a lock that a second one gets as well: %v", err)
	}
	takePart(t, embed.Options{Dir: dir})
	if err := embed.Holds(filepath.Join(dir, "LOCK")); err != nil {
		t.Error(err)
	}
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

// TestWhoOnlyLooksOpensAStoreOnAFullDisk: it hosts without a file that says so,
// and others share the store when there is room again.
func TestWhoOnlyLooksOpensAStoreOnAFullDisk(t *testing.T) {
	disk := disktest.Small(t, 4<<20)
	dir := filepath.Join(disk.Dir, "data")
	h := start(t, embed.Options{Dir: dir})
	put(t, h, "key", "value")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	disk.Fill(0)
	if _, err := embed.Join(t.Context(), embed.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("who writes: %v", err)
	}
	disk.Fill(0) // what was removed has left some room
	m := takePart(t, embed.Options{Dir: dir, Looks: true, Poll: 10 * time.Millisecond})
	if got := get(t, m, "key"); got != "value" || !m.Hosts() {
		t.Errorf("it has %q and hosts: %t", got, m.Hosts())
	}
	if _, found := embed.Look(dir); found {
		t.Error("the disk was not full: others were told")
	}
	disk.Free()
	other := takePart(t, embed.Options{Dir: dir})
	if other.Hosts() {
		t.Error("two processes host")
	}
	put(t, other, "key", "new")
	if got := get(t, m, "key"); got != "new" {
		t.Errorf("the first one has %q", got)
	}
}
