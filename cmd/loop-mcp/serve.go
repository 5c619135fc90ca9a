package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopfile"
	"example.com/loop-mcp/mcpserver"
	"example.com/loop-mcp/mcpserver/stdio"
	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/spf13/cobra"
)

func (a *app) serveCommand() *cobra.Command {
	var overStdio, detach, background bool
	var overHTTP string
	var idle time.Duration
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be an MCP server on standard input and output or over HTTP, or work on loops in the background",
		Long: "Be an MCP server on standard input and output. The same as loop-mcp with a pipe on\n" +
			"standard input. The store is opened by the first call that needs it; loops that rest\n" +
			"go on a second after the client's first message.\n\n" +
			"With --http: be an MCP server over HTTP until SIGTERM, at http://ADDR/mcp, for any number of\n" +
			"clients; loops go on without one. ADDR is host:port or a port (default: http.listen of the\n" +
			"configuration, else " + defaultListen + "); without a host it is this machine only. Any other address needs a\n" +
			"token. LOOP_MCP_TOKEN has it, or several as name=token,... (http.token_env of the configuration\n" +
			"names another variable); each token sees its own loops only.\n\n" +
			"With --detach: start a process in the background that keeps loops going without a client, and\n" +
			"return. It ends itself when no loop has run, waited for time or wanted a worker for a while\n" +
			"(--idle); one that waits for its client or a person does not count. When one is running already,\n" +
			"it says so. Its log is background.log in the data folder (for NATS servers: below nats there), at\n" +
			"most 8 MiB with the one before. When it is told to end (SIGTERM), loops rest at their last checkpoint.",
		Example: "  loop-mcp serve\n  loop-mcp serve --http\n  loop-mcp serve --http :8080\n  loop-mcp serve --detach\n  loop-mcp serve --detach --idle 8h\n  {\"mcpServers\": {\"loop\": {\"command\": \"loop-mcp\", \"args\": [\"serve\"]}}}",
		Args: args(func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("http") {
				return cobra.MaximumNArgs(1)(cmd, args)
			}
			return cobra.NoArgs(cmd, args)
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && overHTTP != configured {
				return usagef("serve: --http has two addresses, %s and %s", clip(overHTTP, 60), clip(args[0], 60))
			} else if len(args) == 1 {
				overHTTP = args[0]
			}
			switch {
			case overStdio && cmd.Flags().Changed("stdio") && (detach || cmd.Flags().Changed("http")):
				return usagef("serve: --stdio is another way to serve than --http and --detach: leave it out")
			case idle != 0 && idle < time.Second:
				return usagef("--idle: must be at least 1s, or 0 for a server that stays, got %s", idle)
			case background:
				return a.background(cmd.Context(), idle)
			case detach:
				return a.detached(cmd.Context(), idle, cmd.Flags().Changed("log-level"))
			case cmd.Flags().Changed("idle") || a.json:
				return usagef("serve: --idle and --json belong to --detach")
			case cmd.Flags().Changed("http"):
				return a.serveHTTP(cmd.Context(), overHTTP)
			case !overStdio:
				return usagef("serve: --stdio=false needs --http")
			}
			return a.serve(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&overStdio, "stdio", true, "serve on standard input and output")
	flags.StringVar(&overHTTP, "http", "", "serve over HTTP at `ADDR`, or at the configured address")
	flags.Lookup("http").NoOptDefVal = configured
	flags.BoolVar(&detach, "detach", false, "keep loops going in the background, without a client")
	flags.DurationVar(&idle, "idle", defaultIdle, "with --detach: how long without work until it ends; 0: never")
	flags.BoolVar(&background, "background", false, "be what --detach starts")
	_ = flags.MarkHidden("background") // the error says that the flag is unknown; it was defined a line before
	a.jsonFlag(cmd)
	exclusive(cmd, "detach", "http")
	return cmd
}

// wakeAfter is how long after a client's first message an existing store is
// opened: clients that only look at the tools are gone by then.
const wakeAfter = time.Second

// serve answers an MCP client until standard input ends, or until it is told to
// end, which is an orderly end as well.
func (a *app) serve(ctx context.Context) error {
	keyboard, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	ctx, stopToo := signal.NotifyContext(keyboard, systemSignals()...)
	defer stopToo()
	bearClosedPipes()
	// From here on stdout carries the protocol alone: whatever prints goes to stderr.
	protocol, err := takeStdout(a.stdout, a.stderr)
	if err != nil {
		return fmt.Errorf("keep stdout for the protocol: %w", err)
	}
	defer protocol.Close()
	os.Stdout, a.stdout = a.stderr, a.stderr

	log, err := a.logger()
	if err != nil {
		return err
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	lazy := newLazyHost(s, engineOptions{log: log, parent: a.parent(), role: roleServer})
	defer lazy.close()
	server, around := lazy.server()
	err = stdio.Serve(ctx, server, a.stdin, protocol, &stdio.Options{
		Before: mcpserver.KeepArguments, Around: around, FirstMessage: lazy.wake, Logger: log,
	})
	switch {
	case !errors.Is(err, context.Canceled):
		return err
	case keyboard.Err() != nil:
		return &exitError{code: exitInterrupted}
	}
	return nil
}

// around is the hook of a transport that may answer a request before the server
// does.
type around func(ctx context.Context, method string, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage

// server returns the MCP server and the layer in front of it, which every
// transport serves.
func (l *lazyHost) server() (*server.MCPServer, around) {
	version, _ := build()
	s := l.settings
	offer := &mcpserver.Options{
		Version: version, MaxWait: time.Duration(s.MaxWait), Files: files{s.library()}, HasStore: s.hasStore,
		Approvals: s.Approvals, Retention: cmp.Or(time.Duration(s.Retention), kvstate.DefaultRetention), Logger: l.options.log,
	}
	layer := tasks.New(mcpserver.NewTasks(l.engine, offer), &tasks.Options{Info: &mcp.Implementation{Name: "loop", Version: version}, Logger: l.options.log})
	return mcpserver.New(l.engine, offer), func(ctx context.Context, method string, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage {
		return layer.Around(ctx, method, msg, func(ctx context.Context, msg json.RawMessage) mcp.JSONRPCMessage {
			return mcpserver.Around(ctx, method, msg, next)
		})
	}
}

// lazyHost opens the store at the first need, and only once.
type lazyHost struct {
	settings settings
	options  engineOptions

	mu     sync.Mutex
	host   *host
	closed bool
	lost   error // a newer program has taken the store over
	timer  *time.Timer
	woken  sync.WaitGroup // besides: who waits for lost

	waking     context.Context // of opening the store without a call
	stopWaking context.CancelFunc
}

func newLazyHost(s settings, o engineOptions) *lazyHost {
	l := &lazyHost{settings: s, options: o}
	l.waking, l.stopWaking = context.WithCancel(context.Background())
	return l
}

// engine opens the store, or returns the engine that is there.
func (l *lazyHost) engine(ctx context.Context) (*loops.Engine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, loops.ErrClosed
	}
	if l.lost != nil {
		return nil, l.lost
	}
	if l.host == nil {
		h, err := l.settings.open(ctx, l.options)
		if err != nil {
			return nil, err
		}
		h.work("")
		l.host = h
		l.woken.Go(func() { l.lose(h) })
	}
	return l.host.Engine, nil
}

// lose gives the store up when a newer program has taken it over: its loops go on
// there, and calls are told so from then on. When the folder of the store is gone,
// the next call opens what has its place.
func (l *lazyHost) lose(h *host) {
	select {
	case <-h.stopped:
	case <-h.replaced():
	}
	select {
	case <-h.replaced():
	default:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	err := h.ended()
	if _, gone := errors.AsType[*embed.DiskError](err); !gone {
		l.lost = err
	}
	l.options.log.Error("this server has given up its loops", "error", err)
	h.close()
	l.host = nil
}

// wake opens a store that exists in a moment, so that resting loops go on.
func (l *lazyHost) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.timer != nil {
		return
	}
	l.wakeLater(false)
}

// wakeLater opens the store in a moment. Somebody may have it: the last client's
// server that is about to end, or a dead one's child. NATS servers may be about to
// come. It is asked for until it can be had. The caller holds the lock.
func (l *lazyHost) wakeLater(told bool) {
	l.woken.Add(1)
	l.timer = time.AfterFunc(wakeAfter, func() {
		defer l.woken.Done()
		if has, err := l.settings.hasStore(); err != nil || !has {
			return
		}
		_, err := l.engine(l.waking)
		if err == nil || errors.Is(err, loops.ErrClosed) || l.waking.Err() != nil {
			return
		}
		if !told {
			l.options.log.Warn("resting loops do not go on", "error", err)
		}
		if _, inUse := errors.AsType[*embed.InUseError](err); !inUse && !l.settings.clustered() {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.closed {
			l.wakeLater(true)
		}
	})
}

// close ends the work and waits for it.
func (l *lazyHost) close() {
	l.stopWaking()
	l.mu.Lock()
	l.closed = true
	if l.timer != nil && l.timer.Stop() {
		l.woken.Done()
	}
	h := l.host
	l.mu.Unlock()
	if h != nil {
		h.close()
	}
	l.woken.Wait()
}

// files finds loop files for the tools.
type files struct{ library library }

// Find returns the trusted loop file of that name.
func (f files) Find(_ context.Context, name string) (mcpserver.FoundFile, error) {
	file, err := f.library.load(name)
	if err != nil {
		return mcpserver.FoundFile{}, err
	}
	return found(name, file), nil
}

// List returns the trusted loop files.
func (f files) List(context.Context) ([]mcpserver.FoundFile, error) {
	var all []mcpserver.FoundFile
	var broken []error
	for _, name := range f.library.names() {
		file, err := f.library.load(name)
		switch {
		case err == nil:
			all = append(all, found(name, file))
		case !errors.Is(err, loops.ErrRefused): // an untrusted one is nobody's business yet
			broken = append(broken, fmt.Errorf("%s: %w", name, err))
		}
	}
	return all, errors.Join(broken...)
}

func found(name string, file loopfile.File) mcpserver.FoundFile {
	return mcpserver.FoundFile{Name: name, Spec: file.Spec, Dir: file.Dir, Path: file.Path, Trusted: true}
}
