package loops

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/loop-mcp/internal/bugs"
)

// errLost means that another worker or request took the loop away.
var errLost = errors.New("another worker has the loop")

// errEarly means that the loop was offered before its time.
var errEarly = errors.New("the loop's time has not come")

// run is one claim of a loop by this process.
type run struct {
	e       *Engine
	claim   Claim
	claimed ID // the loop
	process *process
	ctx     context.Context // ends earlier when the loop is cancelled or lost
	ended   context.CancelCauseFunc
	unhook  func() bool // from the lease under which the loop is claimed

	history    []past // of the committed iterations, newest last, once hasHistory
	hasHistory bool

	writing sync.Mutex          // held for a whole commit; taken before mu
	commits int                 // guarded by writing
	waiting []func(State) State // guarded by writing: part of s, not stored yet; the next commit stores it

	mu    sync.Mutex // guards what follows; never held while calling out
	s     State
	live  Live
	heard time.Time
}

// newRun waits until this process may claim loops.
func newRun(process *process, e *Engine, s State) (*run, error) {
	var token [8]byte
	_, _ = rand.Read(token[:]) // never fails: see crypto/rand.Read
	r := &run{e: e, s: s, claimed: s.ID, process: process, unhook: func() bool { return true },
		claim: Claim{Owner: e.store.Runner(), Token: hex.EncodeToString(token[:])}}
	r.ctx, r.ended = context.WithCancelCause(process.ctx)
	leased, ok := e.store.(Leased)
	if !ok {
		return r, nil
	}
	owner, held, err := leased.Lease(process.ctx)
	if err != nil {
		return nil, err
	}
	r.claim.Owner = owner
	r.unhook = context.AfterFunc(held, func() { r.ended(ErrUnleased) })
	return r, nil
}

func (r *run) state() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.s
}

func (r *run) adopt(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s = s
}

// holds reports whether this run has the loop of s.
func (r *run) holds(s State) bool { return s.Claim.Token == r.claim.Token }

// take claims the loop. false means that there is nothing to do for a worker.
func (r *run) take() (bool, error) {
	ctx, cancel := r.lasting()
	defer cancel()
	s, now := r.e.clock.due(r.state())
	above, err := r.e.toldAbove(ctx, s)
	if err != nil {
		return false, err
	}
	next, ok := claim(s.writeOff().learnFrom(above), r.claim, now)
	if _, timed := s.Head().WantsWorker(); !ok && timed {
		return false, errEarly
	}
	if !ok {
		return false, nil
	}
	// gofail: var beforeClaim struct{}
	got, err := r.store(ctx, s, next)
	// gofail: var afterClaim struct{}
	if errors.Is(err, ErrClosed) {
		return false, err
	}
	if refusal := err; err != nil { // it may have landed all the same
		if got, err = r.reload(ctx); err != nil {
			r.e.giveUp(r, s.Rev)
			return false, err
		}
		if !r.holds(got) && errors.Is(refusal, ErrConflict) {
			return false, nil // it changed: the newer revision is handed out when it wants a worker
		}
		if !r.holds(got) {
			r.e.giveUp(r, s.Rev)
			return false, fmt.Errorf("claim %s: %w", s.ID, refusal)
		}
	}
	r.adopt(got)
	if err := r.e.handUp(ctx, got, s.Claim.Token != ""); err != nil { // a dead worker may have spent without
		r.e.opts.Logger.Error("what a dead worker may have spent was not handed up", "loop", s.ID, "cause", err)
	}
	return r.holds(got), nil
}

// loop runs bodies and conditions until the loop rests or is lost.
func (r *run) loop(ctx context.Context) error {
	defer r.rest()
	for {
		s := r.state()
		if !r.holds(s) {
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
			if r.process.ctx.Err() == nil {
				err = errors.Join(err, r.letGo())
			}
			return err
		}
	}
}

// rest ends what was kept for the loop while this process worked on it, and
// what was started below it when it has settled.
func (r *run) rest() {
	s := r.state()
	if keeper, ok := r.e.body(s.Origin.Spec.Body).(Rester); ok {
		status := s.Status
		if r.process.ctx.Err() != nil {
			status = Queued // whatever it waits for, another process goes on
		}
		keeper.Rest(s.ID, status)
	}
	ctx, cancel := r.lasting()
	defer cancel()
	if err := r.e.endChildren(ctx, s); err != nil {
		r.e.opts.Logger.Error("a loop below one that has ended was not cancelled", "loop", s.ID, "cause", err)
	}
}

// letGo gives the loop back, so that it is not held by a worker that no longer
// works on it.
func (r *run) letGo() error {
	return r.commit(func(s State) State { return cutOff(s, ErrShutdown, outcome{}, time.Now()) })
}

// lasting returns a context for what must be stored: it outlives a cancel of
// the loop, and the end of the process by commitPatience.
func (r *run) lasting() (context.Context, context.CancelFunc) { return r.process.lasting() }

