package loops

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Run works on loops until ctx ends, then lets go of what it holds and returns
// nil. It may be called once. An error means that the store can't be used.
func (e *Engine) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(ErrShutdown)
	skipped := newSkipList(e.store)
	workers.Go(func() { e.follow(ctx) })
	workers.Go(func() { skipped.run(ctx) })
	slots := make(chan struct{}, e.opts.Workers)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		id, rev, err := e.store.Ready(ctx)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for work: %w", err)
		}
		workers.Go(func() {
			defer func() { <-slots }()
			if err := e.work(ctx, id, rev); err != nil {
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
	for h, err := range e.store.Watch(ctx, "", 0) {
		if err != nil {
			if ctx.Err() == nil {
				e.opts.Logger.Error("the feed of changes ended", "cause", err)
			}
			return
		}
		e.signal(h)
	}
}

func (e *Engine) signal(h Head) {
	e.mu.Lock()
	r := e.running[h.ID]
	e.mu.Unlock()
	if r == nil {
		return
	}
	switch {
	case h.Cancel != nil && h.Cancel.Now:
		r.end(ErrCancelNow)
	case h.Cancel != nil:
		r.end(ErrCancelled)
	}
}

// errLost means that another worker or request took the loop away.
var errLost = errors.New("another worker has the loop")

// run is one claim of a loop by this process.
type run struct {
	e     *Engine
	claim Claim
	ended context.CancelCauseFunc

	history    []past // of the committed iterations, newest last, once hasHistory
	hasHistory bool

	mu    sync.Mutex // guards what follows
	s     State
	live  Live
	heard time.Time
}

func (r *run) end(cause error) { r.ended(cause) }

// work claims a loop and works on it until it rests. An error means that the
// loop could not be taken and should be offered again later.
func (e *Engine) work(ctx context.Context, id ID, rev uint64) error {
	s, err := e.store.Load(ctx, id)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.Rev != rev {
		return nil // it changed: the newer revision is handed out when it wants a worker
	}
	needsParts := s.Intent.Cancel == nil && s.Status != YourTurn && s.Status != NeedsInput
	if needsParts {
		if err := e.canServe(s); err != nil {
			return err
		}
	}
	ctx, ended := context.WithCancelCause(ctx)
	defer ended(nil)
	var token [8]byte
	_, _ = rand.Read(token[:])
	r := &run{e: e, s: s, ended: ended, claim: Claim{Owner: e.store.Runner(), Token: hex.EncodeToString(token[:])}}
	if took, err := r.take(ctx); err != nil || !took {
		return err
	}
	e.mu.Lock()
	e.running[id] = r
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.running, id)
		e.mu.Unlock()
	}()
	return r.loop(ctx)
}

// take claims the loop. false means that there is nothing to do for a worker.
func (r *run) take(ctx context.Context) (bool, error) {
	next, ok := claim(r.s, r.claim, time.Now())
	if !ok {
		return false, nil
	}
	s, err := r.e.store.Commit(ctx, next)
	if errors.Is(err, ErrConflict) {
		r.e.store.Requeue(r.s.ID) // it changed: whoever is right for it now takes it
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim %s: %w", r.s.ID, err)
	}
	r.s = s
	return s.Claim == r.claim, nil
}

// loop runs bodies and conditions until the loop rests or is lost.
func (r *run) loop(ctx context.Context) error {
	for {
		s := r.state()
		if s.Claim != r.claim {
			return nil
		}
		if s.Intent.Cancel != nil {
			r.e.signal(s.Head()) // written before this run was known
		}
		var err error
		if s.Owed != nil {
			err = r.judge(ctx, s)
		} else {
			err = r.start(ctx, s)
		}
		switch {
		case errors.Is(err, errLost):
			return nil
		case err != nil:
			r.e.opts.Logger.Error("loop left at its last checkpoint", "loop", s.ID, "cause", err)
			return err
		}
	}
}

func (r *run) state() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.s
}

// commit applies change to the newest state and stores it. When a request was
// written meanwhile, change is applied again to what is there then, so that
// neither the request nor the work is lost.
func (r *run) commit(ctx context.Context, change func(State) State) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitPatience)
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		next := change(r.s)
		s, err := r.e.store.Commit(ctx, next)
		if err == nil {
			r.s = s
			if it := next.New.Iteration; it != nil && r.e.opts.OnIteration != nil {
				r.e.opts.OnIteration(s, *it)
			}
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("commit %s: %w", r.s.ID, err)
		}
		if r.s, err = r.e.store.Load(ctx, r.s.ID); err != nil {
			return fmt.Errorf("read %s again: %w", r.s.ID, err)
		}
		if r.s.Claim != r.claim {
			return errLost
		}
	}
}

// commitPatience is how long a finished result waits for a store that does not
// answer, even when the process is told to stop meanwhile.
const commitPatience = 10 * time.Second

// emit keeps live text and the time it came.
func (r *run) emit(l Live) {
	l.Text, l.Tool = clip(l.Text, 4<<10), clip(l.Tool, 128)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live, r.heard = l, time.Now()
}
