package streamhttp

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/server"
)

var (
	errNoSession = errors.New("there is no such session any more; initialize again")
	errSessions  = errors.New("too many sessions are in use; end some with DELETE, then initialize again")
	errDuplicate = errors.New("a request with this id is still in flight; use another id")
)

// sessions are the sessions of the older era.
type sessions struct {
	server *server.MCPServer
	opts   Options
	events *store

	mu     sync.Mutex
	all    map[string]*clientSession
	owned  map[string]int // sessions by owner
	closed bool
}

func newSessions(s *server.MCPServer, opts Options) *sessions {
	return &sessions{
		server: s,
		opts:   opts,
		events: &store{limit: max(opts.MaxEventBytes, 0)},
		all:    make(map[string]*clientSession),
		owned:  make(map[string]int),
	}
}

// make returns a new session that nobody knows yet.
func (t *sessions) make(owner string) *clientSession {
	s := &clientSession{
		owner:   owner,
		events:  t.events,
		calls:   make(map[string]*call),
		streams: make(map[uint64]*stream),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.ID = rand.Text() + rand.Text()
	s.outside = &stream{session: s}
	s.Box = &rpc.Mailbox{Send: s.outside.notify, Gone: s.ctx.Done(), Closed: s.ctx.Done(), Log: t.opts.Logger}
	return s
}

// add lets requests find the session.
func (t *sessions) add(s *clientSession) error {
	t.mu.Lock()
	var victim *clientSession
	full := t.owned[s.owner] >= t.opts.MaxSessions
	if full {
		victim = t.longestUnused(s.owner)
	}
	if t.closed || full && victim == nil {
		t.mu.Unlock()
		return errSessions
	}
	t.all[s.ID] = s
	t.owned[s.owner]++
	t.mu.Unlock()
	if victim != nil {
		t.remove(victim)
	}
	s.mu.Lock()
	s.used = time.Now()
	s.expiry = time.AfterFunc(t.opts.SessionIdle, func() { t.expire(s) })
	s.mu.Unlock()
	return t.server.RegisterSession(s.ctx, s)
}

// longestUnused returns the owner's session that was unused longest; nil: all are in use.
func (t *sessions) longestUnused(owner string) *clientSession {
	var found *clientSession
	var since time.Time
	for _, s := range t.all {
		if s.owner != owner {
			continue
		}
		s.mu.Lock()
		if s.users == 0 && (found == nil || s.used.Before(since)) {
			found, since = s, s.used
		}
		s.mu.Unlock()
	}
	return found
}

// find returns the owner's session with that id and keeps it until leave; nil: there is none.
func (t *sessions) find(id, owner string) *clientSession {
	t.mu.Lock()
	s := t.all[id]
	t.mu.Unlock()
	if s == nil || s.owner != owner || !s.enter() {
		return nil
	}
	return s
}

// expire ends a session that nobody used.
func (t *sessions) expire(s *clientSession) {
	s.mu.Lock()
	unused := s.users == 0
	s.ended = s.ended || unused
	s.mu.Unlock()
	if unused {
		t.remove(s)
	}
}

// remove ends a session: its calls, its streams and what is kept for it.
func (t *sessions) remove(s *clientSession) {
	t.mu.Lock()
	known := t.all[s.ID] == s
	if known {
		delete(t.all, s.ID)
		if t.owned[s.owner]--; t.owned[s.owner] == 0 {
			delete(t.owned, s.owner)
		}
	}
	t.mu.Unlock()
	if !known {
		return
	}
	t.server.UnregisterSession(context.WithoutCancel(s.ctx), s.ID)
	s.close()
	t.events.forget(&s.log)
}

// close ends all sessions; no more are made.
func (t *sessions) close() {
	t.mu.Lock()
	t.closed = true
	var all []*clientSession
	for _, s := range t.all {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		t.remove(s)
	}
}

// enter keeps the session from expiring until leave; false: it has ended.
func (s *clientSession) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.users++
	if s.expiry != nil {
		s.expiry.Stop()
	}
	return true
}

func (s *clientSession) leave(idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.used = time.Now()
	if s.users == 0 && !s.ended && s.expiry != nil {
		s.expiry.Reset(idle)
	}
}

// open gives a call its stream, unless one with its id is in flight.
func (s *clientSession) open(k *call) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return nil, errNoSession
	case k.ID != nil && s.calls[k.Key] != nil:
		return nil, errDuplicate
	}
	s.number++
	opened := &stream{session: s, number: s.number}
	if k.ID != nil {
		s.calls[k.Key] = k
		s.streams[s.number] = opened
	}
	return opened, nil
}

// forget removes a call that has been answered.
func (s *clientSession) forget(k *call, done *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[k.Key] == k {
		delete(s.calls, k.Key)
	}
	delete(s.streams, done.number)
}

// cancel cancels and silences the request with the key, if it is in flight. Its id is free again.
func (s *clientSession) cancel(key string) {
	s.mu.Lock()
	k := s.calls[key]
	delete(s.calls, key)
	s.mu.Unlock()
	if k != nil {
		k.silence()
	}
}

// stream returns the stream with that number. That of a request which was answered has nothing but
// the events that are kept.
func (s *clientSession) stream(number uint64) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number == 0 {
		return s.outside
	}
	if open := s.streams[number]; open != nil {
		return open
	}
	return &stream{session: s, number: number, closed: true}
}

func (s *clientSession) close() {
	s.mu.Lock()
	s.ended = true
	if s.expiry != nil {
		s.expiry.Stop()
	}
	streams := []*stream{s.outside}
	for _, open := range s.streams {
		streams = append(streams, open)
	}
	calls := slices.Collect(maps.Values(s.calls))
	s.mu.Unlock()
	s.end()
	s.asks.Close()
	for _, k := range calls {
		k.silence()
	}
	for _, open := range streams {
		open.close()
	}
	<-s.Box.Shut()
}
