package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go"
)

// CallerOptions of a [Caller]. The zero value is useful.
type CallerOptions struct {
	// Runner names this process, and Alive says whether the process of that name
	// takes part in the store. With them, a server whose process is gone is given
	// up within a second or two, without them after 15 s.
	Runner string
	Alive  func(runner string) bool
	// Leftovers ends, on this machine, what dead servers of a handler left
	// running; nil: nothing can be left. It never touches what a living one runs.
	Leftovers func(name string)
	Logger    *slog.Logger // nil: discards
}

// Caller makes bodies of handlers that are served elsewhere. Safe for concurrent
// use. It ends with its connection.
type Caller struct {
	nc   *nats.Conn
	opts CallerOptions

	mu     sync.Mutex
	sub    *nats.Subscription // nil: nothing was started yet
	inbox  string             // subject of all starts, before their own word
	starts map[string]*start  // by that word
	past   counted            // starts that are over
	denied map[string]denial  // by name: who lately said to have room and did not take a start
}

type denial struct {
	at  time.Time
	why error
}

// NewCaller returns a caller on a connection. A nil one only checks names, for a
// program that looks at loop files and works on none. opts may be nil.
func NewCaller(nc *nats.Conn, opts *CallerOptions) *Caller {
	c := &Caller{nc: nc, starts: map[string]*start{}, denied: map[string]denial{}}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Logger == nil {
		c.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Body returns the body of the handler that is served elsewhere under a name. It
// is meant for [loops.Parts] Handlers, and Body itself for Elsewhere.
func (c *Caller) Body(name string) loops.Body { return &body{c: c, name: name} }

// body is one handler.
type body struct {
	c    *Caller
	name string
}

var (
	_ loops.Checker = (*body)(nil)
	_ loops.Warner  = (*body)(nil)
	_ loops.Ender   = (*body)(nil)
)

const (
	pingPatience = time.Second            // for the first server to answer
	roomPatience = 100 * time.Millisecond // more for one with room
	denialLasts  = time.Second
)

// Check refuses a name that can't be served and, from a process that is about to
// claim the loop, one that nobody serves now.
func (b *body) Check(s loops.Setup) error {
	if err := CheckName(b.name); err != nil || !s.Claim || b.c.nc == nil {
		return err
	}
	if err := b.c.lately(b.name); err != nil {
		return err
	}
	return b.room(context.Background())
}

// Warn tells whoever starts a loop that nobody serves its handler now.
func (b *body) Warn(loops.Setup) []string {
	if b.c.nc == nil || CheckName(b.name) != nil {
		return nil
	}
	if err := b.room(context.Background()); errors.Is(err, errNobody) {
		return []string{"body." + err.Error()}
	}
	return nil
}

var errNobody = errors.New("nobody serves it")

// nobody says what to do about a handler that nobody serves.
func nobody(name string) error {
	return &unservedError{name: name, Err: errNobody,
		text: fmt.Sprintf("nobody serves the handler %q: the loop waits until somebody does, for example loop-mcp handler %s -- PROGRAM", name, name)}
}

type unservedError struct {
	name, text string
	Err        error
}

func (e *unservedError) Error() string { return "name: " + e.text }
func (e *unservedError) Unwrap() []error {
	return []error{e.Err, &loops.FieldError{Field: "name", Problem: e.text}}
}

// lately returns why a start was not taken a moment ago, so that a server that
// says to have room and takes nothing does not keep everybody busy.
func (c *Caller) lately(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.denied[name]
	if !ok || time.Since(d.at) > denialLasts {
		delete(c.denied, name)
		return nil
	}
	return d.why
}

// room returns nil when a server of the name has room for a start.
func (b *body) room(ctx context.Context) error {
	inbox := b.c.nc.NewInbox()
	sub, err := b.c.nc.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("look for the handler %q: %w", b.name, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // only a closed connection refuses
	if err := b.c.nc.PublishRequest(pingSubject(b.name), inbox, nil); err != nil {
		return fmt.Errorf("look for the handler %q: %w", b.name, err)
	}
	wait := pingPatience
	var found error
	for {
		try, cancel := context.WithTimeout(ctx, wait)
		m, err := sub.NextMsgWithContext(try)
		cancel()
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return nobody(b.name)
		case err != nil && found != nil:
			return found
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("look for the handler %q: the servers of that name do not answer", b.name)
		case err != nil:
			return fmt.Errorf("look for the handler %q: %w", b.name, err)
		}
		var p Ping
		switch err := json.Unmarshal(m.Data, &p); {
		case err != nil:
			found = fmt.Errorf("the handler %q answers a ping with what is not JSON: %s", b.name, clip(string(m.Data), 60))
		case p.V != Version:
			found = fmt.Errorf("the handler %q speaks version %d of the wire, this process %d", b.name, p.V, Version)
		case p.Room > 0:
			return nil
		default:
			found = fmt.Errorf("all servers of the handler %q are busy", b.name)
		}
		wait = roomPatience
	}
}

// listen makes the subscription for the messages of all handlers.
func (c *Caller) listen() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sub != nil {
		return nil
	}
	inbox := c.nc.NewInbox()
	sub, err := c.nc.Subscribe(inbox+".*", c.dispatch)
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(-1, 512<<20); err != nil { // results are large
		return errors.Join(err, sub.Unsubscribe())
	}
	c.sub, c.inbox = sub, inbox
	return nil
}

// dispatch hands a message to its start. It never blocks.
func (c *Caller) dispatch(m *nats.Msg) {
	word := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	c.mu.Lock()
	s := c.starts[word]
	c.mu.Unlock()
	switch {
	case s != nil:
		s.receive(m)
	case c.hasCounted(word, m):
		c.answer(m, Answer{OK: true})
	default:
		c.answer(m, startOver)
	}
}

var startOver = Answer{Gone: true, Error: "the start is over"}

// hasCounted reports whether a message is the result of a start that is over
// because of it: the answer was lost.
func (c *Caller) hasCounted(word string, m *nats.Msg) bool {
	c.mu.Lock()
	_, lately := c.past.starts[word]
	c.mu.Unlock()
	if !lately {
		return false
	}
	msg, err := ReadMessage(m.Data)
	c.mu.Lock()
	defer c.mu.Unlock()
	return err == nil && c.past.has(word, msg, time.Now())
}

// answer replies to a message that wants it. A reply that is lost is asked for
// again.
func (c *Caller) answer(m *nats.Msg, a Answer) {
	if m.Reply == "" {
		return
	}
	a.V = Version
	data, err := encode(a)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		c.opts.Logger.Debug("a handler was not answered", "cause", err)
	}
}

