package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/cmd/loop-mcp/internal/clients"
	"example.com/loop-mcp/loops"
)

// clients is whether those that have loop-mcp can start it.
func (d *doctor) clients(ctx context.Context, e *examination) {
	has := false
	for _, c := range clients.All() {
		var ours []clients.Entry
		files := map[string]bool{}
		for _, scope := range []string{clients.User, clients.Project} {
			if scope == clients.Project && !c.HasProject() {
				continue
			}
			found, err := c.Read(d.machine, scope)
			if files[found.File] {
				continue
			}
			files[found.File] = true
			if err != nil {
				e.add(levelBroken, "mend the file: "+c.Title+" can't read it either", "%s: %s", c.Title, problemText(err))
				continue
			}
			for _, entry := range found.Entries {
				if !entry.Ours() {
					has = d.address(ctx, e, c, found.File, entry) || has
					continue
				}
				d.entry(ctx, e, c, found.File, entry)
				if len(ours) == 0 || ours[0].Name != entry.Name { // the project's comes before the person's
					ours = append(ours, entry)
				}
			}
		}
		if len(ours) > 1 {
			e.add(levelNote, fmt.Sprintf("loop-mcp setup %s --name %s --remove", c.ID, ours[1].Name),
				"%s has two entries that run loop-mcp, %s and %s: each tool is there twice", c.Title, ours[0].Name, ours[1].Name)
		}
		has = has || len(ours) > 0
	}
	if !has {
		e.add(levelNote, "loop-mcp setup CLIENT", "no client that setup knows has loop-mcp as a program")
	}
}

