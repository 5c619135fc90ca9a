package main

import (
	"fmt"
	"time"

	"example.com/loop-mcp/kvstate/embed"
	"github.com/spf13/cobra"
)

func (a *app) hostCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Show which process hosts the store",
		Long: "Show which of the processes that share the store hosts it. When that one ends, in whatever\n" +
			"way, another one takes over at once. Takes no part in the store and changes nothing.",
		Example: "  loop-mcp host\n  loop-mcp host --json | jq .pid",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			found, ok := embed.Look(s.data)
			if a.json {
				return a.printJSON(hostJSON(s.data, found, ok))
			}
			_, err = fmt.Fprintln(a.stdout, hostText(s.data, found, ok))
			return err
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func hostJSON(dir string, h embed.Hosting, ok bool) map[string]any {
	v := map[string]any{"directory": dir, "hosted": ok}
	if ok {
		v["pid"], v["command"], v["version"], v["protocol"] = h.PID, h.Command, h.Version, h.Protocol
		v["since"], v["durability"], v["answers"] = h.Started.Format(time.RFC3339), h.Durability, h.Answers
	}
	return v
}

func hostText(dir string, h embed.Hosting, ok bool) string {
	if !ok {
		return fmt.Sprintf("No process has the loops in %s open.", dir)
	}
	text := fmt.Sprintf("Process %d hosts the loops in %s since %s.\ncommand: %s\nversion: %s, protocol %d, durability %s",
		h.PID, dir, h.Started.Local().Format(time.DateTime), plain(h.Command), plain(h.Version), h.Protocol, plain(h.Durability))
	switch {
	case !h.Shared:
		text += "\nIt does not share them."
	case !h.Answers:
		text += fmt.Sprintf("\nIt does not answer: it may be about to open the store, or be stopped. kill -CONT %d lets it go on; when it is killed another process takes over.", h.PID)
	}
	return text
}
