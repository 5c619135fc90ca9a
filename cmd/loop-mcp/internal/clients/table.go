package clients

import (
	"encoding/json"
	"fmt"
	"strings"

	"example.com/loop-mcp/cmd/loop-mcp/internal/fields"
)

// The scopes of an entry.
const (
	User    = "user"    // for everything that the person does
	Project = "project" // for one folder, shared with who works there
)

// format is how a client's file is written.
type format int

const (
	jsonPlain    format = iota // the client's reader knows the standard alone
	jsonComments               // with comments and commas before closing brackets
	tomlTables
)

// Field is a key of an entry with its value.
type Field = fields.Field

// Client is a program that MCP servers are configured in.
type Client struct {
	ID, Title string

	format    format
	container string // the key that holds the entries
	path      func(*Machine) (string, error)
	project   string // of the project's file, with slashes; empty: it has none
	stdio     func(command string) []Field
	http      func(url string) []Field
	urlKey    string
	own       *own
	next      string // what the person does now
	local     bool   // the person's file has servers of single folders as well
	window    bool   // it is started from a window, with another PATH than the shell's
}

// own is a client's own command.
type own struct {
	program  string
	scopes   []string
	add      func(scope string, s Server) []string
	remove   func(scope, name string) []string // nil: it can't
	replaces bool                              // add replaces an entry with that name
	lossy    bool                              // it drops comments: of the file, or of the other servers
}

// Server is what is put into a configuration: a program or an address.
type Server struct {
	Name    string
	Command string // the program; empty: URL is set
	URL     string
}

// All are the clients, by name.
func All() []*Client {
	return []*Client{claudeCode(), claudeDesktop(), codex(), cursor(), gemini(), vscode(), windsurf(), zed()}
}

// IDs are the names of all clients.
func IDs() (ids []string) {
	for _, c := range All() {
		ids = append(ids, c.ID)
	}
	return ids
}

