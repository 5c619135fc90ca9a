package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go"
)

const (
	takePatience  = 10 * time.Second       // for a server to take an offer
	offerAgain    = time.Second            // before an offer is sent again
	nobodyFor     = time.Second            // without any server: one may be about to come back
	busyTries     = 5                      // offers that busy servers may decline
	endPatience   = 4 * time.Second        // for a result after a cancel
	nowPatience   = 800 * time.Millisecond // after a cancel at once
	againEvery    = 250 * time.Millisecond // before a cancel is sent again
	lookEvery     = time.Second            // whether the server's process is there
	lookedTwice   = 2                      // times it must be missing in a row
	reconnectNaps = 50 * time.Millisecond
)

// start is the caller's side of one start.
type start struct {
	b    *body
	turn loops.Turn
	key  string
	word string // last token of its inbox

	taken chan struct{}  // closed when a server has it
	done  chan outcome   // has room for one
	work  chan *nats.Msg // what takes time: save, part, fetch, result
	turns chan struct{}  // a decline, or that nobody is there

	counts bool // it ended with a result of its server; of the goroutine that follows it

	mu       sync.Mutex
	by       string // word of the server that has it
	control  string
	runner   string
	heard    time.Time
	declined error    // why nobody took the last offer
	ending   *Control // it is to end
	call     *Call    // as sent
	parts    map[string]*assembly
	over     bool // the result has come
}

// outcome is what a start came to.
type outcome struct {
	result loops.Result
	err    error
}

// Run implements [loops.Body].
func (b *body) Run(ctx context.Context, t loops.Turn) (loops.Result, error) {
	if err := errors.Join(CheckName(b.name), b.c.connected()); err != nil {
		return loops.Result{}, loops.Permanent(err)
	}
	if err := b.c.listen(); err != nil {
		return loops.Result{}, loops.Unserved(fmt.Errorf("offer a start to the handler %q: %w", b.name, err))
	}
	s := &start{b: b, turn: t, key: keyOf(t), word: rand.Text(), taken: make(chan struct{}), done: make(chan outcome, 1),
		work: make(chan *nats.Msg, 16), turns: make(chan struct{}, 1), parts: map[string]*assembly{}}
	s.open()
	defer s.close()
	if err := s.offer(ctx); err != nil {
		return loops.Result{}, err
	}
	return s.follow(ctx)
}

func (c *Caller) connected() error {
	if c.nc == nil {
		return errors.New("this program has no connection to handlers elsewhere")
	}
	return nil
}

func (s *start) open() {
	c := s.b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts[s.word] = s
}

func (s *start) close() {
	c := s.b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.starts, s.word)
	if s.counts {
		c.past.add(s.word, known{key: s.key, by: s.by, at: time.Now()})
	}
}

// offer looks for a server that takes the start.
func (s *start) offer(ctx context.Context) error {
	data, err := encode(Offer{V: Version, Key: s.key, Loop: s.turn.Loop, Handler: s.b.name, Runner: s.b.c.opts.Runner})
	if err != nil {
		return loops.Permanent(err)
	}
	began, alone, busy := time.Now(), time.Time{}, 0
	for {
		wait := offerAgain
		if err := s.b.c.nc.PublishRequest(offerSubject(s.b.name), s.b.c.inbox+"."+s.word, data); err != nil {
			wait, began = reconnectNaps, time.Now() // the store is away: its time does not count
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.taken:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		case <-s.turns:
			timer.Stop()
		}
		switch why := s.whyDeclined(); {
		case errors.Is(why, errNobody):
			if alone.IsZero() {
				alone = time.Now()
			}
			if time.Since(alone) >= nobodyFor {
				return s.unserved(why)
			}
			if !s.nap(ctx, 4*reconnectNaps) {
				return context.Cause(ctx)
			}
		case why != nil:
			if busy++; busy >= busyTries {
				return s.unserved(why)
			}
			if !s.nap(ctx, reconnectNaps) {
				return context.Cause(ctx)
			}
		case time.Since(began) > takePatience:
			return s.unserved(fmt.Errorf("the servers of the handler %q did not take the start within %s", s.b.name, takePatience))
		}
		select {
		case <-s.taken: // meanwhile
			return nil
		default:
		}
	}
}