// entry is whether a client can start what its entry says.
func (d *doctor) entry(ctx context.Context, e *examination, c *clients.Client, file string, entry clients.Entry) {
	who := place(c, file, entry)
	again := "loop-mcp setup " + c.ID
	if entry.Name != "loop" {
		again += " --name " + entry.Name
	}
	if entry.Line == 0 {
		again = "claude mcp remove --scope local " + entry.Name + ", then " + again
	}
	path := entry.Command
	switch {
	case !strings.ContainsAny(path, `/\`):
		found, err := d.machine.LookPath(path)
		if err != nil {
			e.add(levelBroken, again+" writes the path", "%s starts %s, which is not on PATH", who, path)
			return
		}
		if c.Window() {
			e.add(levelNote, again+" writes the path", "%s starts %s by its name; started from a window it may have another PATH than this terminal, where it is %s", who, path, found)
		}
		path = found
	case !filepath.IsAbs(path):
		e.add(levelBroken, again+" writes the whole path", "%s starts %s, which depends on the folder it is in", who, path)
		return
	}
	if !d.startable(e, who, path, again) {
		return
	}
	if problem := unknownArguments(entry.Args); problem != "" {
		e.add(levelBroken, "take them out, or see loop-mcp serve --help", "%s: the arguments %s: %s", who, strings.Join(entry.Args, " "), problem)
		return
	}
	d.elsewhere(e, who, entry)
	d.versionOf(ctx, e, who, path, again)
}

// place says where an entry is.
func place(c *clients.Client, file string, entry clients.Entry) string {
	if entry.Line == 0 {
		return fmt.Sprintf("%s (%s, for this folder)", c.Title, file)
	}
	return fmt.Sprintf("%s (%s, line %d)", c.Title, file, entry.Line)
}

// address is whether somebody serves a client that calls loop-mcp over HTTP; it
// returns false for an entry that is not about that.
func (d *doctor) address(ctx context.Context, e *examination, c *clients.Client, file string, entry clients.Entry) bool {
	u, err := url.Parse(entry.URL)
	if err != nil || entry.Name != "loop" || !entry.OnThisMachine() {
		return false
	}
	switch who := place(c, file, entry); whoListens(ctx, u.Scheme+"://"+u.Host+"/") {
	case nobody:
		e.add(levelBroken, "loop-mcp serve --http "+u.Host, "%s calls %s, where nobody listens", who, entry.URL)
	case another:
		e.add(levelBroken, "loop-mcp setup "+c.ID+" --force names the program instead", "%s calls %s, where another program listens", who, entry.URL)
	default:
		e.ok("%s calls %s, where loop-mcp listens", who, entry.URL)
	}
	return true
}

// startable reports whether a path is a program.
func (d *doctor) startable(e *examination, who, path, again string) bool {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		e.add(levelBroken, again, "%s starts %s, which is not there", who, path)
		return false
	case info.IsDir():
		e.add(levelBroken, again, "%s starts %s, which is a folder", who, path)
		return false
	case d.machine.GOOS != "windows" && info.Mode().Perm()&0o111 == 0:
		e.add(levelBroken, "chmod +x "+path, "%s starts %s, which may not be run", who, path)
		return false
	}
	return true
}

// elsewhere notes a client whose loops are not those that this terminal shows.
func (d *doctor) elsewhere(e *examination, who string, entry clients.Entry) {
	home, _ := entry.Env["LOOP_MCP_HOME"].(string)
	if home == "" || d.broken != nil || home == d.settings.data {
		return
	}
	e.add(levelNote, "LOOP_MCP_HOME="+home+" loop-mcp ls shows them", "%s keeps its loops in %s, this terminal in %s", who, home, d.settings.data)
}

// versionOf compares the program of a client with this one.
func (d *doctor) versionOf(ctx context.Context, e *examination, who, path, again string) {
	if own, err := os.Stat(d.executable); err == nil {
		if info, err := os.Stat(path); err == nil && os.SameFile(own, info) {
			e.ok("%s starts %s, this program", who, path)
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version", "--json")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var answer struct{ Version, Revision string }
	if err != nil || json.Unmarshal(out, &answer) != nil || answer.Version == "" {
		e.add(levelBroken, again, "%s starts %s, which does not say its version as loop-mcp does", who, path)
		return
	}
	version, revision := build()
	if answer.Version != version || answer.Revision != revision {
		e.add(levelNote, again+" names this one", "%s starts %s, version %s; this program is version %s", who, path,
			versionWords(answer.Version, answer.Revision), versionWords(version, revision))
		return
	}
	e.ok("%s starts %s, the same version as this program", who, path)
}

func versionWords(version, revision string) string {
	if revision == "" {
		return version
	}
	return version + " (" + clip(revision, 12) + ")"
}

// unknownArguments says why this program would not serve a client with these
// arguments; empty: it would.
func unknownArguments(arguments []string) string {
	top := newRoot(&app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv})
	cmd, flags, err := top.Find(arguments)
	if err == nil {
		cmd.InitDefaultHelpFlag()
		err = cmd.ParseFlags(flags)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	switch {
	case err != nil:
		return problemText(err)
	case cmd != top && cmd.Name() != "serve":
		return cmd.CommandPath() + " is no MCP server"
	}
	return ""
}

// program is whether the one that runs is where it stays.
func (d *doctor) program(_ context.Context, e *examination) {
	p := d.machine.Program(d.executable)
	version, revision := build()
	e.ok("%s, version %s", p.Path, versionWords(version, revision))
	if p.Unstable != "" {
		e.add(levelNote, "put it where it stays, then loop-mcp setup CLIENT again", "%s: %s", p.Path, p.Unstable)
	}
	found, err := d.machine.LookPath("loop-mcp")
	switch {
	case err != nil:
		e.add(levelNote, "add "+filepath.Dir(p.Path)+" to PATH", "loop-mcp is not on PATH: clients that name it so can't start it")
	case !p.OnPath:
		e.add(levelNote, "remove one of them", "loop-mcp on PATH is another one: %s", found)
	}
}

// misspelt are variables that look like ours and are none.
func (d *doctor) misspelt() (texts []string) {
	var known []string
	for _, name := range d.settings.variables() {
		known = append(known, strings.TrimPrefix(name, "LOOP_MCP_"))
	}
	for _, pair := range d.environ {
		name, _, _ := strings.Cut(pair, "=")
		word, ours := strings.CutPrefix(name, "LOOP_MCP_")
		if !ours || name == d.settings.HTTP.TokenEnv {
			continue
		}
		if near := loops.DidYouMean(word, known); near != "" && !slices.Contains(known, word) {
			texts = append(texts, fmt.Sprintf("the variable %s is not looked at%s", name, strings.Replace(near, "mean ", "mean LOOP_MCP_", 1)))
		}
	}
	return texts
}
