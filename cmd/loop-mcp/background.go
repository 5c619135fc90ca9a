package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"example.com/loop-mcp/kvstate/embed"
)

// defaultIdle is how long a background server stays without work.
const defaultIdle = 10 * time.Minute

// hello is what a background server tells the process that started it, on its
// standard output, and nothing after it.
type hello struct {
	PID   int    `json:"pid"`
	Taken bool   `json:"taken,omitempty"` // another one is running
	Error string `json:"error,omitempty"` // why it does not start
}

// local is the folder for what this machine knows of a store: the store's own
// one, and one for each list of NATS servers.
func (s settings) local() string {
	if !s.clustered() {
		return s.data
	}
	sum := sha256.Sum256([]byte(s.where()))
	return filepath.Join(s.data, "nats", hex.EncodeToString(sum[:4]))
}

func (s settings) backgroundLog() string { return filepath.Join(s.local(), "background.log") }

// background works on loops without a client, until it has been idle for a while
// or is told to end. It is what serve --detach starts.
func (a *app) background(ctx context.Context, idle time.Duration) error {
	ctx, stop := signal.NotifyContext(ctx, endSignals()...)
	defer stop()
	bearClosedPipes()
	out, err := takeStdout(a.stdout, a.stderr)
	if err != nil {
		return fmt.Errorf("keep stdout for the answer: %w", err)
	}
	say := func(h hello) {
		h.PID = os.Getpid()
		line, _ := json.Marshal(h) // numbers and texts: cannot fail
		_, _ = out.Write(append(line, '\n'))
		_ = out.Close() // who started it may be gone
	}
	end, err := a.beginBackground(ctx, say)
	if end == nil || err != nil {
		return err
	}
	return end(ctx, idle)
}

// beginBackground opens what a background server needs, tells who started it,
// and returns the rest of its life; nil when another one is running.
func (a *app) beginBackground(ctx context.Context, say func(hello)) (func(context.Context, time.Duration) error, error) {
	fail := func(err error) (func(context.Context, time.Duration) error, error) {
		say(hello{Error: err.Error()})
		return nil, err
	}
	s, err := a.settings()
	if err != nil {
		return fail(err)
	}
	release, ok, err := embed.Hold(s.local(), roleBackground)
	if err != nil {
		return fail(err)
	}
	if !ok {
		say(hello{Taken: true})
		return nil, nil
	}
	log, err := openLog(s.backgroundLog(), maxLog, func(f *os.File) error { return debug.SetCrashOutput(f, debug.CrashOptions{}) })
	if err != nil {
		return fail(errors.Join(err, release()))
	}
	logger, err := a.loggerTo(log)
	if err != nil {
		return fail(errors.Join(err, log.Close(), release()))
	}
	h, err := s.open(ctx, engineOptions{log: logger, role: roleBackground})
	if err != nil {
		logger.Error("the background server does not start", "error", err)
		return fail(errors.Join(err, log.Close(), release()))
	}
	leave, err := s.announce()
	if err != nil {
		h.close()
		return fail(errors.Join(err, log.Close(), release()))
	}
	h.work("")
	say(hello{})
	return func(ctx context.Context, idle time.Duration) error {
		logger.Info("the background server works on loops", "pid", os.Getpid(), "idle", idle)
		var err error
		if !h.untilIdle(ctx, idle) {
			err = h.ended()
			logger.Error("the background server can't go on", "error", err)
		}
		h.close()
		logger.Info("the background server has ended; loops rest at their last checkpoint", "pid", os.Getpid())
		return errors.Join(err, leave(), log.Close(), release())
	}, nil
}

// announce lets others on this machine find a background server of NATS servers;
// in a folder it is among those that share the store.
func (s settings) announce() (leave func() error, err error) {
	if !s.clustered() {
		return func() error { return nil }, nil
	}
	version, _ := build()
	return embed.Announce(embed.Options{Dir: s.local(), Role: roleBackground, Version: version})
}
