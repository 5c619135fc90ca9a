package main

import (
	"context"
	"fmt"
	"os/signal"

	"example.com/loop-mcp/loops"
	"github.com/spf13/cobra"
)

func (a *app) workerCommand() *cobra.Command {
	var workers int
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Work on loops without a client, until it is told to end",
		Long: "Work on the loops of the store, whoever started them, until Ctrl-C or SIGTERM. Bodies are ended\n" +
			"then and their loops rest at their last checkpoint; another worker goes on at once.\n" +
			"With --nats, or nats: in the configuration, any number of workers on any machine share the loops\n" +
			"of the servers. One that dies or is cut off is replaced within about 20 seconds. A worker\n" +
			"takes only loops that it can run: it needs the models, programs and folders that they name.",
		Example: "  loop-mcp worker\n  loop-mcp worker --nats nats://a,nats://b,nats://c --creds loop.creds --workers 64",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("workers") && workers < 1 {
				return usagef("--workers: must be at least 1, got %d", workers)
			}
			return a.worker(cmd.Context(), workers)
		},
	}
	a.jsonFlag(cmd)
	cmd.Flags().IntVar(&workers, "workers", 0, "loops worked on at once (default: workers of the configuration, else 16)")
	return cmd
}

// worker works on loops until it is told to end.
func (a *app) worker(ctx context.Context, workers int) error {
	ctx, stop := signal.NotifyContext(ctx, endSignals()...)
	defer stop()
	bearClosedPipes()
	s, err := a.settings()
	if err != nil {
		return err
	}
	if workers > 0 {
		s.Workers = loops.Count(workers)
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	h, err := s.open(ctx, engineOptions{log: log, parent: a.parent(), role: roleWorker})
	if err != nil {
		return err
	}
	defer h.close()
	h.work("")
	if err := a.printWorker(h); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-h.stopped:
		return h.ended()
	}
}

// printWorker says once what this process does.
func (a *app) printWorker(h *host) error {
	if a.json {
		return a.printJSON(map[string]any{"store": h.settings.where(), "worker": h.nats.Runner(), "workers": h.Workers()})
	}
	_, err := fmt.Fprintf(a.stdout, "Working on loops in %s as %s, up to %d at once. Ctrl-C or SIGTERM ends it.\n", h.settings.where(), h.nats.Runner(), h.Workers())
	return err
}