// Find returns the client with a name, nil when there is none.
func Find(id string) *Client {
	for _, c := range All() {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// Window reports whether the client is usually started from a window, which
// gives it another PATH than a terminal's.
func (c *Client) Window() bool { return c.window }

// HasProject reports whether the client reads a file of the project.
func (c *Client) HasProject() bool { return c.project != "" }

// File is the path of the file with a scope.
func (c *Client) File(m *Machine, scope string) (string, error) {
	if scope == Project {
		if c.project == "" {
			return "", fmt.Errorf("%s has no configuration of a project; use --scope user", c.Title)
		}
		return m.join(m.Dir, c.project), nil
	}
	return c.path(m)
}

func (c *Client) fields(s Server) []Field {
	if s.URL != "" {
		return c.http(s.URL)
	}
	return c.stdio(s.Command)
}

// plainStdio is how most clients name a program.
func plainStdio(command string) []Field {
	return []Field{{"command", command}, {"args", []string{}}}
}

// typed puts the type of the transport first.
func typed(kind string, fields ...Field) []Field {
	return append([]Field{{"type", kind}}, fields...)
}

func claudeCode() *Client {
	return &Client{
		ID: "claude-code", Title: "Claude Code", format: jsonPlain, container: "mcpServers",
		path: func(m *Machine) (string, error) {
			return m.variableOr("CLAUDE_CONFIG_DIR", nil, ".claude.json")
		},
		project: ".mcp.json", urlKey: "url", local: true,
		stdio: func(command string) []Field { return typed("stdio", plainStdio(command)...) },
		http:  func(url string) []Field { return typed("http", Field{"url", url}) },
		own: &own{
			program: "claude", scopes: []string{User, Project},
			add: func(scope string, s Server) []string {
				if s.URL != "" {
					return []string{"mcp", "add", "--scope", scope, "--transport", "http", s.Name, s.URL}
				}
				return []string{"mcp", "add", "--scope", scope, s.Name, "--", s.Command}
			},
			remove: func(scope, name string) []string { return []string{"mcp", "remove", "--scope", scope, name} },
		},
		next: "Start a new session of claude; /mcp lists its servers.",
	}
}

func claudeDesktop() *Client {
	return &Client{
		ID: "claude-desktop", Title: "Claude Desktop", format: jsonPlain, container: "mcpServers",
		path:  desktopFile,
		stdio: plainStdio, urlKey: "url", window: true,
		next: "Quit Claude Desktop as a whole, not only its window, and start it again.",
	}
}

// desktopFile is the file of Claude Desktop. The build of the Windows store has
// its own, and the usual one is not read by it.
func desktopFile(m *Machine) (string, error) {
	const name = "claude_desktop_config.json"
	usual, err := m.appData("Claude", name)
	if err != nil || m.GOOS != "windows" {
		return usual, err
	}
	pattern, err := m.variableOr("LOCALAPPDATA", []string{"AppData", "Local"}, "Packages", "Claude_*", "LocalCache", "Roaming", "Claude")
	if err != nil {
		return "", err
	}
	found, err := m.Glob(pattern)
	switch {
	case err != nil:
		return "", fmt.Errorf("look for Claude Desktop of the Windows store: %w", err)
	case len(found) == 0:
		return usual, nil
	case len(found) > 1:
		return "", fmt.Errorf("there are several Claude Desktops of the Windows store (%s): write the entry by hand into the one that is used", strings.Join(found, ", "))
	}
	return m.join(found[0], name), nil
}

func codex() *Client {
	return &Client{
		ID: "codex", Title: "Codex", format: tomlTables, container: "mcp_servers",
		path: func(m *Machine) (string, error) {
			return m.variableOr("CODEX_HOME", []string{".codex"}, "config.toml")
		},
		project: ".codex/config.toml", urlKey: "url",
		stdio: plainStdio,
		http:  func(url string) []Field { return []Field{{"url", url}} },
		own: &own{
			program: "codex", scopes: []string{User}, replaces: true, lossy: true,
			add: func(_ string, s Server) []string {
				if s.URL != "" {
					return []string{"mcp", "add", s.Name, "--url", s.URL}
				}
				return []string{"mcp", "add", s.Name, "--", s.Command}
			},
			remove: func(_, name string) []string { return []string{"mcp", "remove", name} },
		},
		next: "Start a new session of codex; /mcp lists its servers.",
	}
}

func cursor() *Client {
	return &Client{
		ID: "cursor", Title: "Cursor", format: jsonComments, container: "mcpServers",
		path:    func(m *Machine) (string, error) { return m.belowHome(".cursor", "mcp.json") },
		project: ".cursor/mcp.json", urlKey: "url", window: true,
		stdio: plainStdio,
		http:  func(url string) []Field { return []Field{{"url", url}} },
		next:  "In Cursor's settings, under MCP, see that the server is switched on; else restart Cursor.",
	}
}

func gemini() *Client {
	return &Client{
		ID: "gemini", Title: "Gemini CLI", format: jsonComments, container: "mcpServers",
		path: func(m *Machine) (string, error) {
			return m.variableOr("GEMINI_CLI_HOME", nil, ".gemini", "settings.json")
		},
		project: ".gemini/settings.json", urlKey: "httpUrl",
		stdio: plainStdio,
		http:  func(url string) []Field { return []Field{{"httpUrl", url}} },
		own: &own{
			program: "gemini", scopes: []string{User, Project}, replaces: true,
			add: func(scope string, s Server) []string {
				if s.URL != "" {
					return []string{"mcp", "add", "--scope", scope, "--transport", "http", s.Name, s.URL}
				}
				return []string{"mcp", "add", "--scope", scope, s.Name, s.Command}
			},
			remove: func(scope, name string) []string { return []string{"mcp", "remove", "--scope", scope, name} },
		},
		next: "Start gemini anew, in a folder that it trusts; /mcp lists its servers.",
	}
}

func vscode() *Client {
	return &Client{
		ID: "vscode", Title: "VS Code", format: jsonComments, container: "servers",
		path:    func(m *Machine) (string, error) { return m.appData("Code", "User", "mcp.json") },
		project: ".vscode/mcp.json", urlKey: "url", window: true,
		stdio: func(command string) []Field { return typed("stdio", plainStdio(command)...) },
		http:  func(url string) []Field { return typed("http", Field{"url", url}) },
		own: &own{
			program: "code", scopes: []string{User}, replaces: true, lossy: true,
			add: func(_ string, s Server) []string {
				definition := map[string]any{"name": s.Name, "type": "stdio", "command": s.Command, "args": []string{}}
				if s.URL != "" {
					definition = map[string]any{"name": s.Name, "type": "http", "url": s.URL}
				}
				text, _ := json.Marshal(definition) // texts can be encoded
				return []string{"--add-mcp", string(text)}
			},
		},
		next: "In VS Code run the command MCP: List Servers and start it; its tools are there in agent mode.",
	}
}

func windsurf() *Client {
	return &Client{
		ID: "windsurf", Title: "Windsurf", format: jsonComments, container: "mcpServers",
		path:  func(m *Machine) (string, error) { return m.belowHome(".codeium", "windsurf", "mcp_config.json") },
		stdio: plainStdio, urlKey: "serverUrl", window: true,
		http: func(url string) []Field { return []Field{{"serverUrl", url}} },
		next: "In Windsurf's Cascade panel, under MCP servers, press Refresh; else restart Windsurf.",
	}
}

func zed() *Client {
	return &Client{
		ID: "zed", Title: "Zed", format: jsonComments, container: "context_servers",
		path: func(m *Machine) (string, error) {
			if m.GOOS == "darwin" {
				return m.belowHome(".config", "zed", "settings.json")
			}
			name := "zed"
			if m.GOOS == "windows" {
				name = "Zed"
			}
			return m.appData(name, "settings.json")
		},
		project: ".zed/settings.json", urlKey: "url", window: true,
		stdio: func(command string) []Field {
			return append([]Field{{"source", "custom"}}, plainStdio(command)...)
		},
		http: func(url string) []Field { return []Field{{"source", "custom"}, {"url", url}} },
		next: "Zed reads the file at once; the settings of its agent panel list the server.",
	}
}

// Next is what a person does after the client's configuration has changed.
func (c *Client) Next() string { return c.next }

// Key is the key of the file that holds the entries.
func (c *Client) Key() string { return c.container }

// Command is the client's own command that adds servers; empty: it has none.
func (c *Client) Command() string {
	if c.own == nil {
		return ""
	}
	return strings.Join(append([]string{c.own.program}, c.own.add(User, Server{Name: "loop", Command: "loop-mcp"})...), " ")
}
