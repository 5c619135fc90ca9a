package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"

	"example.com/loop-mcp/cmd/loop-mcp/internal/clients"
	"github.com/spf13/cobra"
)

// setupFlags are what the person wants.
type setupFlags struct {
	clients.Options
	server clients.Server
	dryRun bool
}

func (a *app) setupCommand() *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use:   "setup [CLIENT…]",
		Short: "Put loop-mcp into the configuration of MCP clients, or take it out",
		Long: "Put loop-mcp into the configuration of MCP clients, or take it out with --remove. Without a client:\n" +
			"show which ones are here and which have it.\n\n" +
			"Clients: " + strings.Join(clients.IDs(), ", ") + ".\n" +
			"Where a client has a command of its own for that, and it is on PATH, that is used; else its file is\n" +
			"edited: only the entry of loop-mcp, with everything else as it is. Either way a copy of the file is\n" +
			"kept beside it, and what has changed is shown. An entry of the same name that runs another program is\n" +
			"left alone.",
		Example: "  loop-mcp setup\n  loop-mcp setup claude-code codex\n  loop-mcp setup cursor --scope project\n" +
			"  loop-mcp setup zed --dry-run\n  loop-mcp setup claude-desktop --remove",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.FixedCompletions(clients.IDs(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, ids []string) error {
			m, err := a.machine()
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				if cmd.Flags().Changed("remove") || f.dryRun || f.Force || f.server.URL != "" || cmd.Flags().Changed("scope") {
					return usagef("setup: name a client: %s", strings.Join(clients.IDs(), ", "))
				}
				return a.printClients(m)
			}
			return a.setup(cmd.Context(), m, ids, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Scope, "scope", clients.User, "where: user (everything you do) or project (this folder, for who works in it)")
	flags.StringVar(&f.server.Name, "name", "loop", "the name that the client shows")
	flags.StringVar(&f.server.URL, "http", "", "an address of loop-mcp serve --http, instead of the program")
	flags.BoolVar(&f.Remove, "remove", false, "take loop-mcp out again")
	flags.BoolVar(&f.Force, "force", false, "replace or remove also an entry of that name that runs another program")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be done, and change nothing")
	complete(cmd, "scope", clients.User, clients.Project)
	a.jsonFlag(cmd)
	return cmd
}

// machine is where clients are set up, with this folder as the project.
func (a *app) machine() (*clients.Machine, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find this folder: %w", err)
	}
	return clients.This(a.env, dir), nil
}

var serverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

func (f setupFlags) check(ids []string) ([]*clients.Client, error) {
	if f.Scope != clients.User && f.Scope != clients.Project {
		return nil, usagef("--scope: must be user or project, got %q", clip(plain(f.Scope), 40))
	}
	if !serverName.MatchString(f.server.Name) {
		return nil, usagef("--name: must be letters, digits, - and _, at most 32, got %q", clip(plain(f.server.Name), 40))
	}
	if u, err := url.Parse(f.server.URL); f.server.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return nil, usagef("--http: must be an address such as http://127.0.0.1:7717/mcp, got %q", clip(plain(f.server.URL), 80))
	}
	var list []*clients.Client
	for _, id := range ids {
		c := clients.Find(id)
		if c == nil {
			return nil, usagef("setup: there is no client %q; known are %s", clip(plain(id), 40), strings.Join(clients.IDs(), ", "))
		}
		if f.Scope == clients.Project && !c.HasProject() {
			return nil, usagef("setup %s: it has no configuration of a project; leave --scope out", id)
		}
		list = append(list, c)
	}
	return list, nil
}

// setup plans and carries out the change of each client. A client that can't be
// changed does not keep the others from being.
func (a *app) setup(ctx context.Context, m *clients.Machine, ids []string, f setupFlags) error {
	list, err := f.check(ids)
	if err != nil {
		return err
	}
	if a.configPath+a.natsURL+a.natsCreds != "" {
		return usagef("setup: --config, --nats and --creds are not written into a client's entry; write what they say into the configuration file, which every server reads")
	}
	warnings, err := f.program(m)
	if err != nil {
		return err
	}
	if !f.Remove {
		warnings = append(warnings, a.unseen(f.server.URL != "")...)
	}
	if !a.json {
		a.printWarnings(warnings)
	}
	var done []setupAnswer
	var problems []error
	for _, c := range list {
		here := c.Installed(m) != ""
		change, err := m.Plan(c, f.server, f.Options)
		if err == nil && !f.dryRun {
			err = m.Apply(ctx, change)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		answer := newSetupAnswer(change, f.dryRun, warnings)
		if !here && !f.Remove {
			answer.Warnings = append(answer.Warnings, c.Title+" was not found on this machine")
		}
		done = append(done, answer)
		if !a.json {
			a.printSetup(answer, change)
			a.printWarnings(answer.Warnings[len(warnings):])
		}
	}
	if a.json {
		if err := a.printJSON(map[string]any{"clients": append([]setupAnswer{}, done...)}); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}

// program fills in how loop-mcp is started: in a file of one person by its path,
// in one that others share by its name where that leads to the same program.
func (f *setupFlags) program(m *clients.Machine) (warnings []string, err error) {
	if f.server.URL != "" || f.Remove {
		return nil, nil
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the path of this program: %w", err)
	}
	p := m.Program(executable)
	f.server.Command = p.Path
	switch {
	case f.Scope == clients.Project && p.OnPath:
		f.server.Command = "loop-mcp"
	case f.Scope == clients.Project:
		warnings = append(warnings, "the path "+p.Path+" is of this machine, and others who share the project's file do not have it: put loop-mcp on PATH first")
	}
	if p.Unstable != "" {
		warnings = append(warnings, p.Path+": "+p.Unstable)
	}
	return warnings, nil
}

// unseen warns of what this terminal knows and a client would not: variables, and
// the token of a server over HTTP, which is never written into a file.
func (a *app) unseen(overHTTP bool) (warnings []string) {
	if home := a.env("LOOP_MCP_HOME"); home != "" && !overHTTP {
		warnings = append(warnings, "LOOP_MCP_HOME is set in this terminal alone: a client that lacks it keeps its loops elsewhere; set it for the whole session, or in the env of the entry")
	}
	if s, err := a.settings(); overHTTP && err == nil && (s.HTTP.TokenEnv != "" || a.env(defaultTokenEnv) != "") {
		warnings = append(warnings, "that server wants a token, which is not written: add the header Authorization: Bearer TOKEN to the entry as the client wants it")
	}
	return warnings
}
