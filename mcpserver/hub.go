package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const (
	// updatePace is between two notifications of one topic to one subscriber.
	updatePace = time.Second
	// maxSubscriptions is how many resources a session may subscribe to.
	maxSubscriptions = 256
)

// The topics that are no loop. No id has a slash.
const (
	topicRecent  = recentURI
	topicList    = "resources/list"
	topicPrompts = "prompts/list"
)

// hub tells sessions what changed: mcp-go acknowledges subscriptions and never
// sends anything.
//
// A session is told of a topic (a loop, the recent ones, a list) at most once a
// second: at once when it was quiet, else when the second is over, and never
// less than that something has changed since the last time. What could not be
// handed to the session is tried again a second later. All sessions share one
// watch of the engine, which begins with the first that needs it and ends with
// the last; so does the goroutine that sends. Neither makes the engine wait: the
// watch shows a slow reader the newest head only, and a send that would block
// is put off.
//
// mu guards all fields and is held for a few lines, never while calling out.
type hub struct {
	tools *tools
	send  func(session, method string, params map[string]any) error // set before any session joins
	log   *slog.Logger
	wake  chan struct{} // for the sender: something is due
	kick  chan struct{} // for the follower: look at the engine now

	mu       sync.Mutex
	live     map[string]*subscriber         // registered sessions
	topics   map[string]map[*topic]struct{} // by name: who wants it
	pending  []*topic                       // that have something to send
	sender   *worker
	follower *worker
}

// subscriber is a registered session and its topics by name.
type subscriber struct {
	topics map[string]*topic
	uris   int
}

// topic is what one session is told about one thing.
type topic struct {
	session, name string
	owner         string // whose loops a list shows; empty: all
	wants         []*interest
	waiting       []*interest // changed since they were told, the oldest first
	sentAt        time.Time
}

// interest is one resource that a session follows, or one list.
type interest struct {
	method string
	uri    string // empty for a list
	after  uint64 // changes up to this revision are known
	only   int    // the iteration that it is about; 0: all
	seen   int    // for only: the last iteration there was
	dirty  bool   // in waiting
}

// worker is a goroutine.
type worker struct {
	cancel context.CancelFunc
	done   chan struct{}
	primed chan struct{} // follower: closed when it has looked for the first time
}

