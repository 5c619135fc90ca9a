package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"example.com/loop-mcp/internal/rush"
	"example.com/loop-mcp/judge"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/agent/mcptools"
	"example.com/loop-mcp/loops/command"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// engineOptions are what differs between the commands.
type engineOptions struct {
	log       *slog.Logger
	parent    loops.ID
	role      string // of this process, for others and for what keeps loops moving
	runsWhile func(loops.State) string
	accept    func(loops.State) error // which loops are worked on; nil: all
	tools     *mcptools.Toolbox       // nil: agents have no tools of MCP servers
	live      loops.LiveLog           // nil: live text stays in this process
	trouble   func() error            // why the store takes nothing now
	nats      backend                 // nil: no handlers elsewhere
	looks     bool                    // the store is read and not tidied; a full disk is no hindrance
	tell      func(context.Context, loops.State) error
	alive     func(owner string) bool // for tell
}

// engine puts the parts on the menu of an engine.
func (s settings) engine(store loops.Store, o engineOptions) *loops.Engine {
	policy := command.Policy{Allow: s.allowed(o.log), Roots: s.Roots, PassEnv: s.PassEnv, Env: s.below()}
	runner := &command.Runner{}
	models := newCatalog(s.config, s.env, dialer(s.env))
	worker := &agent.Body{Book: models}
	if o.tools != nil {
		worker.Tools = o.tools
	}
	parts := loops.Parts{
		Bodies: map[string]loops.Body{
			loops.BodyCommand: &command.Body{Policy: policy, Runner: runner},
			loops.BodyAgent:   worker,
		},
		Stops:     judge.Stops(policy, runner, models),
		Models:    models,
		Elsewhere: s.handlers(runner, o).Body,
	}
	return loops.New(store, parts, &loops.Options{
		Workers:   int(s.Workers),
		Defaults:  s.Limits.Defaults,
		Ceilings:  s.Limits.Ceilings,
		LiveLoops: int(s.LiveLoops),
		DailyCost: s.DailyCostUSD,
		LiveLog:   o.live,
		Approvals: s.Approvals,
		RunsWhile: o.runsWhile,
		Tell:      o.tell,
		Alive:     o.alive,
		Parent:    o.parent,
		MayRead:   policy.MayRead,
		Accept:    o.accept,
		Trouble:   o.trouble,
		Uptime:    knownUptime,
		Logger:    o.log,
	})
}

// allowed returns the programs that specs from tools may run: the
// configuration's, and those of the file that `loop-mcp allow` writes, read anew
// each time.
func (s settings) allowed(log *slog.Logger) func() []string {
	return func() []string {
		programs, err := s.allow.programs()
		if err != nil {
			log.Error("the list of allowed programs counts as empty", "file", s.allow.path, "error", err)
		}
		return append(append([]string{}, s.AllowCommands...), programs...)
	}
}

// host is an open store with an engine on it.
type host struct {
	*loops.Engine
	settings settings

	nats  backend
	store *kvstate.Store
	tools *mcptools.Toolbox // nil: no MCP servers are configured
	log   *slog.Logger
	role  string

	notifier command.Runner

	working atomic.Bool        // between work and rest
	only    loops.ID           // the one loop that is worked on; empty: all
	stop    context.CancelFunc // of work
	stopped chan struct{}      // closed when the engine has stopped
	stopErr error
}

// backend is the way to the server that keeps the loops: the one inside, which
// this process or another hosts, or a cluster.
type backend interface {
	Conn() *nats.Conn
	Runner() string          // the name of this process in claims
	Alive(owner string) bool // whether another process with that name takes part
	Trouble() error          // why there is no connection; nil: there is one
	Close() error
}

// join connects to the cluster of the configuration. Without one it takes part in
// the store in the data folder, making it when there is none.
func (s settings) join(ctx context.Context, o engineOptions) (backend, kvstate.Options, error) {
	version, _ := build()
	if s.clustered() {
		opts := s.NATS.options(version, o.log)
		opts.Role, opts.Bare = o.role, o.role == roleHandler
		m, err := cluster.Connect(ctx, opts)
		if err != nil {
			return nil, kvstate.Options{}, err
		}
		return m, kvstate.Options{Replicas: m.Replicas(), Lease: m.Lease, Try: m.Try}, nil
	}
	m, err := embed.Join(ctx, embed.Options{Dir: s.data, Durability: s.Durability, Version: version, Role: o.role, Looks: o.looks, Logger: o.log, OnHealth: o.health(),
		AllowNetwork: s.NetworkStore == networkAllow})
	if err != nil {
		return nil, kvstate.Options{}, err
	}
	return m, kvstate.Options{Mark: filepath.Join(s.data, "marks"), Group: s.Durability != durabilityProcess, Disk: m, Rush: rush.Begin}, nil
}

// open opens the store and shares it with the other processes that have it open.
func (s settings) open(ctx context.Context, o engineOptions) (*host, error) {
	server, kept, err := s.join(ctx, o)
	if err != nil {
		return nil, err
	}
	h := &host{settings: s, nats: server, log: o.log, role: o.role}
	if h.tools, err = s.toolbox(); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	js, err := jetstream.New(server.Conn())
	if err == nil {
		kept.Runner, kept.Alive, kept.Trouble = server.Runner(), server.Alive, server.Trouble
		kept.Retention, kept.ReadOnly, kept.Logger = time.Duration(s.Retention), o.looks, o.log
		kept.Loading = slack
		h.store, err = kvstate.Open(ctx, js, &kept)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.where(), err), server.Close())
	}
	o.accept, o.live, o.runsWhile, o.trouble = h.accept, h.store, h.runsWhile, h.store.Trouble
	o.tools, o.nats = h.tools, server
	if len(s.Notify) > 0 {
		o.tell, o.alive = h.notify, server.Alive
		if m, ok := server.(*cluster.Member); ok { // news are marked with a process, which may have no lease
			o.alive = m.ProcessAlive
		}
	}
	h.Engine = s.engine(h.store, o)
	return h, nil
}

