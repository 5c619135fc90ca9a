package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/loop-mcp/loops/agent"
)

const (
	firstPause = time.Second // between the starts of a server that fails
	longPause  = 30 * time.Second
	probeTime  = 5 * time.Second // for a server that may hang to list its tools
)

var errOver = errors.New("this process does not work on the loop any more")

// server keeps a connection to one server for one loop. Safe for concurrent use.
type server struct {
	name    string
	timeout time.Duration // of a call, on a connection that is ready
	build   func(context.Context) (*conn, error)
	over    context.Context // ends with the loop's session
	turn    chan struct{}   // held by the one who connects

	mu    sync.Mutex
	now   *conn
	old   *conn     // ends, or has ended; nil: none
	fails int       // losses in a row, without an answer in between
	begun time.Time // when the last connection was begun
}

func newServer(over context.Context, name string, timeout time.Duration, build func(context.Context) (*conn, error)) *server {
	return &server{name: name, timeout: timeout, build: build, over: over, turn: make(chan struct{}, 1)}
}

// ready returns a usable connection and builds one when there is none.
func (s *server) ready(ctx context.Context) (*conn, error) {
	if c := s.current(); c != nil && c.alive() && !c.doubt.Load() {
		return c, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c := s.current(); c != nil {
		if c.alive() && (!c.doubt.Load() || s.answers(ctx, c)) {
			return c, nil
		}
		if ctx.Err() != nil && c.alive() {
			return nil, context.Cause(ctx)
		}
		s.discard(c)
	}
	return s.connect(ctx)
}

func (s *server) current() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// answers asks a connection in doubt for a sign of life.
func (s *server) answers(ctx context.Context, c *conn) bool {
	short, cancel := context.WithTimeout(ctx, min(probeTime, s.timeout))
	defer cancel()
	if c.refresh(short) != nil {
		return false
	}
	c.doubt.Store(false)
	return true
}

// discard throws a connection away; its process ends before the next begins.
func (s *server) discard(c *conn) {
	s.mu.Lock()
	if s.now == c {
		s.now, s.old = nil, c
		s.fails++
	}
	s.mu.Unlock()
	c.end()
}

// worked is told of an answer.
func (s *server) worked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = 0
}

// connect builds a connection, not before the last one is gone and not too soon
// after the last was begun.
func (s *server) connect(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	old, wait := s.old, time.Until(s.begun.Add(pause(s.fails)))
	s.mu.Unlock()
	if old != nil {
		select {
		case <-old.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err := s.rest(ctx, wait); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.begun = time.Now()
	s.mu.Unlock()
	c, err := s.build(ctx)
	if err == nil {
		err = s.take(c)
	}
	if err == nil {
		return c, nil
	}
	if c != nil {
		err = c.loss(err)
		s.drop(c)
	}
	if ctx.Err() == nil { // else nobody waited for it to start
		s.mu.Lock()
		s.fails++
		s.mu.Unlock()
	}
	return nil, fmt.Errorf("the MCP server %s did not start: %w", s.name, err)
}

// take makes c the current connection, unless all is over.
func (s *server) take(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.Err() != nil {
		return errOver
	}
	s.now = c
	return nil
}

// drop ends a connection that never was the current one.
func (s *server) drop(c *conn) {
	s.mu.Lock()
	s.old = c
	s.mu.Unlock()
	c.end()
}

func pause(fails int) time.Duration {
	if fails == 0 {
		return 0
	}
	return min(longPause, firstPause<<min(fails-1, 10))
}

// rest waits until a server that fails may be started again.
func (s *server) rest(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		return fmt.Errorf("the MCP server %s failed %d times in a row and is not started again for another %s", s.name, s.failures(), wait.Round(time.Second))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *server) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails
}

// call calls a tool, twice when the first call can't have reached it.
func (s *server) call(ctx context.Context, tool string, args json.RawMessage) (agent.Outcome, error) {
	for attempt := 1; ; attempt++ {
		c, err := s.ready(ctx)
		if err != nil {
			return agent.Outcome{}, notSent(err)
		}
		out, how, err := s.try(ctx, c, tool, args)
		switch how {
		case answeredCall:
			s.worked()
			return out, nil
		case givenUp:
			return out, unknown(s.named(err))
		case refusedCall:
			return out, notSent(s.named(err))
		case lostCall:
			s.discard(c)
			return out, unknown(s.named(c.loss(err)))
		}
		s.discard(c)
		if attempt == 2 {
			return out, notSent(s.named(c.loss(err)))
		}
	}
}

// try makes one call within the timeout.
func (s *server) try(ctx context.Context, c *conn, tool string, args json.RawMessage) (agent.Outcome, verdict, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("there was no answer within %s", s.timeout))
	defer cancel()
	if s.vanished(ctx, c, tool) {
		return agent.Outcome{Error: true, Text: s.vanishedText(tool)}, answeredCall, nil
	}
	out, how, err := c.call(ctx, tool, args)
	if how == declinedCall {
		if c.refresh(ctx) == nil && !c.has(tool) {
			out.Text = s.vanishedText(tool) + " (" + out.Text + ")"
		}
		how = answeredCall
	}
	return out, how, err
}

func (s *server) named(err error) error { return fmt.Errorf("the MCP server %s: %w", s.name, err) }

// vanished reports whether the server took the tool back.
func (s *server) vanished(ctx context.Context, c *conn, tool string) bool {
	if c.stale.Load() && c.refresh(ctx) != nil {
		return false // the call itself will tell more
	}
	return !c.has(tool)
}

func (s *server) vanishedText(tool string) string {
	return fmt.Sprintf("the MCP server %s no longer offers the tool %s: use another one", s.name, tool)
}

// close ends the connection and returns when nothing of it is left. The context
// over has ended, so that nobody connects any more.
func (s *server) close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if c := s.current(); c != nil {
		s.discard(c)
	}
	s.mu.Lock()
	old := s.old
	s.mu.Unlock()
	if old != nil {
		<-old.ended
	}
}