func newHub(t *tools) *hub {
	return &hub{
		tools: t, log: t.opts.Logger,
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		live: map[string]*subscriber{}, topics: map[string]map[*topic]struct{}{},
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// join lets a session subscribe.
func (h *hub) join(session string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live[session] = &subscriber{topics: map[string]*topic{}}
}

// leave forgets a session and waits for the workers that nobody needs any more.
func (h *hub) leave(session string) {
	h.mu.Lock()
	if sub := h.live[session]; sub != nil {
		delete(h.live, session)
		for _, t := range sub.topics {
			h.drop(t)
		}
	}
	ended := h.adjust()
	h.mu.Unlock()
	for _, w := range ended {
		<-w.done
	}
}

// errNoSession is why a client can't subscribe.
var errNoSession = &loops.RefusedError{Code: "no_session", Problem: "this connection takes no notifications", Remedy: "read the resource again instead"}

var errFull = &loops.RefusedError{Code: "too_many", Problem: fmt.Sprintf("this session follows %d resources already", maxSubscriptions), Remedy: "unsubscribe some first"}

// ready waits until no change from now on can be missed, or ctx ends.
func (h *hub) ready(ctx context.Context) {
	h.mu.Lock()
	w := h.follower
	h.mu.Unlock()
	if w == nil {
		return
	}
	signal(h.kick)
	select {
	case <-w.primed:
	case <-w.done:
	case <-ctx.Done():
	}
}

// add makes a session follow something on behalf of owner. Whoever must not miss a change calls
// ready after it.
func (h *hub) add(session, owner, name string, want interest) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	sub := h.live[session]
	if sub == nil {
		return errNoSession
	}
	t := sub.topics[name]
	if t != nil && slices.ContainsFunc(t.wants, func(i *interest) bool { return i.uri == want.uri }) {
		return nil
	}
	if want.uri != "" {
		if sub.uris >= maxSubscriptions {
			return errFull
		}
		sub.uris++
	}
	if t == nil {
		t = &topic{session: session, name: name, owner: owner}
		sub.topics[name] = t
		if h.topics[name] == nil {
			h.topics[name] = map[*topic]struct{}{}
		}
		h.topics[name][t] = struct{}{}
	}
	t.wants = append(t.wants, &want)
	h.adjust() // ends nobody: there is one more now
	return nil
}

// remove ends what add began.
func (h *hub) remove(session, name, uri string) {
	h.mu.Lock()
	var ended []*worker
	if sub := h.live[session]; sub != nil && sub.topics[name] != nil {
		t := sub.topics[name]
		other := func(i *interest) bool { return i.uri == uri }
		before := len(t.wants)
		t.wants, t.waiting = slices.DeleteFunc(t.wants, other), slices.DeleteFunc(t.waiting, other)
		sub.uris -= before - len(t.wants)
		if len(t.waiting) == 0 {
			h.unqueue(t)
		}
		if len(t.wants) == 0 {
			delete(sub.topics, name)
			h.drop(t)
		}
		ended = h.adjust()
	}
	h.mu.Unlock()
	for _, w := range ended {
		<-w.done
	}
}

// drop takes a topic out of what is looked for and sent; mu is held.
func (h *hub) drop(t *topic) {
	delete(h.topics[t.name], t)
	if len(h.topics[t.name]) == 0 {
		delete(h.topics, t.name)
	}
	t.wants, t.waiting = nil, nil
	h.unqueue(t)
}

// unqueue takes a topic that has nothing to send out of the queue; mu is held.
func (h *hub) unqueue(t *topic) {
	h.pending = slices.DeleteFunc(h.pending, func(p *topic) bool { return p == t })
}

// adjust starts the workers that are needed and cancels those that are not,
// which it returns; mu is held.
func (h *hub) adjust() (ended []*worker) {
	needed := len(h.topics)
	if _, ok := h.topics[topicPrompts]; ok {
		needed-- // needs no engine
	}
	ended = h.keep(&h.follower, needed > 0, h.follow, ended)
	return h.keep(&h.sender, len(h.topics) > 0, h.deliver, ended)
}

func (h *hub) keep(at **worker, needed bool, run func(context.Context, *worker), ended []*worker) []*worker {
	switch w := *at; {
	case needed && w == nil:
		ctx, cancel := context.WithCancel(context.Background())
		w = &worker{cancel: cancel, done: make(chan struct{}), primed: make(chan struct{})}
		*at = w
		go func() {
			defer close(w.done)
			run(ctx, w)
		}()
	case !needed && w != nil:
		*at = nil
		w.cancel()
		ended = append(ended, w)
	}
	return ended
}

// tell marks a list as changed, for all who follow it but one session.
func (h *hub) tell(name, except string) {
	h.mu.Lock()
	for t := range h.topics[name] {
		if t.session != except {
			h.mark(t, t.wants[0])
		}
	}
	h.mu.Unlock()
	signal(h.wake)
}

// mark notes that something is to be sent; mu is held.
func (h *hub) mark(t *topic, i *interest) {
	if i.dirty {
		return
	}
	i.dirty = true
	if len(t.waiting) == 0 {
		h.pending = append(h.pending, t)
	}
	t.waiting = append(t.waiting, i)
}

// outgoing is a notification about to be sent.
type outgoing struct {
	topic    *topic
	interest *interest
}

// deliver sends what is due until ctx ends.
func (h *hub) deliver(ctx context.Context, _ *worker) {
	for {
		rest := h.flush()
		timer := time.NewTimer(rest)
		select {
		case <-h.wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// idle is how long the sender sleeps when nothing waits.
const idle = time.Hour

// flush sends what is due and returns when to look again.
func (h *hub) flush() time.Duration {
	due, rest := h.due(time.Now())
	for _, o := range due {
		var params map[string]any
		if o.interest.uri != "" {
			params = map[string]any{"uri": o.interest.uri}
		}
		err := h.send(o.topic.session, o.interest.method, params)
		if err == nil {
			continue
		}
		if errors.Is(err, server.ErrSessionNotFound) {
			continue // its end is about to be told
		}
		h.mu.Lock()
		if slices.Contains(o.topic.wants, o.interest) {
			h.mark(o.topic, o.interest)
			rest = min(rest, updatePace)
		}
		h.mu.Unlock()
	}
	return rest
}

// due takes what may be sent now, one of each topic, and returns when the next
// may be.
func (h *hub) due(now time.Time) (send []outgoing, rest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest = idle
	left := h.pending[:0]
	for _, t := range h.pending {
		if wait := updatePace - now.Sub(t.sentAt); wait > 0 {
			rest = min(rest, wait)
			left = append(left, t)
			continue
		}
		i := t.waiting[0]
		t.waiting, t.sentAt, i.dirty = t.waiting[1:], now, false
		send = append(send, outgoing{t, i})
		if len(t.waiting) > 0 {
			rest = min(rest, updatePace)
			left = append(left, t)
		}
	}
	clear(h.pending[len(left):])
	h.pending = left
	return send, rest
}

var (
	listChanged    = interest{method: mcp.MethodNotificationResourcesListChanged}
	promptsChanged = interest{method: mcp.MethodNotificationPromptsListChanged}
)
