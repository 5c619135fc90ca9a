package mcptools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
)

var _ agent.Session = (*session)(nil)

// session is the tools of one loop.
type session struct {
	loop     loops.ID
	dir      string
	patterns []string
	servers  map[string]*server
	specs    map[string]Server

	over context.Context
	stop context.CancelCauseFunc
	gone chan struct{} // closed when everything has ended
	idle *time.Timer   // guarded by the toolbox

	opening chan struct{} // held by the one who opens
	mu      sync.Mutex
	opened  bool
	tools   []agent.Tool
	routes  map[string]route
}

// open connects to all servers and lists their tools, once. What was started
// before an error stays for the next attempt.
func (s *session) open(ctx context.Context) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.isOpen() {
		return nil
	}
	names := slices.Sorted(maps.Keys(s.servers))
	offers := make([][]offered, len(names))
	problems := make([]error, len(names))
	var starting sync.WaitGroup
	for i, name := range names {
		starting.Go(func() {
			c, err := s.servers[name].ready(ctx)
			if err != nil {
				problems[i] = err
				return
			}
			offers[i] = c.offers()
		})
	}
	starting.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return s.publish(names, offers)
}

// within is ctx that also ends with the session.
func (s *session) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.over, func() { cancel(errOver) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

func (s *session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// publish chooses the tools that the patterns allow.
func (s *session) publish(servers []string, offers [][]offered) error {
	allowed := parsePatterns(s.patterns)
	var tools []agent.Tool
	routes := map[string]route{}
	var known []string // every name under which a tool can be meant
	for i, server := range servers {
		names := toolNames(server, offers[i])
		for _, tool := range offers[i] {
			full := server + separator + tool.Name
			known = append(known, full, names[tool.Name])
			if allowed.mean(full, names[tool.Name]) != included {
				continue
			}
			r := route{server: s.servers[server], own: tool.Name, names: []string{tool.Name, full, names[tool.Name]}}
			routes[names[tool.Name]] = r
			tools = append(tools, s.specs[server].describe(names[tool.Name], r, tool))
		}
	}
	if err := s.misspelt(known); err != nil {
		return err
	}
	slices.SortFunc(tools, func(a, b agent.Tool) int { return strings.Compare(a.Name, b.Name) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tools, s.routes, s.opened = tools, routes, true
	return nil
}

// misspelt refuses patterns that name one tool which is not there: a tool would
// be missing, or an exclusion would exclude nothing. Of a server that was not
// started nothing is known.
func (s *session) misspelt(known []string) error {
	var v problems
	for i, text := range s.patterns {
		glob := strings.TrimPrefix(text, "!")
		server, _, _ := strings.Cut(glob, separator)
		if hasWildcard(glob) || s.servers[server] == nil || slices.Contains(known, glob) {
			continue
		}
		v.add(fmt.Sprintf("tools[%d]", i), "%q means a tool that the MCP server %s does not offer%s", text, server, loops.DidYouMean(glob, known))
	}
	return v.err()
}

// Tools lists the tools as they were when the session was opened.
func (s *session) Tools() []agent.Tool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tools)
}

// Call calls a tool and waits for its answer, at most for the server's timeout.
// The time to start a server anew comes before it.
func (s *session) Call(ctx context.Context, name string, args json.RawMessage) (agent.Outcome, error) {
	s.mu.Lock()
	r, ok := s.routes[name]
	s.mu.Unlock()
	if !ok {
		return agent.Outcome{Error: true, Text: fmt.Sprintf("there is no tool %s%s", excerpt(name), loops.DidYouMean(name, s.names()))}, nil
	}
	args, ok = objectOf(args)
	if !ok {
		return agent.Outcome{Error: true, Text: "the arguments must be a JSON object, got " + excerpt(string(args))}, nil
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	return r.server.call(ctx, r.own, args)
}

func (s *session) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.routes))
}

// objectOf is the arguments as an object, empty when there are none.
func objectOf(args json.RawMessage) (object json.RawMessage, ok bool) {
	args = bytes.TrimSpace(args)
	if len(args) == 0 || bytes.Equal(args, []byte("null")) {
		return json.RawMessage("{}"), true
	}
	return args, json.Valid(args) && args[0] == '{'
}

// close ends everything and returns when nothing is left.
func (s *session) close() {
	s.stop(errOver)
	var ending sync.WaitGroup
	for _, server := range s.servers {
		ending.Go(server.close)
	}
	ending.Wait()
}
