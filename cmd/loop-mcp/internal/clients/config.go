package clients

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"example.com/loop-mcp/cmd/loop-mcp/internal/jsonedit"
	"example.com/loop-mcp/cmd/loop-mcp/internal/tomledit"
)

// config is a configuration that was read.
type config interface {
	Entry(container, name string) (map[string]any, bool, error)
	Names(container string) ([]string, error)
	Line(container, name string) int
	Text(container, name string) string
	Set(container, name string, fields []Field) ([]byte, error)
	SetField(container, name, key, text string) ([]byte, bool, error)
	Remove(container, name string) ([]byte, bool, error)
	HasComments() bool
}

func (c *Client) parse(data []byte) (config, error) {
	switch c.format {
	case tomlTables:
		return tomledit.Parse(data)
	case jsonComments:
		return jsonedit.Parse(data, jsonedit.Comments)
	}
	return jsonedit.Parse(data, jsonedit.Plain)
}

// Snippet is what a person writes into an empty file.
func (c *Client) Snippet(s Server) string {
	conf, err := c.parse(nil)
	if err != nil {
		return ""
	}
	data, err := conf.Set(c.container, s.Name, c.fields(s))
	if err != nil {
		return ""
	}
	return string(data)
}

// Entry is a server in a client's configuration.
type Entry struct {
	Name string
	Line int // 0: it is kept for one folder, below another key

	Command string // a program; empty: URL
	URL     string
	Args    []string
	Env     map[string]any

	fields map[string]any
}

// Ours reports whether it runs loop-mcp, from wherever.
func (e Entry) Ours() bool {
	base := strings.ToLower(path.Base(strings.ReplaceAll(e.Command, `\`, "/")))
	return base == "loop-mcp" || base == "loop-mcp.exe"
}

// entry reads what an entry says.
func (c *Client) entry(conf config, name string) (*Entry, error) {
	fields, ok, err := conf.Entry(c.container, name)
	if err != nil || !ok {
		return nil, err
	}
	e := c.read(name, fields)
	e.Line = conf.Line(c.container, name)
	return e, nil
}

// read understands the keys of an entry.
func (c *Client) read(name string, fields map[string]any) *Entry {
	e := &Entry{Name: name, fields: fields}
	e.Command, _ = fields["command"].(string)
	e.URL, _ = fields[c.urlKey].(string)
	e.Env, _ = fields["env"].(map[string]any)
	if nested, ok := fields["command"].(map[string]any); ok { // as Zed once wrote it
		e.Command, _ = nested["path"].(string)
	}
	args, _ := fields["args"].([]any)
	for _, arg := range args {
		e.Args = append(e.Args, fmt.Sprint(arg))
	}
	return e
}

// OnThisMachine reports whether it is an address on the loopback interface.
func (e Entry) OnThisMachine() bool {
	u, err := url.Parse(e.URL)
	return err == nil && e.URL != "" && slices.Contains([]string{"127.0.0.1", "localhost", "::1"}, u.Hostname())
}

// minimal reports whether an entry says nothing but which program is run, so
// that nothing is lost when a client writes it anew.
func (e *Entry) minimal() bool {
	for key := range e.fields {
		switch key {
		case "command", "type":
		case "args":
			if len(e.Args) > 0 {
				return false
			}
		case "env":
			if len(e.Env) > 0 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// Found is a client's file as it is.
type Found struct {
	File    string
	Exists  bool
	Entries []Entry // all servers that are well-formed, of anybody
}

// Read reads the file of a scope. The error names the file.
func (c *Client) Read(m *Machine, scope string) (Found, error) {
	path, err := c.File(m, scope)
	if err != nil {
		return Found{}, err
	}
	f := Found{File: path}
	file, err := readFile(path)
	if err != nil {
		return f, err
	}
	f.Exists = file.exists
	conf, err := c.parse(file.data)
	if err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	names, err := conf.Names(c.container)
	if err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range names {
		// One that is not well-formed is no server of ours.
		if e, err := c.entry(conf, name); err == nil && e != nil {
			f.Entries = append(f.Entries, *e)
		}
	}
	if d, ok := conf.(*jsonedit.Document); ok && c.local && scope == User {
		f.Entries = append(f.Entries, c.locals(d, m.Dir)...)
	}
	return f, nil
}

// locals are the servers that a person's file keeps for one folder, as claude mcp
// add does when no scope is named. They are seen, and changed by nobody here.
func (c *Client) locals(d *jsonedit.Document, dir string) (entries []Entry) {
	table := func(v any, key string) map[string]any {
		all, _ := v.(map[string]any)
		found, _ := all[key].(map[string]any)
		return found
	}
	servers := table(table(table(d.All(), "projects"), dir), c.container)
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if fields, ok := servers[name].(map[string]any); ok {
			entries = append(entries, *c.read(name, fields))
		}
	}
	return entries
}

// Installed says what shows that the client is on the machine: its command or
// its folder; empty: nothing does.
func (c *Client) Installed(m *Machine) string {
	if c.own != nil {
		if path := c.own.find(m); path != "" {
			return path
		}
	}
	path, err := c.path(m)
	if err != nil {
		return ""
	}
	if there(path) {
		return path
	}
	// The home folder says nothing.
	if home, err := m.home(); err == nil && m.parent(path) != home && there(m.parent(path)) {
		return m.parent(path)
	}
	return ""
}
