package remote

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go"
)

// ServeOptions of [Serve]. The zero value is useful.
type ServeOptions struct {
	Starts int          // done at once; 0: 16
	Logger *slog.Logger // nil: discards
	// Runner and Alive are as in [CallerOptions]: with them a caller that is gone
	// is noticed within a second or two.
	Runner string
	Alive  func(runner string) bool
	// Leftovers ends what dead servers of this handler left running on this
	// machine; nil: nothing can be left.
	Leftovers func()
	// OnStart and OnEnd are called when a start has been taken and when it is
	// over; by several goroutines at once. They must not block.
	OnStart func(c Call)
	OnEnd   func(c Call, err error)
}

// server serves one handler.
type server struct {
	nc   *nats.Conn
	name string
	body loops.Body
	opts ServeOptions
	ctx  context.Context // ends when no more is to be done
	end  context.CancelCauseFunc

	inbox string // subject of the control messages of all starts
	tasks sync.WaitGroup

	mu      sync.Mutex
	works   map[string]*work // by key
	closing bool
}

// Serve does starts of the handler with a name until ctx ends; then the bodies
// under way end with [loops.ErrShutdown] as cause, their starts are handed back as
// cut off, and Serve returns nil. An error means that nothing was served. What a
// body gets and returns is as in [loops.Body], but for Turn's Meter, Keep and Fetch.
func Serve(ctx context.Context, nc *nats.Conn, name string, body loops.Body, opts *ServeOptions) error {
	if err := CheckName(name); err != nil {
		return err
	}
	s := &server{nc: nc, name: name, body: body, inbox: nc.NewInbox(), works: map[string]*work{}}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Starts <= 0 {
		s.opts.Starts = 16
	}
	if s.opts.Logger == nil {
		s.opts.Logger = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.end = context.WithCancelCause(context.WithoutCancel(ctx))
	defer s.end(loops.ErrShutdown)
	if s.opts.Leftovers != nil {
		s.opts.Leftovers()
	}
	subs, err := s.subscribe()
	if err != nil {
		return errors.Join(fmt.Errorf("serve the handler %q: %w", name, err), unsubscribe(subs))
	}
	<-ctx.Done()
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	// The control messages go last: a caller may still want something.
	err = unsubscribe(subs[1:])
	s.end(loops.ErrShutdown)
	s.tasks.Wait()
	if err = errors.Join(err, unsubscribe(subs[:1])); err != nil {
		s.opts.Logger.Debug("a server of a handler did not unsubscribe", "handler", name, "cause", err)
	}
	return nil
}

func (s *server) subscribe() ([]*nats.Subscription, error) {
	var subs []*nats.Subscription
	for _, one := range []struct {
		subject, queue string
		take           nats.MsgHandler
	}{{s.inbox + ".*", "", s.control}, {pingSubject(s.name), "", s.ping}, {checkSubject(s.name), "", s.check}, {offerSubject(s.name), queueGroup, s.offered}} {
		sub, err := s.nc.QueueSubscribe(one.subject, one.queue, one.take) // no queue: each one gets it
		if err != nil {
			return subs, err
		}
		subs = append(subs, sub)
	}
	return subs, nil
}

func unsubscribe(subs []*nats.Subscription) error {
	var problems []error
	for _, sub := range subs {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// respond answers a message that wants it; one that is lost is asked for again.
func (s *server) respond(m *nats.Msg, v any) {
	if m.Reply == "" {
		return
	}
	data, err := encode(v)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		s.opts.Logger.Debug("a caller was not answered", "handler", s.name, "cause", err)
	}
}

func (s *server) ping(m *nats.Msg) {
	s.mu.Lock()
	room := max(0, s.opts.Starts-len(s.works))
	if s.closing {
		room = 0
	}
	s.mu.Unlock()
	s.respond(m, Ping{V: Version, Room: room})
}

// offered takes a start, or says why not.
func (s *server) offered(m *nats.Msg) {
	var o Offer
	if err := json.Unmarshal(m.Data, &o); err != nil || m.Reply == "" {
		s.opts.Logger.Warn("an offer of a start is not readable", "handler", s.name, "offer", clip(string(m.Data), 200))
		return
	}
	decline := func(why string) {
		s.respond(m, Message{V: Version, Type: TypeBusy, Key: o.Key, Text: Text(why)})
	}
	if o.V != Version {
		decline(fmt.Sprintf("this server speaks version %d of the wire, not %d", Version, o.V))
		return
	}
	w := &work{s: s, offer: o, to: m.Reply, by: rand.Text(), rested: make(chan struct{}), nudge: make(chan chan struct{})}
	w.ctx, w.end = context.WithCancelCause(s.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.works[o.Key] != nil:
		// It was offered again because an accept was lost, and that is sent again,
		// too. Or the old caller is gone and this is another one's first offer of
		// a start that was never begun.
		if s.works[o.Key].to != m.Reply {
			decline("an earlier call of the same start is not over")
		}
	case s.closing:
		decline("it is about to end")
	case len(s.works) >= s.opts.Starts:
		decline(fmt.Sprintf("%d starts at once is the limit", s.opts.Starts))
	default:
		s.works[o.Key] = w
		s.tasks.Go(func() {
			defer w.end(nil)
			w.do()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.works, o.Key)
		})
	}
}

// control ends a start at its caller's wish.
func (s *server) control(m *nats.Msg) {
	var c Control
	if json.Unmarshal(m.Data, &c) != nil || c.V != Version {
		s.opts.Logger.Warn("a control message is not readable", "handler", s.name, "message", clip(string(m.Data), 200))
		return
	}
	by := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	s.mu.Lock()
	w := s.works[c.Key]
	s.mu.Unlock()
	if w != nil && w.by == by {
		w.cancel(c.Cancel, c.Reason)
	}
}

// check has the starts of a loop asked for, and answers when what nobody wants
// any more has ended.
func (s *server) check(m *nats.Msg) {
	var c Check
	if json.Unmarshal(m.Data, &c) != nil || c.V != Version {
		return
	}
	if s.opts.Leftovers != nil {
		s.opts.Leftovers()
	}
	var asked []*work
	s.mu.Lock()
	for _, w := range s.works {
		if w.offer.Loop == c.Loop {
			asked = append(asked, w)
		}
	}
	s.mu.Unlock()
	if len(asked) == 0 {
		return
	}
	s.respond(m, Checked{V: Version, Checking: true})
	s.tasks.Go(func() {
		for _, w := range asked {
			w.check()
		}
		s.respond(m, Checked{V: Version})
	})
}

// The causes with which a start ends on this side.
var (
	errGone   = errors.New("the loop no longer wants this start")
	errFenced = fmt.Errorf("the loop has not been heard of for %s", fenceAfter)
	errTime   = fmt.Errorf("the time of the start is over: %w", context.DeadlineExceeded)
)

// causeOf is the cause for a reason and a mode of the wire.
func causeOf(mode, reason string) error {
	switch {
	case mode == "now":
		return loops.ErrCancelNow
	case reason == "time":
		return errTime
	case reason == "shutdown":
		return loops.ErrShutdown
	case reason == "lost":
		return errGone
	}
	return loops.ErrCancelled
}
