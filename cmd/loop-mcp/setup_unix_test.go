//go:build unix

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/cmd/loop-mcp/internal/clients"
)

// newDesk is a box whose PATH has nothing but what the test puts there: the
// clients of who runs the tests are not called.
func newDesk(t *testing.T) *box {
	t.Helper()
	b := newBox(t)
	for _, name := range []string{"CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"} {
		b.env = append(b.env, name+"=")
	}
	b.env = append(b.env, "PATH="+filepath.Join(b.dir, "bin"), "XDG_CONFIG_HOME="+filepath.Join(b.dir, ".config"))
	if err := os.Mkdir(filepath.Join(b.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cat", "mkdir"} { // of scripts
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(b.dir, "bin", name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// script puts a program on PATH.
func (b *box) script(name, text string) string {
	b.t.Helper()
	path := b.write("bin/"+name, "#!/bin/sh\n"+text)
	if err := os.Chmod(path, 0o755); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// TestSetupThereAndBack as a person sees it: shown first, done, already done,
// taken out.
func TestSetupThereAndBack(t *testing.T) {
	b := newDesk(t)
	before := "{\n  // mine\n  \"theme\": \"One\",\n}\n"
	path := b.write(".config/zed/settings.json", before)
	b.want(0, []string{"setup"}, "zed             yes", "cursor          no", "loop-mcp setup CLIENT")
	b.want(0, []string{"setup", "zed", "--dry-run"}, "would be added", `+    "loop": {`, program)
	if readFile(t, path) != before {
		t.Error("--dry-run changed the file")
	}
	b.want(0, []string{"setup", "zed"}, "Zed: loop added in "+path, "The file as it was: "+path+".loop-mcp-", "Then try:", "warning:", "temporary")
	b.want(0, []string{"setup", "zed"}, "already set up")
	b.want(0, []string{"setup"}, "zed             yes     loop")
	b.want(0, []string{"setup", "zed", "--remove"}, "loop removed", "-    \"loop\": {")
	if readFile(t, path) != before {
		t.Errorf("there and back: %s", readFile(t, path))
	}
	b.want(0, []string{"setup", "zed", "--remove"}, "nothing to remove")
}

// TestSetupJSON is one object, also when one of several clients can't be changed.
func TestSetupJSON(t *testing.T) {
	b := newDesk(t)
	b.write(".cursor/mcp.json", "{\n  x\n}")
	r := b.want(1, []string{"setup", "cursor", "windsurf", "--json"}, "line 2")
	var answer struct{ Clients []setupAnswer }
	if err := json.Unmarshal([]byte(r.stdout), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Clients) != 1 || answer.Clients[0].Client != "windsurf" || answer.Clients[0].Action != clients.Add || len(answer.Clients[0].Warnings) != 3 {
		t.Errorf("%+v", answer.Clients)
	}
	var list struct{ Clients []clientState }
	if err := json.Unmarshal([]byte(b.want(0, []string{"setup", "--json"}).stdout), &list); err != nil || len(list.Clients) != len(clients.All()) {
		t.Error(err, list)
	}
}

// TestSetupCallsTheClientsOwnCommand, shows it and what it said, and says how to
// do it by hand when it fails.
func TestSetupCallsTheClientsOwnCommand(t *testing.T) {
	b := newDesk(t)
	log := filepath.Join(b.dir, "called")
	b.script("codex", `echo "$@" >>`+log+"\nmkdir -p $HOME/.codex\n"+`printf '[mcp_servers.loop]\ncommand = "%s"\n' "$5" >$HOME/.codex/config.toml`+"\necho Added global MCP server.\n")
	b.want(0, []string{"setup", "codex"}, "codex mcp add loop -- "+program, "Added global MCP server.", "+[mcp_servers.loop]")
	if got := readFile(t, log); got != "mcp add loop -- "+program+"\n" {
		t.Errorf("called with %s", got)
	}
	b.script("claude", "echo 'Error: you are not logged in' >&2\nexit 3\n")
	b.want(1, []string{"setup", "claude-code"}, "you are not logged in", "By hand, in "+filepath.Join(b.dir, ".claude.json"), `"command": "`+program+`"`)
}

func TestSetupUsage(t *testing.T) {
	b := newDesk(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"setup", "emacs"}, `there is no client "emacs"`},
		{[]string{"setup", "--remove"}, "name a client"},
		{[]string{"setup", "zed", "--scope", "galaxy"}, "must be user or project"},
		{[]string{"setup", "windsurf", "--scope", "project"}, "no configuration of a project"},
		{[]string{"setup", "zed", "--name", "a b"}, "--name: must be letters"},
		{[]string{"setup", "zed", "--http", "7717"}, "must be an address"},
		{[]string{"setup", "zed", "--config", "x.yaml"}, "are not written into a client's entry"},
	} {
		b.want(2, test.args, test.want)
	}
	b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "ralph"}}}`)
	b.want(1, []string{"setup", "cursor"}, "ralph", "--force")
	b.want(0, []string{"setup", "cursor", "--name", "durable"}, "durable added", "LOOP_MCP_HOME is set in this terminal alone")
	b.env = append(b.env, "LOOP_MCP_HTTP_TOKEN_ENV=MY_TOKEN")
	b.want(0, []string{"setup", "zed", "--http", "http://127.0.0.1:7717/mcp"}, `"url": "http://127.0.0.1:7717/mcp"`, "wants a token, which is not written")
}

// TestSetupOfAProjectNamesNoPathOfThisMachine where loop-mcp is on PATH.
func TestSetupOfAProjectNamesNoPathOfThisMachine(t *testing.T) {
	b := newDesk(t)
	b.want(0, []string{"setup", "cursor", "--scope", "project"}, program, "is of this machine")
	if err := os.Symlink(program, filepath.Join(b.dir, "bin/loop-mcp")); err != nil {
		t.Fatal(err)
	}
	b.want(0, []string{"setup", "vscode", "--scope", "project"}, `"command": "loop-mcp"`)
	b.want(0, []string{"setup", "cursor"}, `"command": "`+filepath.Join(b.dir, "bin/loop-mcp")+`"`)
	if got := readFile(t, filepath.Join(b.dir, ".vscode/mcp.json")); strings.Contains(got, b.dir) {
		t.Error(got)
	}
}
