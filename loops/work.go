package loops

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Run works on loops until ctx ends, then lets go of what it holds and returns
// nil; bodies see [ErrShutdown] as the cause. It may be called once. An error
// means that the store can't be used.
func (e *Engine) Run(ctx context.Context) error {
	e.working.Add(1)
	defer e.working.Add(-1)
	outer := ctx
	ctx, stop := context.WithCancelCause(context.WithoutCancel(outer))
	process := newProcess(ctx)
	defer process.close()
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stop(ErrShutdown)
	defer context.AfterFunc(outer, func() { stop(ErrShutdown) })()
	skipped := newSkipList(e.store)
	workers.Go(func() { e.follow(ctx) })
	workers.Go(func() { skipped.run(ctx) })
	workers.Go(func() { e.tellForOthers(ctx) })
	workers.Go(func() { e.releaseStrays(process) })
	workers.Go(func() {
		for sleep(ctx, liveFor) {
			e.feed.forget(time.Now(), e.worksOn)
		}
	})
	workers.Go(func() {
		if err := e.endOrphans(ctx); err != nil && ctx.Err() == nil {
			e.opts.Logger.Error("loops below ones that have ended were not all cancelled", "cause", err)
		}
	})
	for {
		id, rev, err := e.store.Ready(ctx)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		select { // not before: a place that waits for a loop would be missed by one that goes on
		case e.seats <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		workers.Go(func() {
			seat := &seat{all: e.seats, taken: true}
			defer seat.leave()
			if err := e.work(process, seat, id, rev); err != nil {
				skipped.add(id)
				e.opts.Logger.Debug("left a loop", "loop", id, "cause", err)
			}
		})
	}
}

// skipList holds loops that this process could not take. They are looked at
// again from time to time: an allow list may have grown, a store recovered.
type skipList struct {
	store Store
	mu    sync.Mutex
	ids   []ID
}

func newSkipList(s Store) *skipList { return &skipList{store: s} }

func (l *skipList) add(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

func (l *skipList) run(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		ids := l.ids
		l.ids = nil
		l.mu.Unlock()
		for _, id := range ids {
			l.store.Requeue(id)
		}
	}
}

// follow ends running bodies whose loop was cancelled or taken by another
// worker. Requests made through this engine signal directly; others are seen
// in the store's feed.
func (e *Engine) follow(ctx context.Context) {
	for {
		for h, err := range e.store.Watch(ctx, "", 0) {
			if err == nil {
				e.signal(h)
				e.heard(h.ID, h.Tell)
			} else if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
				e.opts.Logger.Error("the feed of changes ended; it is opened again", "cause", err)
			}
		}
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// seat is the place of a loop among those that are worked on at once. Its users take
// turns.
type seat struct {
	all   chan struct{}
	taken bool
}

// leave makes room for another loop.
func (s *seat) leave() {
	if s.taken {
		s.taken = false
		<-s.all
	}
}

// back takes a place again that was left, if there is one.
func (s *seat) back() bool {
	if !s.taken {
		select {
		case s.all <- struct{}{}:
			s.taken = true
		default:
		}
	}
	return s.taken
}

// work claims a loop and works on it until it rests. rev is the revision of
// which the store said that its claim is free. An error means that the loop
// could not be taken or kept and should be offered again later.
func (e *Engine) work(p *process, seat *seat, id ID, rev uint64) error {
	r, err := e.look(p, id, rev)
	if err != nil || r == nil {
		return err
	}
	r.seat = seat
	ctx := r.ctx
	defer r.ended(nil)
	defer r.unhook()
	e.register(r)
	defer e.deregister(r)
	r.endLeftovers()
	if took, err := r.take(); err != nil || !took {
		return err
	}
	return r.loop(ctx)
}

// look returns a run of the loop, nil when nothing is to be done there.
//
//go:noinline
func (e *Engine) look(p *process, id ID, rev uint64) (*run, error) {
	s, err := loadAt(p.ctx, e.store, id, rev)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s.Rev != rev {
		return nil, nil // it changed: the newer revision is handed out when it wants a worker
	}
	if s.Intent.Cancel == nil && s.Status != YourTurn && s.Status != NeedsInput {
		if err := e.canServe(s); err != nil && !s.expired(time.Now()) {
			return nil, err
		}
	}
	return newRun(p, e, s)
}

// endLeftovers ends what a dead worker left behind.
func (r *run) endLeftovers() {
	if s := &r.s; s.Open && s.Claim.Token != "" {
		if ender, ok := r.e.body(s.Origin.Spec.Body).(Ender); ok {
			ender.EndLeftovers(s.ID, s.Origin.Dir)
		}
	}
}
