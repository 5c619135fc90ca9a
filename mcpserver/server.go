package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// defaultMaxWait is below the shortest time limit that clients are known to
// have for a call, 60 s.
const defaultMaxWait = 50 * time.Second

// toolsTTL is how long modern clients may keep what discover and list tell:
// it changes only with the program.
const toolsTTL = time.Hour

// loopsTTL and filesTTL are how long they may keep what is made of loops, which
// move, and of the user's loop files.
const (
	loopsTTL = time.Second
	filesTTL = 5 * time.Second
)

// Options of a server. The zero value is useful.
type Options struct {
	Name      string               // of the server; empty: "loop"
	Version   string               // of the program; empty: "dev"
	MaxWait   time.Duration        // that no call outlasts; 0: 50s
	Files     Files                // where loop files are looked up; nil: loop_file is refused
	HasStore  func() (bool, error) // whether there is a store to look at; resources make none. nil: there is
	Approvals string               // "auto" (default) or "person": whether loop_approve counts without asking the person
	Retention time.Duration        // how long settled loops are kept, which tasks tell their clients; 0: for ever
	Logger    *slog.Logger         // for internal errors; nil: discards
}

// Files finds loop files by name. It must be safe for concurrent use.
type Files interface {
	// Find returns the loop file called name (letters, digits and hyphens,
	// never a path). Every error is shown to the client as it is, so it should
	// be a sentence; joined [loops.FieldError]s tell what is wrong in the file.
	Find(ctx context.Context, name string) (FoundFile, error)

	// List returns the loop files that Find finds and their owner trusts, by
	// name. The error joins what is wrong with the files left out; those returned
	// are good all the same.
	List(ctx context.Context) ([]FoundFile, error)
}

// FoundFile is a loop file.
type FoundFile struct {
	Name    string // that Find takes
	Spec    loops.Spec
	Dir     string // absolute: what the file's relative paths refer to
	Path    string // for messages
	Trusted bool   // its owner consented to it (loop-mcp trust); others are refused
}

// New returns an MCP server with the loop tools. engine is called at the first
// tool call that needs it, one call at a time, until it succeeds; its result is
// kept until a call of it ends with [loops.ErrClosed]. The context that it gets ends with the tool call: it bounds the
// opening, not the engine's life. opts may be nil.
func New(engine func(context.Context) (*loops.Engine, error), opts *Options) *server.MCPServer {
	return newServer(func(ctx context.Context) (engineAPI, error) { return engine(ctx) }, opts)
}

func newServer(open func(context.Context) (engineAPI, error), opts *Options) *server.MCPServer {
	t := toolsFor(open, opts)
	hooks := &server.Hooks{}
	s := server.NewMCPServer(orElse(t.opts.Name, "loop"), orElse(t.opts.Version, "dev"),
		server.WithHooks(hooks),
		server.WithToolCapabilities(false),
		server.WithResourceCapabilities(true, true),
		server.WithPromptCapabilities(true),
		server.WithCompletions(),
		server.WithPromptCompletionProvider(t),
		server.WithResourceCompletionProvider(t),
		server.WithInstructions(instructions),
		server.WithIcons(icon()),
		server.WithMethodCacheHints(mcp.MethodServerDiscover, toolsTTL.Milliseconds(), mcp.CacheScopePublic),
		server.WithMethodCacheHints(mcp.MethodToolsList, toolsTTL.Milliseconds(), mcp.CacheScopePublic),
		server.WithMethodCacheHints(mcp.MethodResourcesTemplatesList, toolsTTL.Milliseconds(), mcp.CacheScopePublic),
		server.WithMethodCacheHints(mcp.MethodResourcesList, loopsTTL.Milliseconds(), mcp.CacheScopePrivate),
		server.WithMethodCacheHints(mcp.MethodResourcesRead, loopsTTL.Milliseconds(), mcp.CacheScopePrivate),
		server.WithMethodCacheHints(mcp.MethodPromptsList, filesTTL.Milliseconds(), mcp.CacheScopePrivate),
	)
	s.AddTools(t.all()...)
	t.offerResources(s, hooks)
	t.offerPrompts(s, hooks)
	t.offerSubscriptions(s, hooks)
	return s
}

func toolsFor(open func(context.Context) (engineAPI, error), opts *Options) *tools {
	t := &tools{open: open, opening: make(chan struct{}, 1)}
	if opts != nil {
		t.opts = *opts
	}
	if t.opts.MaxWait <= 0 {
		t.opts.MaxWait = defaultMaxWait
	}
	if t.opts.Logger == nil {
		t.opts.Logger = slog.New(slog.DiscardHandler)
	}
	t.hub = newHub(t)
	return t
}