// EndLeftovers implements [loops.Ender]: servers whose callers are gone end what
// they do for the loop. It waits for that, but not for a server that is far away.
func (b *body) EndLeftovers(id loops.ID, _ string) {
	if b.c.nc == nil || CheckName(b.name) != nil {
		return
	}
	b.leftovers()
	inbox := b.c.nc.NewInbox()
	sub, err := b.c.nc.SubscribeSync(inbox)
	if err != nil {
		return // the connection is closed
	}
	defer func() { _ = sub.Unsubscribe() }()
	data, _ := encode(Check{V: Version, Loop: id}) // plain data: can't fail
	if err := b.c.nc.PublishRequest(checkSubject(b.name), inbox, data); err != nil {
		b.c.opts.Logger.Warn("servers of a handler were not asked what they still do for a loop", "handler", b.name, "loop", id, "cause", err)
		return
	}
	wait, checking := 250*time.Millisecond, 0
	for {
		try, cancel := context.WithTimeout(context.Background(), wait)
		m, err := sub.NextMsgWithContext(try)
		cancel()
		if err != nil {
			return // nobody, or nobody more
		}
		var c Checked
		if json.Unmarshal(m.Data, &c) != nil {
			continue
		}
		if wait = endPatience; c.Checking {
			checking++
		} else if checking--; checking <= 0 {
			return
		}
	}
}

func (b *body) leftovers() {
	if b.c.opts.Leftovers != nil {
		b.c.opts.Leftovers(b.name)
	}
}
