// Command tree works on a tree of loops with a handler for a body, for example a
// root, three below it, five below each of those. Each iteration makes one call that is
// metered, and writes it to the effect log. It ends when all loops have settled.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

var (
	dir    = flag.String("dir", "", "the folder of the run")
	budget = flag.Int("budget", 40, "tool calls that the whole tree may make")
	shape  = flag.String("shape", "3,5", "how many loops stand below one, by depth")
	until  = flag.String("until", "", "a file for which bodies wait after their first call, so that the tree is not over before")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	data := filepath.Join(*dir, audit.DataFolder)
	m, err := embed.Join(ctx, embed.Options{Dir: data, Version: "chaos", Logger: log})
	if err != nil {
		return err
	}
	defer m.Close()
	js, err := jetstream.New(m.Conn())
	if err != nil {
		return err
	}
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Runner: m.Runner(), Alive: m.Alive, Trouble: m.Trouble, Mark: filepath.Join(data, "marks"), Logger: log})
	if err != nil {
		return err
	}
	defer store.Close()
	t := &tree{store: store}
	for width := range strings.SplitSeq(*shape, ",") {
		n, err := strconv.Atoi(width)
		if err != nil {
			return fmt.Errorf("-shape: %w", err)
		}
		t.widths = append(t.widths, n)
	}
	t.widths = append(t.widths, 0)
	t.parts = loops.Parts{Handlers: map[string]loops.Body{"node": loops.BodyFunc(t.node)}}
	e := loops.New(store, t.parts, &loops.Options{Workers: 20, Logger: log})
	ctx, stop := context.WithCancel(ctx)
	worked := make(chan error, 1)
	go func() { worked <- e.Run(ctx) }()
	err = t.start(ctx, "", 0, 0)
	for err == nil && !t.over(ctx) {
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	if workErr := <-worked; err == nil {
		err = workErr
	}
	return err
}

type tree struct {
	store *kvstate.Store
	parts loops.Parts

	widths []int // how many loops stand below one, by depth
}

// over reports whether all loops have settled.
func (t *tree) over(ctx context.Context) bool {
	heads, err := t.store.List(ctx)
	if err != nil {
		return false
	}
	for _, h := range heads {
		if !h.Status.Settled() {
			return false
		}
	}
	return len(heads) > 0
}

// start starts loop n below parent, once.
func (t *tree) start(ctx context.Context, parent loops.ID, depth, n int) error {
	with, err := json.Marshal(map[string]int{"depth": depth})
	if err != nil {
		return err
	}
	limits := loops.DefaultLimits()
	limits.MaxIterations, limits.MaxPasses, limits.MaxToolCalls = 100, 100, loops.Count(*budget)
	_, err = loops.New(t.store, t.parts, &loops.Options{Parent: parent}).Start(ctx, loops.StartRequest{
		Spec: loops.Spec{Name: fmt.Sprintf("depth%d", depth), Goal: "spend", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "node", With: with},
			Limits: limits, Stall: &loops.Stall{}, Delay: loops.Duration(10 * time.Millisecond)},
		RequestID: fmt.Sprintf("%s.%d.%d", parent, depth, n),
	})
	return err
}

// node is the body of each loop.
func (t *tree) node(ctx context.Context, turn loops.Turn) (loops.Result, error) {
	var with struct {
		Depth int `json:"depth"`
	}
	if err := json.Unmarshal(turn.Config, &with); err != nil {
		return loops.Result{}, loops.Permanent(err)
	}
	for n := range t.widths[with.Depth] {
		if err := t.start(ctx, turn.Loop, with.Depth+1, n); err != nil {
			return loops.Result{}, loops.Transient(err, 10*time.Millisecond)
		}
	}
	grant, err := turn.Meter.Reserve(ctx, loops.Call{Role: loops.RoleTool, Model: "effect", ToolCalls: 1})
	if err != nil {
		return loops.Result{}, err
	}
	if err := paid(turn); err != nil {
		return loops.Result{}, err
	}
	for wait := rand.N(60 * time.Millisecond); ; wait = 5 * time.Millisecond {
		select {
		case <-ctx.Done():
			return loops.Result{}, context.Cause(ctx)
		case <-time.After(wait):
		}
		if _, err := os.Stat(*until); err == nil || *until == "" {
			break
		}
	}
	if err := turn.Meter.Settle(ctx, grant, loops.Spent{Usage: loops.Usage{ToolCalls: 1}}, nil); err != nil {
		return loops.Result{}, err
	}
	return loops.Result{Output: fmt.Sprint(turn.Iteration), Done: with.Depth > 0 && turn.Iteration >= 5}, nil
}

// paid appends a call to the effect log, in one write.
func paid(turn loops.Turn) error {
	line, err := json.Marshal(audit.Effect{At: time.Now().UnixNano(), What: audit.Paid, Loop: string(turn.Loop), Iteration: turn.Iteration, Start: turn.Ledger.Starts,
		PID: os.Getpid(), Parent: os.Getpid()})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(*dir, audit.EffectsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(line, '\n'))
	return err
}