// commit applies change to the newest state and stores it. When a request was
// written meanwhile, change is applied again to what is there then, so that
// neither the request nor the work is lost. A store that does not take it is
// asked again until it does or the process ends.
func (r *run) commit(change func(State) State) error {
	ctx, cancel := r.lasting()
	defer cancel()
	return r.commitWith(ctx, true, func(s State) (State, error) { return change(s), nil })
}

func (r *run) commitWith(ctx context.Context, patient bool, change func(State) (State, error)) error {
	was, err := r.write(ctx, patient, change)
	if err == nil {
		r.handUp(ctx, was)
	}
	return err
}

// write is commitWith without what comes after the commit. It returns the state
// before it.
func (r *run) write(ctx context.Context, patient bool, change func(State) (State, error)) (was State, err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.commits++
	s, said := r.state(), false
	was = s
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		s, _ = r.e.clock.present(s)
		next, err := change(s)
		if err != nil {
			return was, err
		}
		if r.holds(next) {
			next.Claim.Commit = r.commits
		}
		// gofail: var beforeCommit struct{}
		got, err := r.store(ctx, s, next)
		// gofail: var afterCommit struct{}
		if err == nil {
			r.waiting = nil
			r.landed(got, next)
			return was, nil
		}
		if _, capped := errors.AsType[*CapError](err); capped || errors.Is(err, errParentOver) {
			return was, err
		}
		full := errors.Is(err, ErrUnwritable) // whoever is to pay for it waits until there is room
		if !errors.Is(err, ErrConflict) && (!patient && !full || errors.Is(err, ErrClosed)) {
			return was, fmt.Errorf("commit %s: %w", s.ID, err)
		}
		if full {
			wait = min(wait, fullWait)
		}
		if !errors.Is(err, ErrConflict) {
			if !full || !said {
				r.e.opts.Logger.Warn("the store did not take a commit; it is asked again", "loop", s.ID, "cause", err)
			}
			said = full
			if !sleep(ctx, wait) {
				return was, fmt.Errorf("commit %s: %w", s.ID, err)
			}
		}
		if s, err = r.reload(ctx); err != nil {
			return was, fmt.Errorf("read %s again: %w", next.ID, err)
		}
		switch {
		case !r.holds(s):
			r.adopt(s)
			return was, errLost
		case s.Claim.Commit == r.commits && !bugs.Redelivered: // its acknowledgement was lost
			r.waiting = nil
			r.landed(s, next)
			return was, nil
		}
		for _, change := range r.waiting {
			s = change(s)
		}
	}
}

// soon changes the state that this run knows; the next commit stores it.
func (r *run) soon(change func(State) State) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.waiting = append(r.waiting, change)
	r.adopt(change(r.state()))
}

// landed notes that next was stored as got.
func (r *run) landed(got, next State) {
	r.adopt(got)
	r.e.heard(got.ID, got.Tell)
	if it := next.New.Iteration; it != nil && r.e.opts.OnIteration != nil {
		r.e.opts.OnIteration(got, *it)
	}
}

func (r *run) store(ctx context.Context, was, s State) (State, error) {
	ctx, cancel := r.process.once(ctx)
	defer cancel()
	if bugs.Uncharged && s.Open {
		s.Ledger.Starts--
		got, err := r.e.commit(ctx, s)
		got.Ledger.Starts++
		return got, err
	}
	return r.e.put(ctx, was, s)
}

// reload reads the loop again after a commit that failed. It gives a store in
// trouble time to recover.
func (r *run) reload(ctx context.Context) (State, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		try, cancel := context.WithTimeout(ctx, commitPatience)
		s, err := r.e.store.Load(try, r.state().ID)
		cancel()
		if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed) {
			return s, err
		}
		if !sleep(ctx, wait) {
			return State{}, err
		}
	}
}

// sleep waits for d, or returns false when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// account adds what a run spent whose loop was taken away meanwhile. Nothing
// else of the loop changes.
func (r *run) account(u Usage) {
	if u == (Usage{}) || u.Validate() != nil {
		return
	}
	ctx, cancel := r.lasting()
	defer cancel()
	for range 100 {
		s, err := r.reload(ctx)
		if err != nil {
			return
		}
		next := s
		next.spend(RoleWorker, "", u)
		if _, err = r.store(ctx, s, next); !errors.Is(err, ErrConflict) {
			return
		}
	}
}

// emit keeps live text of start number n and the time it came. What comes from
// a start that is over is dropped.
func (r *run) emit(n int, l Live) {
	l.Text, l.Tool = clip(l.Text, 4<<10), clip(l.Tool, 128)
	now := time.Now()
	r.mu.Lock()
	mine := r.s.Ledger.Starts == n
	if mine {
		r.heard = now
	}
	if mine && l != (Live{}) {
		r.live = l
	}
	r.mu.Unlock()
	if !mine || l == (Live{}) {
		return
	}
	line := LiveLine{At: now, Start: n, Live: l}
	r.e.feed.Publish(r.claimed, line)
	if r.e.opts.LiveLog != nil {
		r.e.opts.LiveLog.Publish(r.claimed, line)
	}
}