// toolbox has the tools of the configured MCP servers; nil when there are none.
// It starts nothing before a loop uses it.
func (s settings) toolbox() (*mcptools.Toolbox, error) {
	if len(s.MCPServers) == 0 {
		return nil, nil
	}
	version, _ := build()
	tools, err := mcptools.New(mcptools.Config{Servers: s.MCPServers, PassEnv: s.PassEnv}, &mcptools.Options{Version: version, Env: s.below()})
	if err != nil {
		return nil, fmt.Errorf("the MCP servers of the configuration: %w", err)
	}
	return tools, nil
}

// health logs what happens to the store's server.
func (o engineOptions) health() func(error) {
	return func(err error) {
		if err != nil {
			o.log.Error("the store is unhealthy", "error", err)
			return
		}
		o.log.Warn("the store is well again")
	}
}

// hasStore reports whether a store was ever made here. Looking never makes one.
// Whoever names a cluster has one.
func (s settings) hasStore() (bool, error) {
	if s.clustered() {
		return true, nil
	}
	entries, err := os.ReadDir(s.data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, fs.ErrPermission):
		return false, &embed.DiskError{Dir: s.data, Err: err}
	case err != nil:
		if _, wrong := embed.Inspect(s.data); wrong != nil {
			return false, wrong
		}
	}
	return len(entries) > 0, err
}

// unable returns why a loop is not worked on here; nil: it is, or soon.
func (h *host) unable(s loops.State) error {
	if err := h.CanRun(s); err != nil {
		return err
	}
	return h.store.Trouble()
}

// accept keeps a command that works on one loop from beginning others, which
// its end would cut off.
func (h *host) accept(s loops.State) error {
	if h.only == "" || h.only == s.ID {
		return nil
	}
	return fmt.Errorf("this process works on %s only", h.only)
}

// work lets the engine work on loops until close: on all, or on one.
func (h *host) work(only loops.ID) {
	h.only = only
	ctx, stop := context.WithCancel(context.Background())
	h.stop, h.stopped = stop, make(chan struct{})
	h.working.Store(true)
	go func() {
		defer close(h.stopped)
		h.stopErr = h.Run(ctx)
	}()
	go func() {
		select {
		case <-h.replaced(): // nothing that is worked on here can be kept any more
			stop()
		case <-h.stopped:
		}
	}()
}

// replaced closes when this process has given the store up: a newer program has
// taken it over, or its folder is gone.
func (h *host) replaced() <-chan struct{} {
	if r, ok := h.nats.(interface{ Replaced() <-chan struct{} }); ok {
		return r.Replaced()
	}
	return nil
}

// ended says why the engine stopped by itself.
func (h *host) ended() error {
	select {
	case <-h.replaced():
		return h.nats.Trouble()
	default:
		return errors.Join(errors.New("this process works on no loops any more"), h.stopErr)
	}
}

// rest ends the work. Loops rest at their last checkpoint; requests still work.
func (h *host) rest() {
	if h.stop == nil {
		return
	}
	h.working.Store(false)
	h.stop()
	h.stop = nil
	<-h.stopped
	if h.stopErr != nil {
		h.log.Error("the engine stopped with an error", "error", h.stopErr)
	}
}

// close ends the work, then the store.
func (h *host) close() {
	h.rest()
	ctx, cancel := context.WithTimeout(context.Background(), notifyEnd)
	defer cancel()
	h.Told(ctx)
	if h.tools != nil {
		if err := h.tools.Close(context.Background()); err != nil {
			h.log.Error("the MCP servers of agents did not end well", "error", err)
		}
	}
	if err := errors.Join(h.store.Close(), h.nats.Close()); err != nil {
		h.log.Error("the store closed with an error", "error", err)
	}
}

// openExisting opens the store for a command that needs a loop to be there; looks:
// for one that only reads.
func (a *app) openExisting(ctx context.Context, id loops.ID, looks bool) (*host, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	has, err := s.hasStore()
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if !has {
		return nil, fmt.Errorf("%w: %s; nothing has been started yet in %s", loops.ErrNotFound, clip(plain(string(id)), 80), s.data)
	}
	return a.openFor(ctx, s, looks)
}

// openStore opens the store for a command that changes something.
func (a *app) openStore(ctx context.Context, s settings) (*host, error) {
	return a.openFor(ctx, s, false)
}

// openFor opens the store for a command; looks: for one that only reads.
func (a *app) openFor(ctx context.Context, s settings, looks bool) (*host, error) {
	log, err := a.logger()
	if err != nil {
		return nil, err
	}
	return s.open(ctx, engineOptions{log: log, parent: a.parent(), role: roleCommand, looks: looks})
}

// parent is the loop below whose body this process runs, if any.
func (a *app) parent() loops.ID { return loops.ID(a.env("LOOP_MCP_PARENT")) }
