package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// loopsSeen are the loops that somebody may have to do something about.
type loopsSeen struct {
	looked bool
	heads  []loops.Head
	more   bool
	why    map[loops.ID]string // of queued ones, and of damaged ones
	works  bool                // a process that works on loops is there
}

// maxSeen bounds the loops that are looked at.
const maxSeen = 500

// disk is whether the store's folder can be written to, now and safely.
func (d *doctor) disk(_ context.Context, e *examination) {
	dir := d.settings.data
	f, err := embed.Inspect(dir)
	switch {
	case err != nil:
		e.add(levelBroken, "choose another folder with LOOP_MCP_HOME", "%s", problemText(err))
		return
	case f.ReadOnly:
		e.add(levelBroken, "mount it writable, or choose another folder with LOOP_MCP_HOME", "the file system of %s is read-only", f.Dir)
	case !f.Writable:
		e.add(levelBroken, "give this user write permission there, or choose another folder with LOOP_MCP_HOME", "%s may not be written to", f.Dir)
	}
	if f.Network != "" {
		l := levelBroken
		if d.settings.NetworkStore == networkAllow {
			l = levelNote
		}
		e.add(l, "set LOOP_MCP_HOME to a folder on a local disk", "%s is on a network file system (%s): locks and synced writes may not hold there", dir, f.Network)
	}
	const little = 1 << 30
	quick := f.Need + kvstate.MaxLeftovers
	switch {
	case f.Need > 0 && f.Free < f.Need:
		e.add(levelBroken, "make room on that disk; loops go on by themselves then", "the disk of %s is full: %d KiB free, loops begin nothing below %d KiB", dir, f.Free>>10, f.Need>>10)
	case f.Need > 0 && f.Free < quick:
		e.add(levelNote, "make room on that disk", "the disk of %s has %d MiB left; with less than %d MiB, hundreds of loops that come to their end together go several times slower", dir, f.Free>>20, quick>>20)
	case f.Need > 0 && f.Free < little:
		e.add(levelNote, "make room on that disk", "the disk of %s has %d MiB left", dir, f.Free>>20)
	}
	if e.Level == levelOK {
		text := dir + " can be written to"
		if f.Need > 0 {
			text += fmt.Sprintf(", %d GiB are free", f.Free>>30)
		}
		e.ok("%s", text)
	}
}

// store is who hosts the loops, and whether they can be read.
func (d *doctor) store(ctx context.Context, e *examination) (seen loopsSeen) {
	dir := d.settings.data
	f, err := embed.Inspect(dir)
	switch {
	case err != nil || !f.Store && (f.ReadOnly || !f.Writable):
		e.add(levelBroken, "choose another folder with LOOP_MCP_HOME", "there is no store in %s, and none can be made there", dir)
		return seen
	case !f.Store:
		e.ok("there is no store in %s yet; the first loop makes it", dir)
		return seen
	}
	peers, err := embed.Peers(dir)
	if err != nil {
		e.add(levelNote, "loop-mcp host", "%s", problemText(err))
	}
	version, _ := build()
	for _, p := range peers {
		seen.works = seen.works || slices.Contains([]string{roleServer, roleHTTP, roleBackground, roleWorker}, p.Role)
		if p.Version != version {
			e.add(levelNote, "end it, and start it anew with this program", "process %d (%s) is version %s, this program is %s", p.PID, clip(p.Command, 80), orElse(p.Version, "unknown"), version)
		}
	}
	host, hosted := embed.Look(dir)
	switch {
	case hosted && !host.Shared:
		e.add(levelBroken, "end it, or set LOOP_MCP_HOME to another folder", "process %d (%s) has the loops in %s and does not share them", host.PID, clip(host.Command, 80), dir)
		return seen
	case hosted && !host.Answers:
		e.add(levelBroken, fmt.Sprintf("kill -CONT %d lets it go on; kill -KILL %[1]d ends it, and another process takes over", host.PID),
			"process %d (%s) hosts the loops in %s and does not answer", host.PID, clip(host.Command, 80), dir)
		return seen
	case hosted && host.Version != version:
		e.add(levelNote, fmt.Sprintf("end process %d, and start it anew with this program; then the doctor looks at the loops, too", host.PID),
			"process %d of version %s hosts the loops in %s, and this program, version %s, might take them over from it by looking", host.PID, orElse(host.Version, "unknown"), dir, version)
		return seen
	case hosted:
		e.ok("process %d hosts the loops in %s, %d take part", host.PID, dir, len(peers))
	default:
		e.ok("nobody has the loops in %s open; traces of a killed process do no harm", dir)
	}
	return d.read(ctx, e, seen)
}

