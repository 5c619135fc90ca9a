package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"example.com/loop-mcp/kvstate/embed"
)

// startPatience is how long a background server may take to open the store; it
// waits for a host that does not answer.
const startPatience = 30 * time.Second

// detached starts a background server, or finds the one that is there, and says
// which it is.
func (a *app) detached(ctx context.Context, idle time.Duration, level bool) error {
	if a.parent() != "" {
		return fmt.Errorf("serve --detach: this process runs below loop %s, and what a loop starts ends with it; start the background server from outside", a.parent())
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	if err := embed.MakeFolder(s.local()); err != nil {
		return err
	}
	if there, ok, err := backgroundServer(s.local()); ok || err != nil {
		return errors.Join(err, a.tellDetached(s, there, false))
	}
	got, err := a.spawn(ctx, s, idle, level)
	if err != nil {
		return err
	}
	switch {
	case got.Error != "":
		return fmt.Errorf("start the background server: %s", got.Error)
	case got.Taken:
		there, err := awaitBackground(ctx, s)
		return errors.Join(err, a.tellDetached(s, there, false))
	}
	version, _ := build()
	return a.tellDetached(s, embed.Peer{PID: got.PID, Started: time.Now(), Version: version}, true)
}

// spawn starts the program again as a background server and returns what that
// says.
func (a *app) spawn(ctx context.Context, s settings, idle time.Duration, level bool) (hello, error) {
	self, err := os.Executable()
	if err != nil {
		return hello{}, fmt.Errorf("start the background server: %w", err)
	}
	args := []string{"serve", "--background", "--idle", idle.String(), "--log-format", a.logFormat, "--log-level", "info"}
	if level {
		args[len(args)-1] = a.logLevel
	}
	if a.configPath != "" {
		path, err := filepath.Abs(a.configPath)
		if err != nil {
			return hello{}, err
		}
		args = append(args, "--config", path)
	}
	if a.natsURL != "" {
		args = append(args, "--nats", a.natsURL)
	}
	if a.natsCreds != "" {
		path, err := filepath.Abs(a.natsCreds)
		if err != nil {
			return hello{}, err
		}
		args = append(args, "--creds", path)
	}
	log, err := openLog(s.backgroundLog(), maxLog, nil)
	if err != nil {
		return hello{}, err
	}
	defer func() { _ = log.Close() }() // nothing is written to it here
	reader, writer, err := os.Pipe()
	if err != nil {
		return hello{}, fmt.Errorf("start the background server: %w", err)
	}
	defer reader.Close()
	command := func() *exec.Cmd {
		cmd := exec.Command(self, args...) //nolint:noctx // it outlives this process
		cmd.Dir, cmd.Stdout, cmd.Stderr = s.local(), writer, log.file
		cmd.Env = append(os.Environ(), "LOOP_MCP_HOME="+s.data) // absolute, as its folder is another one
		detach(cmd)
		return cmd
	}
	cmd := command()
	if err = cmd.Start(); err != nil {
		if again := command(); attach(again) {
			cmd, err = again, again.Start()
		}
	}
	_ = writer.Close() // the child has its own
	if err != nil {
		return hello{}, fmt.Errorf("start the background server: %w", err)
	}
	return listen(ctx, cmd, reader, log.path)
}

// listen waits for what a background server says.
func listen(ctx context.Context, cmd *exec.Cmd, from io.Reader, log string) (hello, error) {
	type answer struct {
		line []byte
		err  error
	}
	said := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(from).ReadBytes('\n') // ends with the child, or with this process
		said <- answer{line, err}
	}()
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	var got hello
	select {
	case a := <-said:
		if a.err == nil && json.Unmarshal(a.line, &got) == nil {
			return got, cmd.Process.Release()
		}
		err := cmd.Wait()
		return got, fmt.Errorf("start the background server: it ended at once (%w); %s says why", err, log)
	case <-timer.C:
	case <-ctx.Done():
	}
	return got, fmt.Errorf("start the background server: process %d did not open the store within %s; %s says what it does", cmd.Process.Pid, startPatience, log)
}

// backgroundServer returns the background server of a store, by its local folder.
func backgroundServer(local string) (embed.Peer, bool, error) {
	peers, err := embed.Peers(local)
	for _, p := range peers {
		if p.Role == roleBackground {
			return p, true, nil
		}
	}
	return embed.Peer{}, false, err
}

// awaitBackground waits for a background server that is about to open the store.
func awaitBackground(ctx context.Context, s settings) (embed.Peer, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(startPatience); ; {
		if p, ok, err := backgroundServer(s.local()); ok || err != nil {
			return p, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return embed.Peer{}, context.Cause(ctx)
		case <-late:
			return embed.Peer{}, fmt.Errorf("another background server is about to start and has not opened the store within %s; %s says what it does", startPatience, s.backgroundLog())
		}
	}
}

// tellDetached prints which background server works on the loops.
func (a *app) tellDetached(s settings, p embed.Peer, started bool) error {
	if p.PID == 0 {
		return nil // an error says what is wrong
	}
	version, _ := build()
	if a.json {
		return a.printJSON(map[string]any{"pid": p.PID, "started": started, "since": p.Started.UTC().Format(time.RFC3339), "version": p.Version, "log": s.backgroundLog()})
	}
	var text strings.Builder
	if started {
		fmt.Fprintf(&text, "A background server works on the loops in %s: process %d.", s.where(), p.PID)
	} else {
		fmt.Fprintf(&text, "A background server is running already: process %d, since %s.", p.PID, p.Started.Local().Format(time.DateTime))
	}
	if p.Version != version {
		fmt.Fprintf(&text, "\nIt is version %s, this program is version %s: end it and start it again to bring it up to date.", plain(p.Version), version)
	}
	fmt.Fprintf(&text, "\nIt ends when nothing is left to do, or with: %s\nlog: %s", endCommand(p.PID), s.backgroundLog())
	_, err := fmt.Fprintln(a.stdout, text.String())
	return err
}
