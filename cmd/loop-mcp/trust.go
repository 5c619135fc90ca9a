package main

import (
	"fmt"
	"path/filepath"

	"example.com/loop-mcp/loops/loopfile"
	"github.com/spf13/cobra"
)

func (a *app) trustCommand() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "trust FILE…",
		Short: "Let MCP clients start a loop file by its name",
		Long: "Let MCP clients start a loop file by its name. The content is pinned: after any change\n" +
			"the file must be trusted again. Files in the loops folder of the configuration need no trust.",
		Example:           "  loop-mcp trust .loops/fix-build.loop.yaml\n  loop-mcp trust --remove .loops/fix-build.loop.yaml",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: loopFiles,
		RunE: func(_ *cobra.Command, files []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			return a.trust(s, files, remove)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take the trust back")
	a.jsonFlag(cmd)
	return cmd
}

// trusted is one line of the answer.
type trusted struct {
	Path    string `json:"path"`
	Trusted bool   `json:"trusted"`
	SHA256  string `json:"sha256,omitempty"`
}

func (a *app) trust(s settings, files []string, remove bool) error {
	var done []trusted
	for _, file := range files {
		change := trustFile
		if remove {
			change = untrustFile
		}
		one, err := change(s.trust, file)
		if err != nil {
			return err
		}
		done = append(done, one)
	}
	if a.json {
		return a.printJSON(map[string]any{"files": done})
	}
	for _, one := range done {
		verb := "trusted"
		if !one.Trusted {
			verb = "no longer trusted:"
		}
		fmt.Fprintf(a.stdout, "%s %s\n", verb, one.Path)
	}
	return nil
}

// trustFile pins a file that is a correct loop file: one that can't be read
// would be trusted for what it becomes later.
func trustFile(t trustStore, path string) (trusted, error) {
	file, err := loopfile.Load(path)
	if err != nil {
		return trusted{}, loadProblem(path, file, err)
	}
	return trusted{Path: file.Path, Trusted: true, SHA256: hash(file.Data)}, t.pin(file.Path, file.Data)
}

func untrustFile(t trustStore, path string) (trusted, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return trusted{}, err
	}
	_, err = t.unpin(abs)
	return trusted{Path: abs}, err
}

// loopFiles completes the names of loop files.
func loopFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml", "json", "md"}, cobra.ShellCompDirectiveFilterFileExt
}
