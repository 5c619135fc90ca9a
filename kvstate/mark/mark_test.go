package mark

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openIn(t *testing.T, dir, writer string, alive ...string) *File {
	t.Helper()
	f, err := Open(Options{Dir: dir, Writer: writer, Alive: func(w string) bool { return w == writer || slices.Contains(alive, w) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFile(t, f) })
	return f
}

func closeFile(t *testing.T, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func want(t *testing.T, f *File, all map[string]Mark) {
	t.Helper()
	if diff := cmp.Diff(all, f.All()); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
}

func TestMarksAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "marks")
	f := openIn(t, dir, "one/with*odd:name")
	if f.Found() || len(files(t, dir)) != 0 {
		t.Error("there is something before the first mark")
	}
	later := time.Now().Add(time.Hour).Unix()
	f.Note("a", Mark{Rev: 3})
	f.Note("b", Mark{Rev: 4, Expires: later})
	f.Note("a", Mark{Rev: 9})
	f.Note("a", Mark{Rev: 7}) // came late
	f.Note("gone", Mark{Rev: 10, Expires: 5})
	f.Note("removed", Mark{Rev: 11})
	f.Forget("removed", 12)
	f.Note("not a key", Mark{Rev: 13})
	all := map[string]Mark{"a": {Rev: 9}, "b": {Rev: 4, Expires: later}}
	want(t, f, all)
	closeFile(t, f)
	g := openIn(t, dir, "two")
	if !g.Found() {
		t.Error("no marks were found")
	}
	want(t, g, all)
}

// What a kill or a power cut leaves at the end of a file, and what a disk does
// to its middle, costs the marks that it hits and no others.
func TestDamagedFiles(t *testing.T) {
	whole := headline + string(appendLine(appendLine(appendLine(nil, "a", Mark{Rev: 1}), "b", Mark{Rev: 2}), "a", Mark{Rev: 3}))
	lines := strings.SplitAfter(whole, "\n")
	flipped := strings.Replace(whole, "2 0 b", "6 0 b", 1)
	tests := []struct {
		name, text string
		want       map[string]Mark
	}{
		{"whole", whole, map[string]Mark{"a": {Rev: 3}, "b": {Rev: 2}}},
		{"a torn tail", whole[:len(whole)-4], map[string]Mark{"a": {Rev: 1}, "b": {Rev: 2}}},
		{"an unfinished line", whole[:len(whole)-1], map[string]Mark{"a": {Rev: 1}, "b": {Rev: 2}}},
		{"a flipped bit", flipped, map[string]Mark{"a": {Rev: 3}}},
		{"a zeroed tail", whole[:len(whole)-9] + strings.Repeat("\x00", 4096), map[string]Mark{"a": {Rev: 1}, "b": {Rev: 2}}},
		{"a damaged head", "x" + whole, map[string]Mark{"a": {Rev: 3}, "b": {Rev: 2}}},
		{"half a head", headline[:5], map[string]Mark{}},
		{"two lines in one", lines[0] + strings.TrimSuffix(lines[1], "\n") + lines[2] + lines[3], map[string]Mark{"a": {Rev: 3}}},
		{"empty", "", map[string]Mark{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "dead.x"+suffix), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			f := openIn(t, dir, "new")
			want(t, f, test.want)
			f.Note("c", Mark{Rev: 20})
			test.want["c"] = Mark{Rev: 20}
			closeFile(t, f)
			want(t, openIn(t, dir, "newer"), test.want)
		})
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "new.x"+suffix), []byte(headPrefix+"2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Writer: "old"}); err == nil || !strings.Contains(err.Error(), "use a newer program") {
		t.Errorf("Open: %v", err)
	}
}

// Several writers see each other's marks at once, also while they write.
func TestSeveralWriters(t *testing.T) {
	dir := t.TempDir()
	one, two := openIn(t, dir, "one", "two"), openIn(t, dir, "two", "one")
	var both sync.WaitGroup
	for w, f := range []*File{one, two} {
		both.Go(func() {
			for n := range 2000 {
				f.Note(fmt.Sprint("key-", n%7), Mark{Rev: uint64(2*n + w + 1)})
				if n%100 == 0 {
					f.Of("key-0")
				}
			}
		})
	}
	both.Wait()
	for _, f := range []*File{one, two, openIn(t, dir, "three", "one", "two")} {
		if m, ok := f.Of("key-4"); !ok || m.Rev < 3980 {
			t.Errorf("key-4 is at %+v", m)
		}
	}
	one.Note("key-0", Mark{Rev: 1 << 40})
	if m, _ := two.Of("key-0"); m.Rev != 1<<40 {
		t.Errorf("the other writer sees %+v", m)
	}
}

// Files do not grow for ever, nor do they become many.
func TestFilesAreWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	for n := range maxDead + 3 {
		f := openIn(t, dir, fmt.Sprint("short-", n))
		f.Note(fmt.Sprint("key-", n), Mark{Rev: uint64(n + 1)})
		closeFile(t, f)
	}
	if n := len(files(t, dir)); n > maxDead+2 {
		t.Errorf("%d files", n)
	}
	f := openIn(t, dir, "long")
	for n := range 60_000 {
		f.Note("a-key-of-usual-length-abcd", Mark{Rev: uint64(100 + n)})
	}
	closeFile(t, f)
	left := files(t, dir)
	info, err := os.Stat(left[0])
	if len(left) != 1 || err != nil || info.Size() > minGrowth { // 60,000 lines take more than 2 MB
		t.Errorf("left are %d files, the first of %d bytes: %v", len(left), info.Size(), err)
	}
	all := openIn(t, dir, "last").All()
	if len(all) != maxDead+4 || all["a-key-of-usual-length-abcd"].Rev != 60_099 {
		t.Errorf("marks: %v", all)
	}
}

// A process that was suspended is taken for dead and its file is merged into
// another one: nothing that it notes later is lost.
func TestAWriterThatWasTakenForDead(t *testing.T) {
	dir := t.TempDir()
	slow := openIn(t, dir, "slow", "fast")
	slow.Note("a", Mark{Rev: 1})
	fast := openIn(t, dir, "fast") // which believes that slow is dead
	fast.mu.Lock()
	err := fast.rewrite()
	fast.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	slow.Note("b", Mark{Rev: 2}) // into a file without a name
	closeFile(t, slow)
	want(t, openIn(t, dir, "new"), map[string]Mark{"a": {Rev: 1}, "b": {Rev: 2}})
}

// When marks cannot be written, they are as soon as they can.
func TestMarksThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "marks")
	f := openIn(t, dir, "one")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	f.Note("a", Mark{Rev: 1})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	f.Note("b", Mark{Rev: 2})
	closeFile(t, f)
	want(t, openIn(t, dir, "two"), map[string]Mark{"a": {Rev: 1}, "b": {Rev: 2}})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(headline + string(appendLine(nil, "a-b", Mark{Rev: 7, Expires: -3}))))
	f.Add([]byte("\n\n 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all := marks{}
		n, _ := all.read(data)
		if n > len(data) {
			t.Fatalf("read %d of %d bytes", n, len(data))
		}
		again := marks{}
		if _, damaged := again.read(all.encode()[len(headline):]); damaged > 0 || !cmp.Equal(all, again) {
			t.Errorf("%v became %v", all, again)
		}
	})
}
