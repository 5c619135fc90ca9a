package loops

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeTree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		file := filepath.Join(dir, filepath.FromSlash(f))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("content of "+f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProtectedPatterns(t *testing.T) {
	dir := writeTree(t, "a_test.go", "a.go", "sub/b_test.go", "sub/b.go", "sub/deep/c_test.go", ".git/x_test.go", "sub/.git/y_test.go",
		"testdata/in.txt", "testdata/more/in.txt", "sub/testdata/z.txt", ".hidden/h_test.go", "[x].txt", "x.txt")
	for _, c := range []struct {
		patterns string
		want     string
	}{
		{"**/*_test.go", ".hidden/h_test.go a_test.go sub/b_test.go sub/deep/c_test.go"},
		{"*_test.go", "a_test.go"},
		{"./*_test.go", "a_test.go"},
		{"sub/*_test.go", "sub/b_test.go"},
		{"sub/**", "sub/b.go sub/b_test.go sub/deep/c_test.go sub/testdata/z.txt"},
		{"sub/**/**/*_test.go", "sub/b_test.go sub/deep/c_test.go"},
		{"**/deep/*", "sub/deep/c_test.go"},
		{"*", "[x].txt a.go a_test.go x.txt"},
		{"*/*", ".hidden/h_test.go sub/b.go sub/b_test.go testdata/in.txt"},
		{"testdata", "testdata/in.txt testdata/more/in.txt"},
		{"**/testdata/", "sub/testdata/z.txt testdata/in.txt testdata/more/in.txt"},
		{"test*/", "testdata/in.txt testdata/more/in.txt"},
		{"a.go", "a.go"},
		{"?.go", "a.go"},
		{"[ab].go sub/[^a].go", "a.go sub/b.go"},
		{`\[x\].txt`, "[x].txt"},
		{"[x].txt", "x.txt"},
		{"**", ".hidden/h_test.go [x].txt a.go a_test.go sub/b.go sub/b_test.go sub/deep/c_test.go sub/testdata/z.txt testdata/in.txt testdata/more/in.txt x.txt"},
		{"nothing/here/**", ""},
		{"", ""},
	} {
		t.Run(c.patterns, func(t *testing.T) {
			found, err := protectedFiles(dir, strings.Fields(c.patterns))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(c.want), slices.Sorted(maps.Keys(found)), cmp.Transformer("join", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProtectedFilesSeeEveryChange(t *testing.T) {
	dir := writeTree(t, "a", "b", "c", "d/e", "outside")
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	patterns := []string{"a", "b", "c", "link", "moved", "d/**"}
	before, err := protectedFiles(dir, patterns)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte("content of a"))); before["a"] != want {
		t.Errorf("the hash of a is %q, want %q", before["a"], want)
	}
	same, err := protectedFiles(dir, patterns)
	if err != nil || changedFiles(before, same) != nil {
		t.Fatalf("%v, unchanged files are reported: %q", err, changedFiles(before, same))
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "a"), []byte("content of A"), 0o644),
		os.Remove(filepath.Join(dir, "b")),
		os.Remove(filepath.Join(dir, "c")), os.Symlink("outside", filepath.Join(dir, "c")), // the same name, now a link
		os.Remove(filepath.Join(dir, "link")), os.WriteFile(filepath.Join(dir, "link"), []byte("a"), 0o644),
		os.Remove(filepath.Join(dir, "moved")), os.Symlink("b", filepath.Join(dir, "moved")),
		os.WriteFile(filepath.Join(dir, "d/new"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "outside"), []byte("other"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	after, err := protectedFiles(dir, patterns)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a (changed)", "b (deleted)", "c (changed)", "d/new (new)", "link (changed)", "moved (changed)"}
	if diff := cmp.Diff(want, changedFiles(before, after)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if got := changedFiles(nil, map[string]string{"x": "1"}); !slices.Equal(got, []string{"x (new)"}) {
		t.Errorf("from nothing: %q", got)
	}
}

func TestProtectedLinksAreNotFollowed(t *testing.T) {
	dir := writeTree(t, "in/a")
	other := writeTree(t, "secret", "tree/b")
	for name, target := range map[string]string{"out": filepath.Join(other, "secret"), "folder": filepath.Join(other, "tree"), "loop": ".", "gone": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := protectedFiles(dir, []string{"**"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"folder", "gone", "in/a", "loop", "out"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(before))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(other, "secret"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	after, err := protectedFiles(dir, []string{"**"})
	if err != nil || changedFiles(before, after) != nil {
		t.Errorf("%v, a change behind a link is seen: %q", err, changedFiles(before, after))
	}
}

func TestProtectedFilesErrors(t *testing.T) {
	if _, err := protectedFiles(filepath.Join(t.TempDir(), "none"), []string{"*"}); err == nil {
		t.Error("a folder that is not there gives no error")
	}
	if _, err := protectedFiles(filepath.Join(t.TempDir(), "none"), nil); err != nil {
		t.Errorf("nothing to protect: %v", err)
	}
}

func TestProtectedFilesAreBounded(t *testing.T) {
	dir := writeTree(t, "a/x", "b/y")
	w := protectWalkAt(t, dir, "**")
	w.visited = maxProtectEntries - 3
	if err := w.run(); err == nil || !strings.Contains(err.Error(), "more than 100000 files and folders") {
		t.Errorf("the bound gives %v", err)
	}
	w = protectWalkAt(t, dir, "a/**")
	w.visited = maxProtectEntries - 3 // a, a/x and b; b is not entered
	if err := w.run(); err != nil {
		t.Errorf("a folder that holds nothing wanted is entered: %v", err)
	}
}

func protectWalkAt(t *testing.T, dir, pattern string) *protectWalk {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return newProtectWalk(root, []string{pattern})
}

func TestProtectedFilesThatCannotBeRead(t *testing.T) {
	dir := writeTree(t, "a", "shut/b")
	w := protectWalkAt(t, dir, "**")
	info := func(name string) fs.DirEntry {
		i, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return fs.FileInfoToDirEntry(i)
	}
	if err := w.visit("shut", info("shut"), fs.ErrPermission); !errors.Is(err, fs.SkipDir) {
		t.Errorf("a folder that can't be read gives %v", err)
	}
	if err := w.visit("shut", info("a"), nil); err == nil { // opens as a file and can't be read as one
		t.Error("a protected file that can't be read gives no error")
	}
	if err := w.visit("gone", info("a"), nil); err != nil || len(w.found) != 1 {
		t.Errorf("a file that went away gives %v and %v", err, w.found)
	}
}

func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"**/*_test.go", "a/**/b/**", "[", "a/", "\\", "**", strings.Repeat("**/a/", 30)} {
		f.Add(seed, "a/b/c_test.go")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if checkPattern(pattern) != nil {
			return
		}
		segments, names := patternSegments(pattern), strings.Split(name, "/")
		if len(segments) == 0 {
			t.Fatalf("%q is accepted and has no segment", pattern)
		}
		if matchSegments(segments, names) {
			for i := 1; i < len(names); i++ {
				if !mayHold(segments, names[:i]) {
					t.Fatalf("%q matches %q, and its folder %q is not entered", pattern, name, names[:i])
				}
			}
		}
	})
}
