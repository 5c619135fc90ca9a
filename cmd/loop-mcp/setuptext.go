package main

import (
	"fmt"
	"strings"

	"example.com/loop-mcp/cmd/loop-mcp/internal/clients"
)

// setupAnswer is what was done for a client.
type setupAnswer struct {
	Client   string         `json:"client"`
	Action   clients.Action `json:"action"`
	DryRun   bool           `json:"dry_run"`
	Scope    string         `json:"scope"`
	Name     string         `json:"name"`
	File     string         `json:"file"`
	Commands [][]string     `json:"commands,omitempty"` // the client's own; none: the file is edited
	Said     string         `json:"said,omitempty"`
	Diff     string         `json:"diff,omitempty"`
	Backup   string         `json:"backup,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
	Next     string         `json:"next,omitempty"`
}

func newSetupAnswer(c *clients.Change, dryRun bool, warnings []string) setupAnswer {
	answer := setupAnswer{Client: c.Client.ID, Action: c.Action, DryRun: dryRun, Scope: c.Scope, Name: c.Server.Name, File: c.File,
		Commands: c.Argv, Said: c.Said, Diff: c.Diff, Backup: c.Backup, Warnings: append([]string{}, warnings...)}
	switch {
	case c.Action == clients.Nothing || dryRun:
	case c.Action == clients.Remove:
		answer.Next = c.Client.Title + " forgets it when it is started anew."
	default:
		answer.Next = c.Client.Next()
	}
	return answer
}

// firstWords is what to say to a client that has loop-mcp.
const firstWords = `"Start a loop that keeps improving this README until I approve it, at most five passes."`

func (a *app) printSetup(s setupAnswer, c *clients.Change) {
	title := c.Client.Title
	if s.Action == clients.Nothing {
		text := "already set up"
		if c.Server.Command == "" && c.Server.URL == "" {
			text = "there is no server " + s.Name + ", nothing to remove"
		}
		fmt.Fprintf(a.stdout, "%s: %s (%s)\n", title, text, s.File)
		return
	}
	verb := string(s.Action)
	if s.DryRun {
		verb = "would be " + verb
	}
	fmt.Fprintf(a.stdout, "%s: %s %s in %s\n", title, s.Name, verb, plain(s.File))
	for _, argv := range s.Commands {
		fmt.Fprintf(a.stdout, "$ %s\n", commandLine(argv))
	}
	if s.Said != "" {
		fmt.Fprintln(a.stdout, harmless(s.Said))
	}
	a.printDiff(s.Diff)
	if s.Backup != "" {
		fmt.Fprintf(a.stdout, "The file as it was: %s\n", s.Backup)
	}
	if s.Next != "" {
		fmt.Fprintln(a.stdout, s.Next)
	}
	if s.Next != "" && s.Action != clients.Remove {
		fmt.Fprintf(a.stdout, "Then try: %s\n", firstWords)
	}
}

func (a *app) printWarnings(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(a.stderr, "warning: %s\n", plain(w))
	}
}

func (a *app) printDiff(diff string) {
	color := isTerminal(a.stdout) && a.color()
	for line := range strings.Lines(diff) {
		line = strings.TrimSuffix(line, "\n")
		code := map[byte]string{'+': "32", '-': "31", '@': "36"}[line[0]]
		if line = harmless(line); color && code != "" {
			line = "\x1b[" + code + "m" + line + "\x1b[0m"
		}
		fmt.Fprintln(a.stdout, line)
	}
}

// commandLine is an argv as a shell would take it.
func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \t\"'{}$&|<>;*?()\\`") {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// clientState is a line of the list of clients.
type clientState struct {
	Client    string   `json:"client"`
	Title     string   `json:"title"`
	Installed string   `json:"installed,omitempty"` // what shows that it is here
	File      string   `json:"file,omitempty"`
	Entries   []string `json:"entries"` // names of the servers that run loop-mcp
	Project   []string `json:"project_entries,omitempty"`
	Problem   string   `json:"problem,omitempty"`
}

func clientStates(m *clients.Machine) (states []clientState) {
	for _, c := range clients.All() {
		s := clientState{Client: c.ID, Title: c.Title, Installed: c.Installed(m), Entries: []string{}}
		found, err := c.Read(m, clients.User)
		s.File = found.File
		if err != nil {
			s.Problem = err.Error()
		}
		s.Entries = append(s.Entries, oursOf(found)...)
		if c.HasProject() {
			if found, err := c.Read(m, clients.Project); err == nil && found.File != s.File {
				s.Project = oursOf(found)
			}
		}
		states = append(states, s)
	}
	return states
}

// oursOf names the servers that run loop-mcp.
func oursOf(f clients.Found) (names []string) {
	for _, e := range f.Entries {
		if e.Ours() {
			names = append(names, e.Name)
		}
	}
	return names
}

func (a *app) printClients(m *clients.Machine) error {
	states := clientStates(m)
	if a.json {
		return a.printJSON(map[string]any{"clients": states})
	}
	set := false
	fmt.Fprintf(a.stdout, "%-15s %-7s %-26s %s\n", "CLIENT", "FOUND", "LOOP-MCP", "FILE")
	for _, s := range states {
		found, has := "no", "-"
		if s.Installed != "" {
			found = "yes"
		}
		if s.Problem != "" {
			has = "the file can't be read"
		}
		if names := append(s.Entries, suffixed(s.Project, " (project)")...); len(names) > 0 {
			has, set = strings.Join(names, ", "), true
		}
		fmt.Fprintf(a.stdout, "%-15s %-7s %-26s %s\n", s.Client, found, plain(has), plain(s.File))
	}
	if !set {
		fmt.Fprintln(a.stdout, "\nPut it into one with: loop-mcp setup CLIENT")
	}
	return nil
}

func suffixed(names []string, suffix string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = name + suffix
	}
	return list
}
