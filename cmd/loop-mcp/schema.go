package main

import (
	"example.com/loop-mcp/loops/loopfile"
	"github.com/spf13/cobra"
)

func (a *app) schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of loop files, for editors",
		Example: "  loop-mcp schema > loop.schema.json\n" +
			"  # then, as the first line of a loop file:\n" +
			"  # yaml-language-server: $schema=./loop.schema.json",
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(loopfile.Schema())
			return err
		},
	}
	a.jsonFlag(cmd)
	return cmd
}
