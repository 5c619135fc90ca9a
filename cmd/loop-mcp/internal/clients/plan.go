package clients

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Action is what happens to an entry.
type Action string

// The actions.
const (
	Add     Action = "added"
	Update  Action = "updated"  // of our entry: which program it runs
	Replace Action = "replaced" // of somebody else's entry, or of one of another kind
	Remove  Action = "removed"
	Nothing Action = "unchanged"
)

// Options say what is wanted.
type Options struct {
	Scope  string // User or Project; empty: User
	Remove bool
	Force  bool // also an entry that is not ours
}

// Change is what is to be done for one client, or was.
type Change struct {
	Client *Client
	Server Server
	Scope  string
	Action Action
	File   string     // where the entry is
	Argv   [][]string // the client's own commands; none: the file is edited
	Diff   string     // of the file; before Apply as it is expected
	Backup string     // after Apply: the copy of the file; empty: there was none
	Said   string     // after Apply: what the client's own command said

	was   file
	after []byte // the file edited by us
}

// ForeignError says that there is an entry with our name that is not ours.
type ForeignError struct {
	Client, File, Name, Text string
	Line                     int
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s has another server named %s (%s, line %d):\n%s\nIt is left alone. Choose another --name, or replace it with --force.", e.Client, e.Name, e.File, e.Line, e.Text)
}

// ManualError says that a client could not be set up, and how to do it by hand.
type ManualError struct {
	File, Snippet string
	Err           error
}

func (e *ManualError) Error() string {
	text := fmt.Sprintf("%v\nBy hand, in %s", e.Err, e.File)
	if e.Snippet == "" {
		return text + ": take the entry out."
	}
	return text + ":\n" + strings.TrimRight(e.Snippet, "\n")
}

// Unwrap returns the cause.
func (e *ManualError) Unwrap() error { return e.Err }

// Plan looks at a client's configuration and says what would change. It changes
// nothing.
func (m *Machine) Plan(c *Client, s Server, o Options) (*Change, error) {
	if o.Scope == "" {
		o.Scope = User
	}
	if s.URL != "" && c.http == nil {
		return nil, fmt.Errorf("%s starts servers as programs: leave --http out", c.Title)
	}
	path, err := c.File(m, o.Scope)
	if err != nil {
		return nil, err
	}
	change := &Change{Client: c, Server: s, Scope: o.Scope, File: path}
	if change.was, err = readFile(path); err != nil {
		return nil, change.byHand(o, err)
	}
	conf, err := c.parse(change.was.data)
	if err != nil {
		return nil, change.byHand(o, fmt.Errorf("%s can't be read and is left alone: %w", path, err))
	}
	old, err := c.entry(conf, s.Name)
	if err == nil {
		err = change.decide(conf, old, o)
	}
	var foreign *ForeignError
	if err != nil && !errors.As(err, &foreign) {
		return nil, change.byHand(o, fmt.Errorf("%s is left alone: %w", path, err))
	}
	if err != nil {
		return nil, err
	}
	m.choose(change, conf, old)
	return change, nil
}

func (c *Change) byHand(o Options, err error) error {
	manual := &ManualError{File: c.File, Err: err}
	if !o.Remove {
		manual.Snippet = c.Client.Snippet(c.Server)
	}
	return manual
}

// decide says what happens to the entry and what the file becomes.
func (c *Change) decide(conf config, old *Entry, o Options) (err error) {
	container, name := c.Client.container, c.Server.Name
	ok := true
	switch {
	case o.Remove && old == nil, old != nil && !o.Remove && old.runs(c.Server):
		c.Action = Nothing
		return nil
	case old != nil && !old.changeable(c.Server, o) && !o.Force:
		return &ForeignError{Client: c.Client.Title, File: c.File, Name: name, Line: old.Line, Text: Masked(conf.Text(container, name))}
	case o.Remove:
		c.Action = Remove
		c.after, ok, err = conf.Remove(container, name)
	case old == nil:
		c.Action = Add
		c.after, err = conf.Set(container, name, c.Client.fields(c.Server))
	case old.changeable(c.Server, o) && old.plainCommand() && c.Server.Command != "":
		c.Action = Update
		c.after, ok, err = conf.SetField(container, name, "command", c.Server.Command)
	default:
		c.Action = Replace
		c.after, err = conf.Set(container, name, c.Client.fields(c.Server))
	}
	if err == nil && !ok {
		err = errors.New("the entry can't be found again")
	}
	if err == nil {
		err = c.check(c.after)
	}
	c.Diff = Diff(c.was.data, c.after)
	return err
}

// check reads what would be written: it must say what is wanted.
func (c *Change) check(data []byte) error {
	conf, err := c.Client.parse(data)
	if err != nil {
		return err
	}
	e, err := c.Client.entry(conf, c.Server.Name)
	switch {
	case err != nil:
		return err
	case c.Action == Remove && e != nil:
		return fmt.Errorf("%s is still there", c.Server.Name)
	case c.Action != Remove && (e == nil || !e.runs(c.Server)):
		return fmt.Errorf("%s is not there", c.Server.Name)
	}
	return nil
}

// runs reports whether an entry is what a server asks for; what else it says is
// its owner's.
func (e *Entry) runs(s Server) bool {
	if s.URL != "" {
		return e.URL == s.URL
	}
	return e.Command == s.Command && e.URL == ""
}

// plainCommand reports whether the program stands where a text can be exchanged.
func (e *Entry) plainCommand() bool {
	_, ok := e.fields["command"].(string)
	return ok && e.URL == ""
}

// changeable reports whether an entry is ours: it runs loop-mcp, or is an
// address on this machine that is to be taken out or exchanged for another one.
func (e *Entry) changeable(s Server, o Options) bool {
	if e.Ours() {
		return s.URL == "" || o.Remove
	}
	return e.OnThisMachine() && (s.URL != "" || o.Remove)
}

// choose decides between the client's own command and an edit of the file.
func (m *Machine) choose(c *Change, conf config, old *Entry) {
	own := c.Client.own
	if c.Action == Nothing || own == nil || !slices.Contains(own.scopes, c.Scope) || own.lossy && conf.HasComments() {
		return
	}
	program := own.find(m)
	if program == "" {
		return
	}
	if own.remove == nil && c.Action == Remove || c.Action == Update && !old.minimal() {
		return
	}
	var argv [][]string
	if c.Action == Remove || old != nil && !own.replaces {
		argv = append(argv, append([]string{program}, own.remove(c.Scope, c.Server.Name)...))
	}
	if c.Action != Remove {
		argv = append(argv, append([]string{program}, own.add(c.Scope, c.Server)...))
	}
	if m.garbled(argv) {
		return
	}
	c.Argv = argv
}

// find returns the path of a client's own command; empty: it is not on PATH.
func (o *own) find(m *Machine) string {
	if path, err := m.LookPath(o.program); err == nil {
		return path
	}
	return ""
}

// garbled reports whether Windows would not hand the arguments on as they are:
// programs of npm are batch files there, which read them a second time.
func (m *Machine) garbled(argv [][]string) bool {
	if m.GOOS != "windows" {
		return false
	}
	for _, args := range argv {
		program := strings.ToLower(args[0])
		batch := strings.HasSuffix(program, ".cmd") || strings.HasSuffix(program, ".bat")
		if batch && slices.ContainsFunc(args[1:], func(arg string) bool { return strings.ContainsAny(arg, "\"%&|<>^!()") }) {
			return true
		}
	}
	return false
}
