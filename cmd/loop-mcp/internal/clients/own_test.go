package clients

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAClientsOwnCommand is called with exactly these arguments.
func TestAClientsOwnCommand(t *testing.T) {
	b := newBox(t)
	wrote := func(file, text string) func([]string) (string, error) {
		return func([]string) (string, error) { b.write(file, text); return "Added.\x1b[2J\n", nil }
	}
	b.programs["claude"] = wrote(".claude.json", `{"mcpServers": {"loop": {"type": "stdio", "command": "/opt/loop-mcp", "args": [], "env": {}}}}`)
	b.programs["codex"] = wrote(".codex/config.toml", "[mcp_servers.loop]\ncommand = \"/opt/loop-mcp\"\n")
	b.programs["gemini"] = wrote(".gemini/settings.json", `{"mcpServers": {"loop": {"command": "/opt/loop-mcp", "args": []}}}`)
	b.programs["code"] = wrote(".config/Code/User/mcp.json", `{"servers": {"loop": {"command": "/opt/loop-mcp"}}}`)
	for _, id := range []string{"claude-code", "codex", "gemini", "vscode"} {
		if change := b.must(id, loop, Options{}, Add); change.Said != "Added.[2J" || !strings.Contains(change.Diff, "+") {
			t.Errorf("%s: %q %s", id, change.Said, change.Diff)
		}
		b.must(id, loop, Options{}, Nothing)
	}
	b.programs["claude"] = func(args []string) (string, error) {
		text := `{"mcpServers": {"loop": {"type": "stdio", "command": "/new/loop-mcp"}}}`
		if args[1] == "remove" {
			text = `{"mcpServers": {}}`
		}
		b.write(".claude.json", text)
		return "", nil
	}
	b.must("claude-code", Server{Name: "loop", Command: "/new/loop-mcp"}, Options{}, Update)
	b.programs["codex"] = wrote(".codex/config.toml", "")
	b.programs["gemini"] = wrote(".gemini/settings.json", "{}")
	for _, id := range []string{"claude-code", "codex", "gemini", "vscode"} {
		if id == "claude-code" {
			b.programs["claude"] = wrote(".claude.json", "{}")
		}
		b.must(id, loop, Options{Remove: true}, Remove)
	}
	b.programs["claude"] = wrote("project/.mcp.json", `{"mcpServers": {"loop": {"command": "loop-mcp"}}}`)
	b.must("claude-code", Server{Name: "loop", Command: "loop-mcp"}, Options{Scope: Project}, Add)
	b.programs["gemini"] = wrote("project/.gemini/settings.json", `{"mcpServers": {"loop": {"httpUrl": "http://127.0.0.1:1/mcp"}}}`)
	b.must("gemini", Server{Name: "loop", URL: "http://127.0.0.1:1/mcp"}, Options{Scope: Project}, Add)
	want := [][]string{
		{"/bin/claude", "mcp", "add", "--scope", "user", "loop", "--", "/opt/loop-mcp"},
		{"/bin/codex", "mcp", "add", "loop", "--", "/opt/loop-mcp"},
		{"/bin/gemini", "mcp", "add", "--scope", "user", "loop", "/opt/loop-mcp"},
		{"/bin/code", "--add-mcp", `{"args":[],"command":"/opt/loop-mcp","name":"loop","type":"stdio"}`},
		{"/bin/claude", "mcp", "remove", "--scope", "user", "loop"},
		{"/bin/claude", "mcp", "add", "--scope", "user", "loop", "--", "/new/loop-mcp"},
		{"/bin/claude", "mcp", "remove", "--scope", "user", "loop"},
		{"/bin/codex", "mcp", "remove", "loop"},
		{"/bin/gemini", "mcp", "remove", "--scope", "user", "loop"},
		{"/bin/claude", "mcp", "add", "--scope", "project", "loop", "--", "loop-mcp"},
		{"/bin/gemini", "mcp", "add", "--scope", "project", "--transport", "http", "loop", "http://127.0.0.1:1/mcp"},
	}
	if diff := cmp.Diff(want, b.ran); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTheFileIsEditedWhereTheCommandWouldHarm: comments, settings of the entry,
// and arguments that Windows reads twice.
func TestTheFileIsEditedWhereTheCommandWouldHarm(t *testing.T) {
	b := newBox(t)
	for _, program := range []string{"code", "codex", "claude"} {
		b.programs[program] = func([]string) (string, error) { return "", errors.New("must not be called") }
	}
	code := b.write(".config/Code/User/mcp.json", "{\n\t\"servers\": {}, // none\n}\n")
	b.must("vscode", loop, Options{}, Add)
	if !strings.Contains(b.read(code), "// none") {
		t.Error(b.read(code))
	}
	b.write(".claude.json", `{"mcpServers": {"loop": {"command": "/old/loop-mcp", "env": {"A": "b"}}}}`)
	b.must("claude-code", loop, Options{}, Update)
	b.write(".codex/config.toml", "# the others' comments\n[mcp_servers.a]\ncommand = \"a\" # go as well\n")
	b.must("codex", loop, Options{}, Add)
	b.must("codex", loop, Options{Scope: Project}, Add) // it knows no such scope

	m := elsewhere("windows", nil)
	if !m.garbled([][]string{{`C:\bin\code.CMD`, "--add-mcp", `{"a":1}`}}) || m.garbled([][]string{{`C:\bin\claude.exe`, `{"a":1}`}}) || m.garbled([][]string{{`C:\npm\codex.cmd`, "mcp", `C:\x\loop-mcp.exe`}}) {
		t.Error("which arguments Windows garbles")
	}
	if len(b.ran) > 0 {
		t.Error(b.ran)
	}
}

// TestACommandThatFails says its words and the way by hand, and nothing is lost.
func TestACommandThatFails(t *testing.T) {
	b := newBox(t)
	before := `{"mcpServers": {"loop": {"type": "stdio", "command": "/old/loop-mcp"}}}`
	path := b.write(".claude.json", before)
	b.programs["claude"] = func(args []string) (string, error) {
		if args[1] == "remove" {
			b.write(".claude.json", `{"mcpServers": {}}`)
			return "removed", nil
		}
		return "error: the disk is full", errors.New("exit status 1")
	}
	_, err := b.do("claude-code", loop, Options{})
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), "By hand, in "+path) {
		t.Fatal(err)
	}
	if b.read(path) != before {
		t.Errorf("the old entry is lost: %s", b.read(path))
	}
	b.programs["codex"] = func([]string) (string, error) { return "Added.", nil } // and did nothing
	if _, err = b.do("codex", loop, Options{}); err == nil || !strings.Contains(err.Error(), "ended well, but in") || !strings.Contains(err.Error(), "[mcp_servers.loop]") {
		t.Error(err)
	}
	if copies, _ := filepath.Glob(filepath.Join(b.home, "*.bak")); len(copies) > 0 {
		t.Errorf("copies of what was not changed: %v", copies)
	}
}