// instructions reach the model of every client that was tried, in some of them
// before any tool description does.
const instructions = `Durable agent loops: work repeated until a goal is really met, with hard limits. They run in this server, outlive the conversation and restarts, and are not the host's own /loop.
Start one with loop_start, watch it with loop_wait (pass on cursor), find older ones with loop_list. Every answer ends with next: the call that makes sense now.
status your_turn: you are the worker. Do what attention.prompt says with your own tools, then hand in with loop_continue.
status needs_input: a person decides. Ask the user; then loop_continue (answer) or loop_approve (approval). Never decide for them.
status completed: the stop condition holds. capped, stalled, blocked, failed: stop.actions says what would move the loop.
loop_continue also steers and resumes; loop_inspect shows output, iterations, verdicts, transcript and why; loop_fork tries another way from an earlier iteration; loop_pause and loop_cancel stop.
Resources loop://{id} and loops://recent show the same to read; prompts start loop files.`

// engineAPI is what the tools need of a [loops.Engine].
type engineAPI interface {
	Start(context.Context, loops.StartRequest) (loops.Outcome, error)
	DryRun(context.Context, loops.StartRequest) (loops.Spec, []string, error)
	Fork(context.Context, loops.ForkRequest) (loops.Outcome, error)
	Do(context.Context, loops.ID, loops.Request) (loops.Outcome, error)
	Get(context.Context, loops.ID) (loops.State, error)
	History(context.Context, loops.ID) (loops.Loop, error)
	Output(context.Context, loops.ID, loops.Text) (string, error)
	Transcript(ctx context.Context, id loops.ID, from int) iter.Seq2[loops.Utterance, error]
	List(context.Context, loops.Filter) ([]loops.Head, string, error)
	Scan(context.Context, func(*loops.Head)) error
	Wait(context.Context, loops.ID, uint64, loops.WaitFor, time.Duration, func(loops.Head)) (loops.State, bool, error)
	Watch(context.Context, loops.ID) iter.Seq2[loops.Head, error]
	Live(loops.ID) (loops.Live, time.Time, bool)
	Recent(context.Context, loops.ID) ([]loops.LiveLine, error)
	RunsWhile(s loops.State) string
	Key(ctx context.Context, name string) ([]byte, error)
}

var _ engineAPI = (*loops.Engine)(nil)

// tools holds what the tool handlers share.
type tools struct {
	opts    Options
	open    func(context.Context) (engineAPI, error)
	opening chan struct{} // held while opened is read or written
	opened  engineAPI
	seen    seenFiles
	hub     *hub
}

// engine opens the engine, or returns the one that is open: as much of it as
// the call may see.
func (t *tools) engine(ctx context.Context) (engineAPI, error) {
	e, err := t.whole(ctx)
	if err != nil {
		return nil, err
	}
	return ownedBy(ctx, e), nil
}

// whole is the engine with all loops.
func (t *tools) whole(ctx context.Context) (engineAPI, error) {
	select {
	case t.opening <- struct{}{}:
		defer func() { <-t.opening }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if t.opened != nil {
		return t.opened, nil
	}
	e, err := t.open(ctx)
	if err != nil {
		return nil, &openError{err: err}
	}
	t.opened = e
	signal(t.hub.kick)
	return e, nil
}

// errAnew is told to a call that found the engine closed, when another one is open
// now.
var errAnew = errors.New("this server had to give up its loops: their folder was removed or replaced by another one. It has opened what is there now; loop_list shows it")

// reopen is engine for a call that found the engine closed. It returns what the
// client is told: why there is none any more, that there is another one, or err.
func (t *tools) reopen(ctx context.Context, err error) error {
	select {
	case t.opening <- struct{}{}:
		t.opened = nil
		<-t.opening
	case <-ctx.Done():
		return err
	}
	switch _, why := t.engine(ctx); {
	case why == nil:
		return errAnew
	case !errors.Is(why, loops.ErrClosed):
		return why
	}
	return err
}

// openError is shown to the client as it is: who holds the store, or what is
// wrong with the configuration, is for the user to mend.
type openError struct{ err error }

func (e *openError) Error() string { return fmt.Sprintf("no loop can be reached: %v", e.err) }
func (e *openError) Unwrap() error { return e.err }

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
