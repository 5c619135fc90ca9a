package main

import (
	"fmt"
	"strings"
	"time"

	"example.com/loop-mcp/kvstate/embed"
	"github.com/spf13/cobra"
)

func (a *app) hostCommand() *cobra.Command {
	var stepDown bool
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Show which processes share the store and which one hosts it",
		Long: "Show which processes share the store, and which of them hosts it. When that one ends, in whatever\n" +
			"way, another one takes over at once. With NATS servers of your own: which of them answers, and the\n" +
			"workers that have a lease. Takes no part in the store and changes nothing.\n\n" +
			"With --step-down: ask the host to hand over to another process, and show which one that is. Work\n" +
			"goes on meanwhile. When no other process has the store open the host goes on, and the exit code is 1.",
		Example: "  loop-mcp host\n  loop-mcp host --json | jq .pid\n  loop-mcp host --step-down",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			if s.clustered() && stepDown {
				return usagef("--step-down: there is no host, the loops are on NATS servers; leave it out")
			}
			if s.clustered() {
				return a.printWorkers(cmd.Context(), s)
			}
			if stepDown {
				version, _ := build()
				if _, err := embed.StepDown(cmd.Context(), s.data, version); err != nil {
					return err
				}
			}
			found, ok := embed.Look(s.data)
			peers, err := embed.Peers(s.data)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(hostJSON(s.data, found, ok, peers))
			}
			_, err = fmt.Fprintln(a.stdout, hostText(s.data, found, ok)+peersText(peers))
			return err
		},
	}
	cmd.Flags().BoolVar(&stepDown, "step-down", false, "ask the host to hand over to another process")
	a.jsonFlag(cmd)
	return cmd
}

func hostJSON(dir string, h embed.Hosting, ok bool, peers []embed.Peer) map[string]any {
	if peers == nil {
		peers = []embed.Peer{}
	}
	v := map[string]any{"directory": dir, "hosted": ok, "processes": peers}
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

// roleTexts say what a process of a role is there for.
var roleTexts = map[string]string{
	roleServer: "serves a client", roleCommand: "a command", roleBackground: "works in the background", roleWorker: "a worker", roleHTTP: "serves clients over HTTP", roleHandler: "serves a handler",
}

// peersText lists the processes that share a store.
func peersText(peers []embed.Peer) string {
	var text strings.Builder
	for i, p := range peers {
		if i == 0 {
			text.WriteString("\nThose that share them:")
		}
		fmt.Fprintf(&text, "\n  process %d, %s, since %s, version %s: %s", p.PID, orElse(roleTexts[p.Role], "unknown"),
			p.Started.Local().Format(time.DateTime), plain(orElse(p.Version, "unknown")), plain(p.Command))
	}
	return text.String()
}
