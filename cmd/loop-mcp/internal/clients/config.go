package clients

import (
	"fmt"
	"path"
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

// hasComments reports whether something would be lost when the file is written
// anew from what it means.
func hasComments(conf config) bool {
	d, ok := conf.(*jsonedit.Document)
	return ok && d.HasComments()
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
	Line int

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
	e := &Entry{Name: name, Line: conf.Line(c.container, name), fields: fields}
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
	return e, nil
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
	return f, nil
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
