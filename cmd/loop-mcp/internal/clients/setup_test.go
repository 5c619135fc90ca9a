package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// box is a person's machine: a home folder, and programs that only say they run.
type box struct {
	*Machine
	t        *testing.T
	home     string
	programs map[string]func(args []string) (string, error)
	ran      [][]string
}

func newBox(t *testing.T) *box {
	t.Helper()
	b := &box{t: t, home: t.TempDir(), programs: map[string]func([]string) (string, error){}}
	b.Machine = &Machine{
		GOOS: "linux", Dir: filepath.Join(b.home, "project"),
		Env: func(name string) string { return map[string]string{"HOME": b.home}[name] },
		LookPath: func(name string) (string, error) {
			if b.programs[name] == nil {
				return "", errNotOnPath
			}
			return "/bin/" + name, nil
		},
		Glob: filepath.Glob,
		Run: func(_ context.Context, _ string, argv []string) (string, error) {
			b.ran = append(b.ran, argv)
			return b.programs[filepath.Base(argv[0])](argv[1:])
		},
		Now: func() time.Time { return time.Date(2026, 11, 21, 18, 0, 0, 0, time.UTC) },
	}
	return b
}

func (b *box) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *box) read(path string) string {
	b.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

var loop = Server{Name: "loop", Command: "/opt/loop-mcp"}

// do plans and applies.
func (b *box) do(id string, s Server, o Options) (*Change, error) {
	b.t.Helper()
	change, err := b.Plan(Find(id), s, o)
	if err == nil {
		err = b.Apply(b.t.Context(), change)
	}
	return change, err
}

func (b *box) must(id string, s Server, o Options, want Action) *Change {
	b.t.Helper()
	change, err := b.do(id, s, o)
	if err != nil {
		b.t.Fatal(err)
	}
	if change.Action != want {
		b.t.Fatalf("%s: %s, want %s", id, change.Action, want)
	}
	return change
}

// TestEachClientThereAndBack edits the file of every client: added, again, and
// out.
func TestEachClientThereAndBack(t *testing.T) {
	for _, c := range All() {
		t.Run(c.ID, func(t *testing.T) {
			b := newBox(t)
			path, err := c.File(b.Machine, User)
			if err != nil {
				t.Fatal(err)
			}
			before := "{\n  \"" + c.container + "\": {\n    \"other\": {\"command\": \"x\"}\n  }\n}\n"
			if c.format == tomlTables {
				before = "model = \"x\"\n\n[mcp_servers.other]\ncommand = \"x\"\n"
			}
			b.write(strings.TrimPrefix(path, b.home), before)
			added := b.must(c.ID, loop, Options{}, Add)
			if b.read(added.Backup) != before || !strings.Contains(added.Diff, "/opt/loop-mcp") {
				t.Errorf("copy %s, diff %s", added.Backup, added.Diff)
			}
			if info, err := os.Stat(added.Backup); err != nil || info.Mode().Perm() != 0o600 {
				t.Error(info, err)
			}
			b.must(c.ID, loop, Options{}, Nothing)
			found, err := c.Read(b.Machine, User)
			if err != nil || len(found.Entries) != 2 || !slices.ContainsFunc(found.Entries, Entry.Ours) {
				t.Errorf("%+v %v", found, err)
			}
			moved := Server{Name: "loop", Command: "/new/loop-mcp"}
			b.must(c.ID, moved, Options{}, Update)
			b.must(c.ID, moved, Options{Remove: true}, Remove)
			b.must(c.ID, moved, Options{Remove: true}, Nothing)
			if diff := cmp.Diff(before, b.read(path)); diff != "" {
				t.Errorf("there and back (-before +after):\n%s", diff)
			}
		})
	}
}

// TestAForeignEntryIsShownAndKept unless the person insists.
func TestAForeignEntryIsShownAndKept(t *testing.T) {
	text := "{\n  \"mcpServers\": {\n    \"loop\": {\"command\": \"ralph-loop\", \"env\": {\"TOKEN\": \"s3cret\"}}\n  }\n}"
	for _, remove := range []bool{false, true} {
		b := newBox(t)
		path := b.write(".cursor/mcp.json", text)
		_, err := b.do("cursor", loop, Options{Remove: remove})
		var foreign *ForeignError
		if !errors.As(err, &foreign) || !strings.Contains(err.Error(), "ralph-loop") || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "--force") {
			t.Fatal(err)
		}
		if strings.Contains(err.Error(), "s3cret") || b.read(path) != text {
			t.Errorf("%v\n%s", err, b.read(path))
		}
		want := map[bool]Action{false: Replace, true: Remove}[remove]
		b.must("cursor", loop, Options{Remove: remove, Force: true}, want)
		if got := b.read(path); strings.Contains(got, "ralph") || strings.Contains(got, "/opt/loop-mcp") == remove {
			t.Error(got)
		}
	}
}

