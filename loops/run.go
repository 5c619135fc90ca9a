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

// errLost means that another worker or request took the loop away.
var errLost = errors.New("another worker has the loop")

// errEarly means that the loop was offered before its time.
var errEarly = errors.New("the loop's time has not come")

// run is one claim of a loop by this process.
type run struct {
	e       *Engine
	claim   Claim
	claimed ID   // the loop
	nested  bool // below another one
	process *process
	ctx     context.Context // ends earlier when the loop is cancelled or lost
	ended   context.CancelCauseFunc
	unhook  func() bool // from the lease under which the loop is claimed
	seat    *seat       // used by the goroutine of the run alone; nil: it works on nothing

	history    []past // of the committed iterations, newest last, once hasHistory
	hasHistory bool

	writing sync.Mutex          // held for a whole commit; taken before mu
	commits int                 // guarded by writing
	waiting []func(State) State // guarded by writing: part of s, not stored yet; the next commit stores it
	next    State               // guarded by writing: what is about to be stored

	resting chan struct{} // guarded by e.mu: closed when the body has let rest what it kept; nil: it was not asked to
	owes    Status        // guarded by e.mu: with which an earlier run wanted that

	mu    sync.Mutex // guards what follows; never held while calling out
	s     State
	live  Live
	heard time.Time
}

// newRun waits until this process may claim loops.
func newRun(process *process, e *Engine, s State) (*run, error) {
	var token [8]byte
	_, _ = rand.Read(token[:]) // never fails: see crypto/rand.Read
	r := &run{e: e, s: s, claimed: s.ID, nested: s.Origin.Parent != "", process: process, unhook: func() bool { return true },
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

func (r *run) state() (s State) {
	r.copyTo(&s)
	return s
}

// copyTo is state without a second copy on the stack of a caller that waits for long.
func (r *run) copyTo(s *State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*s = r.s
}

func (r *run) adopt(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s = s
}

// holds reports whether this run has the loop of s.
func (r *run) holds(s *State) bool { return s.Claim.Token == r.claim.Token }

// take claims the loop. false means that there is nothing to do for a worker.
func (r *run) take() (bool, error) {
	ctx, cancel := r.lasting()
	defer cancel()
	r.writing.Lock()
	defer r.writing.Unlock()
	was := Head{Rev: r.s.Rev, Claim: r.s.Claim}
	before, ok, err := r.claims(ctx)
	if err != nil || !ok {
		return false, err
	}
	// gofail: var beforeClaim struct{}
	err = r.store(ctx, before, &r.next)
	// gofail: var afterClaim struct{}
	if errors.Is(err, ErrClosed) {
		return false, err
	}
	if err != nil {
		if ok, err = r.took(ctx, was.Rev, err); err != nil || !ok {
			return false, err
		}
	}
	r.landed(nil)
	if r.nested {
		r.taken(ctx, was.Claim.Token != "")
	}
	return r.holds(&r.next), nil
}

// claims makes the claim of the loop the next state, and returns the one before
// for [Engine.put]. ok is false when there is nothing to do for a worker.
func (r *run) claims(ctx context.Context) (before *State, ok bool, err error) {
	s, now := r.e.clock.due(r.state())
	above, err := r.e.toldAbove(ctx, s)
	if err != nil {
		return nil, false, err
	}
	r.next, ok = claim(s.writeOff().learnFrom(above), r.claim, now)
	if ok {
		return s.before(), true, nil
	}
	if _, timed := s.Head().WantsWorker(); timed {
		return nil, false, errEarly
	}
	return nil, false, nil
}

// took finds out whether a claim landed that the store refused at revision rev.
func (r *run) took(ctx context.Context, rev uint64, refusal error) (bool, error) {
	got, err := r.reload(ctx)
	switch {
	case err != nil:
		r.e.giveUp(r, rev)
		return false, err
	case !r.holds(&got) && errors.Is(refusal, ErrConflict):
		return false, nil // it changed: the newer revision is handed out when it wants a worker
	case !r.holds(&got):
		r.e.giveUp(r, rev)
		return false, fmt.Errorf("claim %s: %w", r.claimed, refusal)
	}
	r.next = got
	return true, nil
}

// taken hands up what the loop has spent, also what a dead worker may have.
func (r *run) taken(ctx context.Context, died bool) {
	how := later
	if died {
		how = mended
	}
	if err := r.e.handUp(ctx, r.next, how); err != nil {
		r.e.opts.Logger.Error("what a dead worker may have spent was not handed up", "loop", r.claimed, "cause", err)
	}
}

// loop runs bodies and conditions until the loop rests or is lost.
func (r *run) loop(ctx context.Context) error {
	defer r.rest()
	for {
		held, owed := r.goesOn()
		if !held {
			return nil
		}
		var err error
		switch {
		case !r.seat.back():
			err = r.commit(func(s State) State { return handBack(s, time.Now()) })
		case owed:
			err = r.judge(ctx)
		default:
			err = r.start(ctx)
		}
		switch {
		case errors.Is(err, errLost):
			return nil
		case err != nil:
			r.e.opts.Logger.Error("loop left at its last checkpoint", "loop", r.claimed, "cause", err)
			if r.process.ctx.Err() == nil {
				err = errors.Join(err, r.letGo())
			}
			return err
		}
	}
}

// goesOn reports whether this run has the loop, and whether a judgement is owed.
//
//go:noinline
func (r *run) goesOn() (held, owed bool) {
	s := r.state()
	if held = r.holds(&s); held && s.Intent.Cancel != nil {
		r.e.signal(s.Head()) // written before this run was known
	}
	return held, s.Owed != nil
}

// rest ends what was kept for the loop while this process worked on it, and
// what was started below it when it has settled.
func (r *run) rest() {
	s := r.state()
	status := s.Status
	if r.process.ctx.Err() != nil {
		status = Queued // whatever it waits for, another process goes on
	}
	r.e.layDown(r, status)
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
		if err = r.store(ctx, &s, &next); !errors.Is(err, ErrConflict) {
			return
		}
	}
}

// emit keeps live text of start number n and the time it came. What comes from
// a start that is over is dropped.
func (r *run) emit(n int, l Live) {
	l.Text, l.Tool = headTail(l.Text, 4<<10), clip(l.Tool, 128)
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