func (s *start) nap(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.taken:
	case <-ctx.Done():
		return false
	}
	return true
}

// unserved says that nobody takes the start, unless somebody has just done so.
func (s *start) unserved(why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by != "" {
		return nil
	}
	s.by = "-" // from now on nobody gets it
	c := s.b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied[s.b.name] = denial{at: time.Now(), why: why}
	return loops.Unserved(why)
}

func (s *start) whyDeclined() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	why := s.declined
	s.declined = nil
	return why
}

func (s *start) decline(why error) {
	s.mu.Lock()
	s.declined = why
	s.mu.Unlock()
	select {
	case s.turns <- struct{}{}:
	default:
	}
}

// follow answers the handler until its result is there, it is lost, or the start
// is to end.
func (s *start) follow(ctx context.Context) (loops.Result, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	missing := 0
	for {
		select {
		case m := <-s.work:
			if s.handle(ctx, m); s.counts { // before anything else ends it
				o := <-s.done
				return o.result, o.err
			}
			continue
		case o := <-s.done:
			return o.result, o.err
		case <-ctx.Done():
			return s.end(context.Cause(ctx))
		case <-look.C:
		}
		silent, gone := s.silence()
		if missing++; !gone {
			missing = 0
		}
		switch {
		case missing >= lookedTwice:
			s.b.leftovers()
			return loops.Result{}, loops.CutOff(fmt.Errorf("the process that served the handler %q is gone", s.b.name))
		case silent > lostAfter:
			s.say(Control{Cancel: "now", Reason: "lost"}) // if it hears that
			s.b.leftovers()
			return loops.Result{}, loops.CutOff(fmt.Errorf("the handler %q has not been heard of for %s", s.b.name, silent.Round(time.Second)))
		}
	}
}

// silence is how long nothing was heard, and whether the process that has the
// start is known to be gone.
func (s *start) silence() (time.Duration, bool) {
	s.mu.Lock()
	silent, runner := time.Since(s.heard), s.runner
	s.mu.Unlock()
	alive := s.b.c.opts.Alive
	return silent, alive != nil && runner != "" && silent > lookEvery && !alive(runner)
}

// end asks the handler to end and waits a moment for its result, which tells
// what was spent.
func (s *start) end(cause error) (loops.Result, error) {
	c := Control{Cancel: "graceful", Reason: "cancelled"}
	patience := endPatience
	switch {
	case errors.Is(cause, loops.ErrCancelNow):
		c.Cancel, patience = "now", nowPatience
	case errors.Is(cause, loops.ErrShutdown):
		c.Reason = "shutdown"
	case errors.Is(cause, context.DeadlineExceeded):
		c.Reason = "time"
	case !errors.Is(cause, loops.ErrCancelled):
		c.Reason = "lost"
	}
	s.say(c)
	over := time.NewTimer(patience)
	defer over.Stop()
	again := time.NewTicker(againEvery)
	defer again.Stop()
	for {
		select {
		case m := <-s.work:
			if s.handle(context.Background(), m); s.counts {
				return (<-s.done).result, cause
			}
		case o := <-s.done:
			return o.result, cause
		case <-again.C:
			s.say(c)
			if _, gone := s.silence(); gone {
				s.b.leftovers()
				return loops.Result{}, cause
			}
		case <-over.C:
			return loops.Result{}, cause
		}
	}
}

// say tells the handler, now and in every answer, to end.
func (s *start) say(c Control) {
	c.V, c.Key = Version, s.key
	s.mu.Lock()
	s.ending = &c
	to := s.control
	s.mu.Unlock()
	if to == "" {
		return
	}
	data, err := encode(c)
	if err == nil {
		err = s.b.c.nc.Publish(to, data)
	}
	if err != nil {
		s.b.c.opts.Logger.Debug("a handler was not told to end; it is told again", "handler", s.b.name, "start", s.key, "cause", err)
	}
}