// TestAnEntryOfOursKeepsWhatItsOwnerAdded when the program moves.
func TestAnEntryOfOursKeepsWhatItsOwnerAdded(t *testing.T) {
	b := newBox(t)
	path := b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "C:\\old\\LOOP-MCP.exe", "args": ["serve"], "env": {"LOOP_MCP_HOME": "/d"}, "disabled": false}}}`)
	b.must("cursor", loop, Options{}, Update)
	if diff := cmp.Diff(`{"mcpServers": {"loop": {"command": "/opt/loop-mcp", "args": ["serve"], "env": {"LOOP_MCP_HOME": "/d"}, "disabled": false}}}`, b.read(path)); diff != "" {
		t.Error(diff)
	}
}

// TestAnAddress takes the place of a program only when the person insists, and
// that of another address on this machine without.
func TestAnAddress(t *testing.T) {
	b := newBox(t)
	b.must("cursor", Server{Name: "loop", URL: "http://127.0.0.1:7717/mcp"}, Options{}, Add)
	b.must("cursor", Server{Name: "loop", URL: "http://127.0.0.1:7717/mcp"}, Options{}, Nothing)
	b.must("cursor", Server{Name: "loop", URL: "http://localhost:9/mcp"}, Options{}, Replace)
	if _, err := b.do("cursor", loop, Options{}); err == nil {
		t.Error("an address was replaced by a program")
	}
	b.must("cursor", loop, Options{Force: true}, Replace)
	b.must("cursor", Server{Name: "loop"}, Options{Remove: true}, Remove)
	if _, err := b.do("claude-desktop", Server{Name: "loop", URL: "http://127.0.0.1:7717/mcp"}, Options{}); err == nil || !strings.Contains(err.Error(), "leave --http out") {
		t.Error(err)
	}
}

// TestABrokenFileIsLeftAlone, with the line and the way by hand.
func TestABrokenFileIsLeftAlone(t *testing.T) {
	for name, test := range map[string]struct{ id, file, text, want string }{
		"a missing comma":         {"cursor", ".cursor/mcp.json", "{\n  \"a\": 1\n  \"b\": 2\n}", "line 3"},
		"a comment in plain JSON": {"claude-desktop", ".config/Claude/claude_desktop_config.json", "{\n// x\n}", "line 2"},
		"TOML":                    {"codex", ".codex/config.toml", "a = 1\nb =\n", "line 2"},
		"another shape":           {"cursor", ".cursor/mcp.json", "{\n\"mcpServers\": []}", "line 2"},
		"an inline table":         {"codex", ".codex/config.toml", "[mcp_servers]\nloop = {command = \"/a/loop-mcp\"}\n", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			path := b.write(test.file, test.text)
			_, err := b.do(test.id, loop, Options{})
			var manual *ManualError
			if !errors.As(err, &manual) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "By hand") || !strings.Contains(err.Error(), "/opt/loop-mcp") {
				t.Error(err)
			}
			if b.read(path) != test.text {
				t.Error("the file was changed")
			}
		})
	}
}

// TestAFileThatChangesMeanwhileIsLeftAlone.
func TestAFileThatChangesMeanwhileIsLeftAlone(t *testing.T) {
	b := newBox(t)
	for _, before := range []string{"{}", ""} {
		path := filepath.Join(b.home, ".cursor/mcp.json")
		if before != "" {
			b.write(".cursor/mcp.json", before)
		} else if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		change, err := b.Plan(Find("cursor"), loop, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b.write(".cursor/mcp.json", `{"new": 1}`)
		if err := b.Apply(t.Context(), change); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
			t.Error(err)
		}
		if b.read(path) != `{"new": 1}` {
			t.Error(b.read(path))
		}
	}
	if left, _ := filepath.Glob(filepath.Join(b.home, ".cursor/*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// TestAFileThatChangesAtTheLastMoment, while its copy is made.
func TestAFileThatChangesAtTheLastMoment(t *testing.T) {
	b := newBox(t)
	path := b.write(".cursor/mcp.json", "{}")
	change, err := b.Plan(Find("cursor"), loop, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.Now = func() time.Time { b.write(".cursor/mcp.json", `{"new": 1}`); return time.Unix(0, 0) }
	if err := b.Apply(t.Context(), change); err == nil || !strings.Contains(err.Error(), "changed meanwhile") || b.read(path) != `{"new": 1}` {
		t.Error(err, b.read(path))
	}
}

// TestLinksAndModesAreKept: people keep such files in a repository of dotfiles.
func TestLinksAndModesAreKept(t *testing.T) {
	b := newBox(t)
	real := b.write("dotfiles/cursor.json", "{}")
	if err := os.Chmod(real, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(b.home, ".cursor"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(b.home, ".cursor/mcp.json")
	if err := os.Symlink("../dotfiles/cursor.json", link); err != nil {
		t.Fatal(err)
	}
	change := b.must("cursor", loop, Options{}, Add)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is a file now")
	}
	for _, path := range []string{real, change.Backup} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if err := os.Remove(real); err != nil {
		t.Fatal(err)
	}
	if _, err := b.do("cursor", loop, Options{}); err == nil || !strings.Contains(err.Error(), "is a link to") {
		t.Error(err)
	}
}

// TestAFolderThatTakesNoFile says what can't be written and how to do it by hand.
func TestAFolderThatTakesNoFile(t *testing.T) {
	b := newBox(t)
	path := b.write(".cursor/mcp.json", "{}")
	if err := os.Chmod(filepath.Dir(path), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) })
	if os.Getuid() == 0 { // who may write everywhere but there
		if !there("/proc/self/status") {
			t.Skip("root may write everywhere")
		}
		b.Env = func(string) string { return "/proc/self" }
	}
	_, err := b.do("cursor", loop, Options{})
	if err == nil || !strings.Contains(err.Error(), "write ") || !strings.Contains(err.Error(), "By hand") || b.read(path) != "{}" {
		t.Error(err)
	}
}

// TestTheOwnerIsKept: with sudo the file still belongs to the person.
func TestTheOwnerIsKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes files of others")
	}
	b := newBox(t)
	path := b.write(".cursor/mcp.json", "{}")
	if err := os.Chown(path, 12345, 54321); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	change := b.must("cursor", loop, Options{}, Add)
	for _, path := range []string{path, change.Backup} {
		if after, err := os.Stat(path); err != nil || fmt.Sprint(reflect.ValueOf(after.Sys()).Elem().FieldByName("Uid")) != fmt.Sprint(reflect.ValueOf(before.Sys()).Elem().FieldByName("Uid")) {
			t.Errorf("%s has another owner: %v", path, err)
		}
	}
}

// TestWhatIsNoFile: a folder in its place, and a folder that is a file.
func TestWhatIsNoFile(t *testing.T) {
	b := newBox(t)
	b.write(".cursor/mcp.json/x", "")
	b.write(".codex", "")
	for _, id := range []string{"cursor", "codex"} {
		if _, err := b.do(id, loop, Options{}); err == nil || !strings.Contains(err.Error(), "By hand") {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestServersOfOneFolder are what claude mcp add writes when no scope is named.
func TestServersOfOneFolder(t *testing.T) {
	b := newBox(t)
	b.write(".claude.json", `{"projects": {"`+b.Dir+`": {"mcpServers": {"loop": {"command": "/x/loop-mcp"}, "odd": 1}}, "/other": {"mcpServers": {"no": {"command": "y"}}}}}`)
	found, err := Find("claude-code").Read(b.Machine, User)
	if err != nil || len(found.Entries) != 1 || !found.Entries[0].Ours() || found.Entries[0].Line != 0 {
		t.Errorf("%+v %v", found, err)
	}
	b.must("claude-code", loop, Options{}, Add)
}

func TestInstalled(t *testing.T) {
	b := newBox(t)
	if got := Find("claude-code").Installed(b.Machine); got != "" {
		t.Errorf("the home folder shows nothing: %s", got)
	}
	b.write(".cursor/x", "")
	b.programs["claude"] = func([]string) (string, error) { return "", nil }
	if Find("cursor").Installed(b.Machine) == "" || Find("claude-code").Installed(b.Machine) != "/bin/claude" || Find("zed").Installed(b.Machine) != "" {
		t.Error("which clients are here")
	}
}