// read opens the store as a reader and looks at its loops.
func (d *doctor) read(ctx context.Context, e *examination, seen loopsSeen) loopsSeen {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	h, err := d.settings.open(ctx, engineOptions{log: slog.New(slog.DiscardHandler), role: roleCommand, looks: true})
	if err != nil {
		e.add(levelBroken, "do what it says; loop-mcp host shows who takes part", "%s", problemText(err))
		return seen
	}
	defer h.close()
	if err := seen.list(ctx, h); err != nil {
		e.add(levelBroken, "loop-mcp verify", "the loops can't be listed: %s", problemText(err))
	}
	if !d.settings.clustered() { // else there is a disk, which has been looked at
		return seen
	}
	if err := h.store.Trouble(); err != nil {
		e.add(levelBroken, "do what it says; loops go on by themselves then", "%s", problemText(err))
	}
	return seen
}

// list fetches the loops that have not settled, and those that failed.
func (l *loopsSeen) list(ctx context.Context, h *host) error {
	statuses := slices.DeleteFunc(loops.Statuses(), func(s loops.Status) bool { return s.Settled() && s != loops.Failed })
	l.looked, l.why = true, map[loops.ID]string{}
	page := ""
	for {
		heads, next, err := h.List(ctx, loops.Filter{Statuses: statuses, Limit: 100, Page: page})
		if err != nil {
			return err
		}
		l.heads = append(l.heads, heads...)
		if page = next; page == "" || len(l.heads) >= maxSeen {
			l.more = page != ""
			break
		}
	}
	for _, head := range l.heads {
		if head.Status != loops.Queued && head.Status != loops.Failed {
			continue
		}
		s, err := h.Get(ctx, head.ID)
		switch {
		case err != nil:
			return err
		case s.Stop != nil && s.Stop.Reason == loops.FailQuarantined:
			l.why[head.ID] = s.Stop.Detail
		case s.Status == loops.Queued:
			if err := h.Serves(s); err != nil {
				l.why[head.ID] = problemText(err)
			}
		}
	}
	return nil
}

// loops is which ones wait for somebody.
func (d *doctor) loops(seen loopsSeen, e *examination) {
	if !seen.looked {
		e.ok("none were looked at")
		return
	}
	byStatus := map[loops.Status][]string{}
	for _, h := range seen.heads {
		id := string(h.ID)
		switch {
		case h.Status == loops.Failed && seen.why[h.ID] != "":
			e.add(levelBroken, "loop-mcp verify shows the damage; loop-mcp restore brings a backup back", "%s is damaged and kept apart: %s", id, clip(seen.why[h.ID], 200))
		case h.Status == loops.Queued && seen.why[h.ID] != "":
			e.add(levelNote, "loop-mcp show "+id+" --view why", "%s is queued: %s", id, clip(seen.why[h.ID], 200))
		case h.Status != loops.Failed:
			byStatus[h.Status] = append(byStatus[h.Status], id)
		}
	}
	for _, w := range []struct {
		status       loops.Status
		what, remedy string
	}{
		{loops.NeedsInput, "wait for a person", "loop-mcp show %s, then loop-mcp approve or continue it"},
		{loops.YourTurn, "wait for their client's agent", "ask the client to go on with %s"},
		{loops.Paused, "are paused and never move by themselves", "loop-mcp continue %s"},
	} {
		if ids := byStatus[w.status]; len(ids) > 0 {
			e.add(levelNote, fmt.Sprintf(w.remedy, ids[0]), "%d %s: %s", len(ids), w.what, few(ids))
		}
	}
	moving := slices.Concat(byStatus[loops.Running], byStatus[loops.Queued], byStatus[loops.Waiting])
	if len(moving) > 0 && !seen.works {
		e.add(levelNote, "loop-mcp serve --detach works on them until they settle", "%d would go on, and no process works on loops: %s", len(moving), few(moving))
	} else if len(moving) > 0 {
		e.ok("%d are being worked on: %s", len(moving), few(moving))
	}
	if seen.more {
		e.ok("only the first %d were looked at", len(seen.heads))
	}
	if len(e.Findings) == 0 {
		e.ok("none wait for anybody")
	}
}

// few names the first of many.
func few(ids []string) string {
	const shown = 3
	if len(ids) <= shown {
		return strings.Join(ids, ", ")
	}
	return strings.Join(ids[:shown], ", ") + ", …"
}

// cluster is whether the NATS servers of the configuration answer.
func (d *doctor) cluster(ctx context.Context, e *examination) (seen loopsSeen) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	version, _ := build()
	m, err := cluster.Connect(ctx, d.settings.NATS.options(version, slog.New(slog.DiscardHandler)))
	if err != nil {
		e.add(levelBroken, "see that the servers run and that nats.url and the credentials are right", "%s", problemText(err))
		return seen
	}
	workers, err := m.Workers(ctx)
	e.ok("server %s of %s answers", m.Conn().ConnectedServerName(), d.settings.where())
	if err = errors.Join(err, m.Close()); err != nil {
		e.add(levelBroken, "see that JetStream is switched on for this account", "the workers can't be listed: %s", problemText(err))
		return seen
	}
	seen.works = len(workers) > 0
	return d.read(ctx, e, seen)
}
