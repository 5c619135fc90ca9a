package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/loops"
	"github.com/spf13/cobra"
)

func (a *app) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of all loops to a file",
		Long: "Write a copy of all loops, with everything that they refer to, to a new file. Each loop is\n" +
			"copied whole, as it is at one moment. A damaged loop is left out and named; then the exit code is 1.\n" +
			"The file is a ZIP of JSON with SHA-256 checksums; docs/durability.md describes it. What loops wrote,\n" +
			"their goals and outputs, is in it in the clear: keep it as you keep the store.",
		Example: "  loop-mcp backup loops.zip\n  loop-mcp backup --json \"loops-$(date +%F).zip\"",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			return a.backup(cmd.Context(), files[0])
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put the loops of a backup into an empty store",
		Long: "Put the loops of a backup into an empty store. The whole file is verified before anything is\n" +
			"written; one that is cut off after that goes on with the same file. Loops that were being worked on go\n" +
			"on as after a crash, at the next command that works on loops. Do not let the store that the\n" +
			"backup was made of go on as well: its loops would run twice.",
		Example: "  loop-mcp restore loops.zip\n  LOOP_MCP_HOME=/srv/loops loop-mcp restore loops.zip",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			return a.restore(cmd.Context(), files[0])
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) backup(ctx context.Context, path string) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	has, err := s.hasStore()
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("there is nothing to back up: nothing has been started yet in %s", s.data)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("back up to %s: it exists already; name a new file", path)
	}
	h, err := a.openFor(ctx, s, true)
	if err != nil {
		return err
	}
	defer h.close()
	m, err := writeBackup(ctx, h.store, path)
	if err != nil {
		return err
	}
	if err := a.printManifest(m, "backed up to", path); err != nil {
		return err
	}
	if len(m.LeftOut) > 0 {
		return &exitError{code: exitProblem}
	}
	return nil
}

// writeBackup writes a backup that has its name only when it is whole.
func writeBackup(ctx context.Context, store *kvstate.Store, path string) (kvstate.Manifest, error) {
	half := path + ".new"
	out, err := os.OpenFile(half, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return kvstate.Manifest{}, unwritten("back up to "+path, path, err)
	}
	m, err := store.Backup(ctx, out)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		return m, errors.Join(unwritten("back up to "+path, path, err), os.Remove(half))
	}
	return m, nil
}

func (a *app) restore(ctx context.Context, path string) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h, err := a.openStore(ctx, s)
	if err != nil {
		return err
	}
	defer h.close()
	m, err := h.store.Restore(ctx, in, info.Size())
	if errors.Is(err, kvstate.ErrNotEmpty) {
		return fmt.Errorf("%w; this one is in %s, %s", err, s.where(), s.elsewhere())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := a.printManifest(m, "restored from", path); err != nil || a.json {
		return err
	}
	return a.printUnderWay(ctx, h)
}

// printUnderWay says how many loops nobody has to move for them to go on.
func (a *app) printUnderWay(ctx context.Context, h *host) error {
	moving, n := []loops.Status{loops.Running, loops.Queued, loops.Waiting}, 0
	for page := ""; ; {
		heads, next, err := h.List(ctx, loops.Filter{Statuses: moving, Limit: 100, Page: page})
		if err != nil {
			return err
		}
		n += len(heads)
		if page = next; page == "" {
			break
		}
	}
	if n > 0 {
		fmt.Fprintf(a.stdout, "%d of them were under way and go on as after a crash, with the next process that works on loops, such as loop-mcp serve --detach\n", n)
	}
	return nil
}

func (a *app) printManifest(m kvstate.Manifest, what, path string) error {
	if a.json {
		return a.printJSON(m)
	}
	fmt.Fprintf(a.stdout, "%d loops and %d blobs %s %s\n", m.Loops, m.Blobs, what, path)
	for _, left := range m.LeftOut {
		fmt.Fprintf(a.stderr, "not in it: %s: %s\n", left.ID, plain(left.Reason))
	}
	return nil
}
