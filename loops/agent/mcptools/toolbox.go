package mcptools

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/command"
)

var _ agent.Toolbox = (*Toolbox)(nil)

// idleTime is how long servers stay for a loop that waits.
const idleTime = time.Minute

// Options are what a program may set. The zero value is fine.
type Options struct {
	Version string // how servers get to know this program; empty: "dev"
	Self    string // the file that servers must not be; empty: that of this process

	Env map[string]string // that processes see besides
}

// Toolbox opens the tools of the configured servers for loops. It is made by
// [New]; Close must be called. Safe for concurrent use.
type Toolbox struct {
	servers  map[string]Server // the enabled ones
	disabled []string
	policy   command.Policy
	version  string
	self     string
	runner   command.Runner

	mu     sync.Mutex
	closed bool
	live   map[loops.ID]*session
	ending map[loops.ID]*session
	work   sync.WaitGroup // sessions that end
}

// New makes a toolbox. It starts nothing. A configuration that is not valid
// gives the error of [Config.Validate].
func New(c Config, o *Options) (*Toolbox, error) {
	if o == nil {
		o = &Options{}
	}
	t := &Toolbox{
		servers: map[string]Server{}, policy: command.Policy{PassEnv: c.PassEnv, Env: o.Env}, version: o.Version, self: o.Self,
		live: map[loops.ID]*session{}, ending: map[loops.ID]*session{},
	}
	if t.version == "" {
		t.version = "dev"
	}
	if t.self == "" {
		t.self, _ = os.Executable() // unknown: the check by name remains
	}
	problems := []error{c.Validate()}
	for _, name := range slices.Sorted(maps.Keys(c.Servers)) {
		s := c.Servers[name]
		switch {
		case s.Disabled:
			t.disabled = append(t.disabled, name)
			continue
		case s.kind() == typeStdio && !s.AllowNested && !namesSelf(s) && t.isSelf(s.Command):
			problems = append(problems, &loops.FieldError{Field: "mcp_servers." + name + ".command", Problem: selfProblem})
		}
		t.servers[name] = s
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Toolbox) isSelf(program string) bool {
	path, err := exec.LookPath(program)
	return err == nil && sameFile(path, t.self)
}

// Check says what is wrong with a loop's patterns, as joined
// [loops.FieldError]s for the field tools. It starts nothing.
func (t *Toolbox) Check(patterns []string) error {
	return checkPatterns(patterns, slices.Sorted(maps.Keys(t.servers)), t.disabled)
}

// Open returns the tools that patterns let a loop use. It starts the servers
// that they can mean, all at once, and waits until each has listed its tools. A
// server that does not start gives an error that names it and repeats its last
// words; a pattern that can't be right gives a [loops.FieldError]. Whatever was
// started stays until [Toolbox.Rest].
func (t *Toolbox) Open(ctx context.Context, loop loops.ID, dir string, patterns []string) (agent.Session, error) {
	if err := t.Check(patterns); err != nil {
		return nil, err
	}
	s, err := t.session(ctx, loop, dir, patterns)
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// session finds the loop's session or makes one, not before its last one has
// ended.
func (t *Toolbox) session(ctx context.Context, loop loops.ID, dir string, patterns []string) (*session, error) {
	for {
		s, ends, err := t.current(loop, dir, patterns)
		if err != nil || s != nil {
			return s, err
		}
		select {
		case <-ends.gone:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// current returns the session to use, or one whose end must be awaited first.
func (t *Toolbox) current(loop loops.ID, dir string, patterns []string) (use, ends *session, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, errors.New("the tools have been closed")
	}
	if s := t.ending[loop]; s != nil {
		return nil, s, nil
	}
	if s := t.live[loop]; s != nil {
		s.keep()
		if s.dir == dir && slices.Equal(s.patterns, patterns) {
			return s, nil, nil
		}
		t.end(s)
		return nil, s, nil
	}
	s := t.newSession(loop, dir, patterns)
	t.live[loop] = s
	return s, nil, nil
}

func (t *Toolbox) newSession(loop loops.ID, dir string, texts []string) *session {
	over, stop := context.WithCancelCause(context.Background())
	s := &session{
		loop: loop, dir: dir, patterns: slices.Clone(texts), specs: t.servers, servers: map[string]*server{},
		over: over, stop: stop, gone: make(chan struct{}), opening: make(chan struct{}, 1),
	}
	wanted := parsePatterns(texts)
	for name, spec := range t.servers {
		if wanted.wants(name) {
			r := &recipe{name: name, server: spec, loop: loop, dir: dir, box: t}
			s.servers[name] = newServer(over, name, spec.timeout(), r.build)
		}
	}
	return s
}

// Rest ends what runs for a loop, at once or, while it only waits for time, after
// a minute without use. It does not wait for the end.
func (t *Toolbox) Rest(loop loops.ID, status loops.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.live[loop]
	if s == nil {
		return
	}
	s.keep()
	if status != loops.Waiting {
		t.end(s)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(idleTime, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if s.idle == timer {
			t.end(s)
		}
	})
	s.idle = timer
}

// keep calls off the end of an idle session.
func (s *session) keep() {
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
}

// end begins the end of a live session. t.mu is held.
func (t *Toolbox) end(s *session) {
	delete(t.live, s.loop)
	t.ending[s.loop] = s
	s.idle = nil
	t.work.Go(func() {
		s.close()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.ending, s.loop)
		close(s.gone)
	})
}

// Close ends everything that runs for any loop and waits for it, at most as
// long as ctx. Open fails from then on.
func (t *Toolbox) Close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	for _, s := range t.live {
		s.keep()
		t.end(s)
	}
	t.mu.Unlock()
	done := make(chan struct{})
	go func() {
		t.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the tools: %w", context.Cause(ctx))
	}
}

// EndLeftovers ends the servers that dead workers left running for a loop. It
// never touches those of a living worker, and finds something on Linux only.
func (t *Toolbox) EndLeftovers(id loops.ID, dir string) {
	t.runner.EndLeftovers(command.Owner(id, dir))
}
