package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) allowCommand() *cobra.Command {
	var list, remove bool
	cmd := &cobra.Command{
		Use:   "allow PROGRAM…",
		Short: "Let loops that come through MCP tools run a program",
		Long: "Let loops that come through MCP tools run a program. A running server follows at once.\n" +
			"Allowing go, make, npm and the like means arbitrary code in the folder they work in.",
		Example: "  loop-mcp allow go npm\n  loop-mcp allow --list\n  loop-mcp allow --remove npm",
		Args: args(func(cmd *cobra.Command, args []string) error {
			if list {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, programs []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			return a.allow(s, programs, list, remove)
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "print what is allowed")
	cmd.Flags().BoolVar(&remove, "remove", false, "take programs back")
	exclusive(cmd, "list", "remove")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) allow(s settings, programs []string, list, remove bool) (err error) {
	for i, p := range programs {
		if err := checkProgram(p); err != nil {
			return err
		}
		if programs[i], err = entry(p); err != nil {
			return err
		}
	}
	change, verb := s.allow.add, "allowed"
	if remove {
		change, verb = s.allow.remove, "removed"
	}
	changed, err := change(programs)
	if err != nil {
		return err
	}
	allowed, err := s.allow.programs()
	if err != nil {
		return err
	}
	allowed = append(append([]string{}, s.AllowCommands...), allowed...)
	if a.json {
		return a.printJSON(map[string]any{"allowed": allowed, "changed": append([]string{}, changed...), "file": s.allow.path})
	}
	if list {
		return a.printLines(allowed)
	}
	for _, p := range programs {
		fmt.Fprintf(a.stdout, "%s %s\n", verb, p)
		if _, err := exec.LookPath(p); err != nil && !remove && p != "*" && isName(p) {
			fmt.Fprintf(a.stderr, "note: %s is not on PATH now; it counts once it is there\n", p)
		}
	}
	return nil
}

// entry is what the list holds for a program: a name as it is, a path made
// absolute, since it would mean another file in another folder.
func entry(program string) (string, error) {
	if isName(program) || strings.HasPrefix(program, "~") {
		return program, nil
	}
	return filepath.Abs(program)
}

func isName(program string) bool { return program == "*" || filepath.Base(program) == program }

func (a *app) printLines(lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// printJSON prints an answer as indented JSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
