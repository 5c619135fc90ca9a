package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
	"example.com/loop-mcp/loops/remote"
	programs "example.com/loop-mcp/loops/remote/program"
	"github.com/spf13/cobra"
)

// handlers makes the bodies of handlers that other processes serve.
func (s settings) handlers(runner *command.Runner, o engineOptions) *remote.Caller {
	if o.nats == nil {
		return remote.NewCaller(nil, nil)
	}
	return remote.NewCaller(o.nats.Conn(), &remote.CallerOptions{
		Runner: o.nats.Runner(), Alive: s.handlersAlive(o.nats), Logger: o.log,
		Leftovers: func(name string) { runner.EndLeftovers(programs.Owner(name, s.where())) },
	})
}

// handlersAlive is how handlers and their callers find out that the other one's
// process is gone; nil: by its silence. On NATS servers a handler works on no
// loop, so it has no lease, and to ask for one would find it dead.
func (s settings) handlersAlive(b backend) func(runner string) bool {
	if s.clustered() {
		return nil
	}
	return b.Alive
}

func (a *app) handlerCommand() *cobra.Command {
	var starts int
	var program string
	cmd := &cobra.Command{
		Use:   "handler NAME -- PROGRAM [ARGUMENT…]",
		Short: "Serve a handler with a program, in any language",
		Long: "Serve the handler NAME for all loops of the store whose body is {kind: handler, name: NAME},\n" +
			"until it is ended by Ctrl-C or SIGTERM. For each start the program is run once: it reads\n" +
			"the call as JSON from standard input and prints one JSON object a line, at the end\n" +
			"{\"type\":\"result\",\"output\":\"…\"}. Heartbeats are sent for it; a cancel ends it and all that it\n" +
			"started. Several processes may serve one name. --exec PROGRAM is another way to name the\n" +
			"program; its arguments stand after NAME. docs/handlers.md tells the rest.",
		Example: "  loop-mcp handler summarise -- python3 summarise.py\n" +
			"  loop-mcp handler summarise --exec python3 summarise.py\n" +
			"  loop-mcp handler render --starts 2 -- ./render --quality high",
		Args: args(func(cmd *cobra.Command, argv []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case program == "" && !cmd.Flags().Changed("exec") && dash == 1 && len(argv) > 1, program != "" && dash != 0 && len(argv) > 0:
				return nil
			}
			return errors.New("needs a name, then -- and a program, or --exec and a program")
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, argv []string) error {
			if starts < 1 || starts > 1000 {
				return usagef("--starts: must be 1 to 1000, got %d", starts)
			}
			if err := remote.CheckName(argv[0]); err != nil {
				return usagef("%w", err)
			}
			run := argv[1:]
			if program != "" {
				run = append([]string{program}, run...)
			}
			return a.handle(cmd.Context(), argv[0], run, starts)
		},
	}
	cmd.Flags().StringVar(&program, "exec", "", "the program, instead of -- and PROGRAM")
	cmd.Flags().IntVar(&starts, "starts", 4, "how many starts are done at once, each by a process of its own")
	cmd.Flags().BoolVar(&a.json, "json", false, "tell each start and its end as a line of JSON on standard output, not as text on standard error")
	return cmd
}

// handle serves a handler until it is told to end.
func (a *app) handle(ctx context.Context, name string, argv []string, starts int) (err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	log, err := a.logger()
	if err != nil {
		return err
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("the working folder: %w", err)
	}
	runner := &command.Runner{}
	body := &programs.Body{Name: name, Argv: argv, Dir: dir, Policy: command.Policy{PassEnv: s.PassEnv, Env: s.below()}, Owner: programs.Owner(name, s.where()), Runner: runner}
	if _, err := body.Policy.Prepare(command.Job{Source: loops.SourceCommandLine, Dir: dir, Run: argv}); err != nil {
		return usagef("%w", err)
	}
	server, _, err := s.join(ctx, engineOptions{log: log, role: roleHandler})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	tell := handlerLog{app: a, name: name}
	tell.line("serving", "", nil)
	return remote.Serve(ctx, server.Conn(), name, body, &remote.ServeOptions{
		Starts: starts, Logger: log, Runner: server.Runner(), Alive: s.handlersAlive(server),
		Leftovers: func() { runner.EndLeftovers(body.Owner) },
		OnStart:   func(c remote.Call) { tell.line("start", c.Key, nil) },
		OnEnd:     func(c remote.Call, err error) { tell.line("end", c.Key, err) },
	})
}

// handlerLog tells what a served handler does.
type handlerLog struct {
	app  *app
	name string
	mu   sync.Mutex
}

// handlerEvent is a line of handler --json.
type handlerEvent struct {
	Event   string `json:"event"` // serving, start or end
	Handler string `json:"handler"`
	Key     string `json:"key,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (l *handlerLog) line(event, key string, err error) {
	e := handlerEvent{Event: event, Handler: l.name, Key: key}
	if err != nil {
		e.Error = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.app.json {
		_ = l.app.printLine(e) // whoever reads it may be gone; the work goes on
		return
	}
	text := strings.Join([]string{e.Event, e.Handler, e.Key}, " ")
	if e.Error != "" {
		text += ": " + clip(plain(e.Error), 200)
	}
	fmt.Fprintln(l.app.stderr, strings.TrimSpace(strings.ReplaceAll(text, "  ", " ")))
}
