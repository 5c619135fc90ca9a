package mcptools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// recipe is all that is needed to build a connection.
type recipe struct {
	name    string
	server  Server
	loop    loops.ID
	dir     string
	box     *Toolbox
	oldOnly bool // the server ended when it was asked which era it is of
}

// build makes a connection and lists the tools. A connection that is returned
// beside an error is not of use and has to be ended.
func (r *recipe) build(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.server.startTimeout(),
		fmt.Errorf("it did not list its tools within %s (start_timeout)", r.server.startTimeout()))
	defer cancel()
	var c *conn
	var err error
	switch r.server.kind() {
	case typeHTTP:
		c, err = r.http()
	case typeSSE:
		c, err = r.sse()
	default:
		return r.stdio(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, r.greet(ctx, c)
}

func (r *recipe) greet(ctx context.Context, c *conn) error {
	err := c.greet(ctx, r.box.version)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// stdio starts the server. Servers of the older era may end when they are
// greeted in the way of the newer one, the Rust SDK's do; they are started once
// more and greeted in theirs.
func (r *recipe) stdio(ctx context.Context) (*conn, error) {
	for old := r.oldOnly; ; old = true {
		c, err := r.start(old)
		if err != nil {
			return nil, err
		}
		if err = r.greet(ctx, c); err == nil {
			r.oldOnly = old
			return c, nil
		}
		if c.alive() || old || ctx.Err() != nil {
			return c, err
		}
		c.end()
		<-c.ended
	}
}

func (r *recipe) start(old bool) (*conn, error) {
	spec, err := r.command()
	if err != nil {
		return nil, err
	}
	service, err := r.box.runner.Start(spec)
	if err != nil {
		return nil, err
	}
	p := newPipe(service.Stdin, service.Stdout)
	var options []client.ClientOption
	if old {
		options = append(options, client.WithProtocolVersion(mcp.LATEST_LEGACY_PROTOCOL_VERSION))
	}
	c := newConn(client.NewClient(p, options...))
	c.lost = p.closed
	c.shut = func() {
		_ = c.client.Close() // closes the pipe, which never fails
		service.End()
		p.work.Wait()
	}
	c.why = func() string {
		var words []string
		if !c.alive() {
			words = append(words, exitOf(service))
		}
		if said := strings.TrimSpace(service.Stderr() + "\n" + p.said()); said != "" {
			words = append(words, "it said: "+command.Tail(said, maxTail))
		}
		return strings.Join(words, "; ")
	}
	return c, nil
}

const maxTail = 2 << 10 // bytes of a server's words in an error

// exitOf says how the process ended, if it has. One that closed its output is
// about to.
func exitOf(service *command.Service) string {
	timer := time.NewTimer(partingTime)
	defer timer.Stop()
	select {
	case <-service.Done():
		return service.Exit()
	case <-timer.C:
		return "its process still runs"
	}
}

// command is the process of a stdio server.
func (r *recipe) command() (command.Command, error) {
	s := r.server
	spec, err := r.box.policy.Prepare(command.Job{
		Source: loops.SourceLibrary, Dir: r.dir, Run: append([]string{s.Command}, s.Args...), Cwd: s.Cwd, Env: s.Env, Loop: r.loop,
	})
	if err != nil {
		return spec, r.inConfig(err)
	}
	if !s.AllowNested && sameFile(spec.Path, r.box.self) {
		return spec, r.inConfig(&loops.FieldError{Field: "command", Problem: selfProblem})
	}
	// A server lives longer than an iteration.
	spec.Env = slices.DeleteFunc(spec.Env, func(pair string) bool {
		return strings.HasPrefix(pair, "LOOP_ITERATION=") || strings.HasPrefix(pair, "LOOP_PASS=")
	})
	return spec, nil
}

// inConfig names the fields as the configuration has them.
func (r *recipe) inConfig(err error) error {
	var all []error
	for _, e := range loops.FieldErrors(err) {
		moved := *e
		if moved.Field == "run" {
			moved.Field = "command"
		}
		moved.Field = "mcp_servers." + r.name + "." + moved.Field
		all = append(all, &moved)
	}
	if all == nil {
		return err
	}
	return errors.Join(all...)
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// silent swallows what mcp-go logs: whatever matters is in an error.
var silent = slog.New(slog.DiscardHandler)

func (r *recipe) http() (*conn, error) {
	web, idle := webClient()
	base, err := transport.NewStreamableHTTP(r.server.URL, transport.WithHTTPBasicClient(web),
		transport.WithHTTPHeaders(r.server.Headers), transport.WithHTTPLogger(silent))
	if err != nil {
		return nil, err
	}
	c := newConn(client.NewClient(&webLink{StreamableHTTP: base}))
	c.shut = func() {
		_ = c.client.Close()
		idle()
	}
	return c, nil
}

// sse connects with the older kind of HTTP. Its stream lives as long as the
// connection, and not only as long as the wait for it.
func (r *recipe) sse() (*conn, error) {
	web, idle := webClient()
	base, err := transport.NewSSE(r.server.URL, transport.WithHTTPClient(web), transport.WithHeaders(r.server.Headers),
		transport.WithSSELogger(silent), transport.WithResponseTimeout(forever), transport.WithEndpointTimeout(forever))
	if err != nil {
		return nil, err
	}
	link := &eventLink{SSE: base, lost: make(chan struct{})}
	c := newConn(client.NewClient(link))
	c.lost = link.lost
	c.begin = func(ctx context.Context) error {
		c.client.OnConnectionLost(func(error) { link.lose() })
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
		return c.client.Start(life) // Close ends it
	}
	c.shut = func() {
		link.lose()
		_ = c.client.Close()
		idle()
	}
	return c, nil
}

const forever = 24 * 365 * time.Hour // the context ends every wait before
