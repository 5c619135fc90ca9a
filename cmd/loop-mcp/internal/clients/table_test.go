package clients

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errNotOnPath = errors.New("not on PATH")

// elsewhere is a machine of another system, with nothing on PATH.
func elsewhere(goos string, env map[string]string) *Machine {
	return &Machine{
		GOOS: goos, Env: func(name string) string { return env[name] }, Dir: "/src/site",
		LookPath: func(string) (string, error) { return "", errNotOnPath },
		Glob:     func(string) ([]string, error) { return nil, nil },
	}
}

// TestFiles: which file each client reads on each system.
func TestFiles(t *testing.T) {
	linux := map[string]string{"HOME": "/home/ann"}
	mac := map[string]string{"HOME": "/Users/ann"}
	windows := map[string]string{"USERPROFILE": `C:\Users\ann`, "APPDATA": `C:\Users\ann\AppData\Roaming`, "LOCALAPPDATA": `C:\Users\ann\AppData\Local`, "HOME": "/c/cygwin"}
	for _, test := range []struct {
		goos, id, want string
		env            map[string]string
	}{
		{"linux", "claude-code", "/home/ann/.claude.json", linux},
		{"linux", "claude-desktop", "/home/ann/.config/Claude/claude_desktop_config.json", linux},
		{"linux", "codex", "/home/ann/.codex/config.toml", linux},
		{"linux", "cursor", "/home/ann/.cursor/mcp.json", linux},
		{"linux", "gemini", "/home/ann/.gemini/settings.json", linux},
		{"linux", "vscode", "/home/ann/.config/Code/User/mcp.json", linux},
		{"linux", "windsurf", "/home/ann/.codeium/windsurf/mcp_config.json", linux},
		{"linux", "zed", "/home/ann/.config/zed/settings.json", linux},
		{"linux", "zed", "/cfg/zed/settings.json", map[string]string{"HOME": "/home/ann", "XDG_CONFIG_HOME": "/cfg"}},
		{"linux", "claude-code", "/cc/.claude.json", map[string]string{"HOME": "/home/ann", "CLAUDE_CONFIG_DIR": "/cc"}},
		{"linux", "codex", "/cx/config.toml", map[string]string{"HOME": "/home/ann", "CODEX_HOME": "/cx"}},
		{"linux", "gemini", "/gm/.gemini/settings.json", map[string]string{"HOME": "/home/ann", "GEMINI_CLI_HOME": "/gm"}},
		{"darwin", "claude-code", "/Users/ann/.claude.json", mac},
		{"darwin", "claude-desktop", "/Users/ann/Library/Application Support/Claude/claude_desktop_config.json", mac},
		{"darwin", "codex", "/Users/ann/.codex/config.toml", mac},
		{"darwin", "cursor", "/Users/ann/.cursor/mcp.json", mac},
		{"darwin", "gemini", "/Users/ann/.gemini/settings.json", mac},
		{"darwin", "vscode", "/Users/ann/Library/Application Support/Code/User/mcp.json", mac},
		{"darwin", "windsurf", "/Users/ann/.codeium/windsurf/mcp_config.json", mac},
		{"darwin", "zed", "/Users/ann/.config/zed/settings.json", mac},
		{"windows", "claude-code", `C:\Users\ann\.claude.json`, windows},
		{"windows", "claude-desktop", `C:\Users\ann\AppData\Roaming\Claude\claude_desktop_config.json`, windows},
		{"windows", "codex", `C:\Users\ann\.codex\config.toml`, windows},
		{"windows", "cursor", `C:\Users\ann\.cursor\mcp.json`, windows},
		{"windows", "gemini", `C:\Users\ann\.gemini\settings.json`, windows},
		{"windows", "vscode", `C:\Users\ann\AppData\Roaming\Code\User\mcp.json`, windows},
		{"windows", "windsurf", `C:\Users\ann\.codeium\windsurf\mcp_config.json`, windows},
		{"windows", "zed", `C:\Users\ann\AppData\Roaming\Zed\settings.json`, windows},
	} {
		got, err := Find(test.id).File(elsewhere(test.goos, test.env), User)
		if err != nil || got != test.want {
			t.Errorf("%s on %s: %s %v, want %s", test.id, test.goos, got, err, test.want)
		}
	}
	if _, err := Find("codex").File(elsewhere("linux", nil), User); err == nil {
		t.Error("without a home folder there is no file")
	}
}

// TestClaudeDesktopOfTheWindowsStore reads a file of its own.
func TestClaudeDesktopOfTheWindowsStore(t *testing.T) {
	m := elsewhere("windows", map[string]string{"USERPROFILE": `C:\Users\ann`})
	store := `C:\Users\ann\AppData\Local\Packages\Claude_x\LocalCache\Roaming\Claude`
	m.Glob = func(pattern string) ([]string, error) {
		if want := `C:\Users\ann\AppData\Local\Packages\Claude_*\LocalCache\Roaming\Claude`; pattern != want {
			t.Errorf("looked for %s, want %s", pattern, want)
		}
		return []string{store}, nil
	}
	if got, err := desktopFile(m); err != nil || got != store+`\claude_desktop_config.json` {
		t.Error(got, err)
	}
	m.Glob = func(string) ([]string, error) { return []string{"a", "b"}, nil }
	if _, err := desktopFile(m); err == nil || !strings.Contains(err.Error(), "several") {
		t.Error(err)
	}
}

func TestProjectFiles(t *testing.T) {
	m := elsewhere("linux", map[string]string{"HOME": "/home/ann"})
	got := map[string]string{}
	for _, c := range All() {
		if path, err := c.File(m, Project); err == nil {
			got[c.ID] = path
		} else if c.HasProject() || !strings.Contains(err.Error(), "--scope user") {
			t.Error(c.ID, err)
		}
	}
	want := map[string]string{
		"claude-code": "/src/site/.mcp.json", "codex": "/src/site/.codex/config.toml", "cursor": "/src/site/.cursor/mcp.json",
		"gemini": "/src/site/.gemini/settings.json", "vscode": "/src/site/.vscode/mcp.json", "zed": "/src/site/.zed/settings.json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSnippets: what each client's entry looks like, of a program and of an
// address.
func TestSnippets(t *testing.T) {
	program, address := Server{Name: "loop", Command: "/bin/loop-mcp"}, Server{Name: "loop", URL: "http://127.0.0.1:7717/mcp"}
	var got strings.Builder
	for _, c := range All() {
		got.WriteString("== " + c.ID + "\n" + c.Snippet(program))
		if c.http != nil {
			got.WriteString(c.Snippet(address))
		}
	}
	golden(t, "snippets.txt", got.String())
}

func TestPrograms(t *testing.T) {
	for path, want := range map[string]string{
		"/usr/local/bin/loop-mcp":                                  "",
		"/var/cache/go-build123/b001/exe/loop-mcp":                 "go run",
		`C:\Users\ann\AppData\Local\Temp\go-build1\b001\exe\l.exe`: "go run",
		"/home/ann/.npm/_npx/1/node_modules/loop-mcp/bin/loop-mcp": "npx",
		"/private/var/AppTranslocation/x/loop-mcp":                 "macOS",
		"/tmp/x/loop-mcp": "temporary",
		"/T/x/loop-mcp":   "temporary",
	} {
		got := unstable(path, "/T/")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
