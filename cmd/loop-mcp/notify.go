package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
)

const (
	notifyTimeout = 30 * time.Second // of one run of the program
	notifyEnd     = 10 * time.Second // for those under way when the process ends; then they are ended and left to another process
)

// checkNotify refuses a program that can't be one.
func checkNotify(argv []string) error {
	if len(argv) > 0 && (strings.TrimSpace(argv[0]) == "" || slices.ContainsFunc(argv, func(a string) bool { return strings.ContainsRune(a, 0) })) {
		return &loops.FieldError{Field: "notify", Problem: `must be a program and its arguments, such as ["notify-send", "a loop needs you"]`}
	}
	return nil
}

// notify runs the operator's program with the snapshot of a loop on its standard
// input. It sees what commands of loops see of the environment, and may touch
// the loop: it is the operator's and no part of the loop.
func (h *host) notify(ctx context.Context, s loops.State) error {
	home, err := homeDir(h.settings.env)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	policy := command.Policy{PassEnv: h.settings.PassEnv, Env: h.settings.below()}
	c, err := policy.Prepare(command.Job{Source: loops.SourceCommandLine, Dir: home, Run: h.settings.Notify,
		Loop: s.ID, Iteration: s.Iteration, Pass: s.Pass})
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	snapshot, err := json.Marshal(h.snapshot(s, nil))
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	c.Env = slices.DeleteFunc(c.Env, func(pair string) bool { return strings.HasPrefix(pair, "LOOP_MCP_PARENT=") })
	c.Owner = "notify " + c.Owner // what a dead process left of it is ended, and the loop's body is not
	c.Stdin, c.Merge, c.Timeout = string(snapshot)+"\n", true, notifyTimeout
	out, err := h.notifier.Run(ctx, c)
	switch {
	case err != nil:
		return fmt.Errorf("notify: %w", err)
	case out.TimedOut:
		return fmt.Errorf("notify: %s did not end within %s and was ended", c.Argv[0], notifyTimeout)
	case out.Exit != 0:
		return errors.New(strings.TrimSuffix(fmt.Sprintf("notify: %s ended with exit code %d: %s", c.Argv[0], out.Exit, clip(strings.Join(strings.Fields(out.Stdout), " "), 500)), ": "))
	}
	return nil
}
