package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/spf13/cobra"
)

func (a *app) watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch [ID]",
		Short: "Watch loops without working on them",
		Long: "Watch one loop with its live text until it settles or waits for somebody, or all loops that\n" +
			"have not settled, a line each. Changes nothing and works on nothing; Ctrl-C ends it.",
		Example:           "  loop-mcp watch\n  loop-mcp watch fix-build-7k3q\n  loop-mcp watch fix-build-7k3q --json",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if len(ids) == 1 {
				return a.watchOne(cmd.Context(), loops.ID(ids[0]))
			}
			if a.json {
				return usagef("watch: --json needs the ID of a loop; loop-mcp ls --json lists all")
			}
			return a.watchAll(cmd.Context())
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// watchOne shows a loop until nothing moves it any more.
func (a *app) watchOne(ctx context.Context, id loops.ID) error {
	h, err := a.openExisting(ctx, id, true)
	if err != nil {
		return err
	}
	defer h.close()
	if _, err := h.Get(ctx, id); err != nil {
		return unknown(id, err)
	}
	return (&follower{app: a, host: h, id: id, view: a.newView(h, false), looks: true}).run(ctx, false)
}

// watchAll shows the loops that have not settled until there are none.
func (a *app) watchAll(ctx context.Context) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	if has, err := s.hasStore(); err != nil || !has {
		a.printHeads(nil)
		return err
	}
	h, err := a.openFor(ctx, s, true)
	if err != nil {
		return err
	}
	defer h.close()
	ctx, stop := signal.NotifyContext(ctx, endSignals()...)
	defer stop()
	heads, _, err := h.List(ctx, loops.Filter{Statuses: liveStatuses(), Limit: 100})
	if err != nil {
		return err
	}
	b := a.newBoard(heads)
	err = b.follow(ctx, h)
	b.end()
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return &exitError{code: exitInterrupted}
	}
	fmt.Fprintln(a.stderr, "No loop is left that has not settled.")
	return nil
}

func liveStatuses() []loops.Status {
	return slices.DeleteFunc(loops.Statuses(), loops.Status.Settled)
}

// board shows loops, a line each: drawn anew on a terminal, else printed again
// when it has changed.
type board struct {
	out   *os.File
	draws bool
	live  []loops.Head // in the order in which they were seen first
	told  map[loops.ID]string
	drawn int
}

func (a *app) newBoard(heads []loops.Head) *board {
	b := &board{out: a.stdout, draws: isTerminal(a.stdout) && a.env("TERM") != "dumb", told: map[loops.ID]string{}}
	for _, head := range heads {
		b.take(head)
	}
	return b
}

// follow takes in changes until ctx ends or nothing is left to watch.
func (b *board) follow(ctx context.Context, h *host) error {
	ctx, cancel := context.WithCancel(ctx)
	heads, failed, ended := make(chan loops.Head), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for head, err := range h.Watch(ctx, "") {
			if err != nil {
				failed <- fmt.Errorf("watch the loops: %w", err)
				return
			}
			select {
			case heads <- head:
			case <-ctx.Done():
			}
		}
	}()
	defer func() { cancel(); <-ended }()
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for b.show(); len(b.live) > 0; {
		select {
		case head := <-heads:
			b.take(head)
		case <-ticker.C:
			b.show()
		case err := <-failed:
			return err
		case <-h.replaced():
			return h.ended()
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// take notes a head. A loop that has settled is told a last time.
func (b *board) take(head loops.Head) {
	at := slices.IndexFunc(b.live, func(h loops.Head) bool { return h.ID == head.ID })
	switch {
	case head.Status.Settled() && at < 0:
		return
	case head.Status.Settled():
		b.live = slices.Delete(b.live, at, at+1)
		b.end()
		b.tell(head)
	case at < 0:
		b.live = append(b.live, head)
	default:
		b.live[at] = head
	}
}

func (b *board) tell(head loops.Head) {
	if line := boardLine(head); b.told[head.ID] != line {
		b.told[head.ID] = line
		fmt.Fprintln(b.out, line)
	}
}

func boardLine(head loops.Head) string {
	return plain(orElse(head.Summary, fmt.Sprintf("%s %s", head.ID, head.Status)))
}

// show draws the board, as much of it as the window holds.
func (b *board) show() {
	if !b.draws {
		for _, head := range b.live {
			b.tell(head)
		}
		return
	}
	columns, rows := terminalSize(b.out)
	var lines []string
	for _, head := range b.live {
		lines = append(lines, clipColumns(boardLine(head), columns-1))
	}
	if room := max(rows-2, 1); len(lines) > room {
		lines = append(lines[:room-1], fmt.Sprintf("… and %d more", len(b.live)-room+1))
	}
	var text strings.Builder
	text.WriteString(rewind(b.drawn))
	for _, line := range lines {
		text.WriteString(line + "\n")
	}
	b.drawn = len(lines)
	fmt.Fprint(b.out, text.String())
}

// end takes the board off the screen.
func (b *board) end() {
	fmt.Fprint(b.out, rewind(b.drawn))
	b.drawn = 0
}
