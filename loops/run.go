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
	claimed ID   // the loop
	nested  bool // below another one
	process *process
	ctx     context.Context // ends earlier when the loop is cancelled or lost
	ended   context.CancelCauseFunc
	unhook  func() bool // from the lease under which the loop is claimed

	history    []past // of the committed iterations, newest last, once hasHistory
	hasHistory bool

	writing sync.Mutex          // held for a whole commit; taken before mu
	commits int                 // guarded by writing
	waiting []func(State) State // guarded by writing: part of s, not stored yet; the next commit stores it
	next    State               // guarded by writing: what is about to be stored

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
		if owed {
			err = r.judge(ctx)
		} else {
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
	return r.commitNext(func(s *State) { *s = change(*s) })
}

// commitNext is commit for a change in place. A state is large, and hundreds of
// loops wait for the store at a time: none is on the stack meanwhile.
func (r *run) commitNext(change func(*State)) error {
	ctx, cancel := r.lasting()
	defer cancel()
	return r.commitIn(ctx, true, func(s *State) error { change(s); return nil })
}

// commitWith is commit for a change that may be refused. It ends with ctx, and
// with the first failure of a store when it is not patient.
func (r *run) commitWith(ctx context.Context, patient bool, change func(State) (State, error)) error {
	return r.commitIn(ctx, patient, func(s *State) error {
		next, err := change(*s)
		if err == nil {
			*s = next
		}
		return err
	})
}

func (r *run) commitIn(ctx context.Context, patient bool, change func(*State) error) error {
	was, err := r.write(ctx, patient, change)
	if err == nil {
		r.handUp(ctx, was)
	}
	return err
}

// write is commitIn without what comes after the commit. It returns the sums
// before it.
func (r *run) write(ctx context.Context, patient bool, change func(*State) error) (was Drawn, err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.commits++
	r.begin()
	was, said := r.next.sums(), false
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		r.e.clock.presents(&r.next)
		before := r.next.before()
		if err := change(&r.next); err != nil {
			return was, err
		}
		if r.holds(&r.next) {
			r.next.Claim.Commit = r.commits
		}
		made := r.next.New.Iteration
		// gofail: var beforeCommit struct{}
		err := r.store(ctx, before, &r.next)
		// gofail: var afterCommit struct{}
		if err == nil {
			r.waiting = nil
			r.landed(made)
			return was, nil
		}
		if _, capped := errors.AsType[*CapError](err); capped || errors.Is(err, errParentOver) {
			return was, err
		}
		full := errors.Is(err, ErrUnwritable) // whoever is to pay for it waits until there is room
		if !errors.Is(err, ErrConflict) && (!patient && !full || errors.Is(err, ErrClosed)) {
			return was, fmt.Errorf("commit %s: %w", r.claimed, err)
		}
		if full {
			wait = min(wait, fullWait)
		}
		if !errors.Is(err, ErrConflict) {
			if !full || !said {
				r.e.opts.Logger.Warn("the store did not take a commit; it is asked again", "loop", r.claimed, "cause", err)
			}
			said = full
			if !sleep(ctx, wait) {
				return was, fmt.Errorf("commit %s: %w", r.claimed, err)
			}
		}
		if landed, err := r.again(ctx, made); landed || err != nil {
			return was, err
		}
	}
}

// begin makes what is known the next state. The caller holds writing.
func (r *run) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = r.s
}

// again reads the loop after a commit that failed, as what the next try changes.
// landed means that the commit is stored all the same. The caller holds writing.
func (r *run) again(ctx context.Context, made *Iteration) (landed bool, err error) {
	s, err := r.reload(ctx)
	switch {
	case err != nil:
		return false, fmt.Errorf("read %s again: %w", r.claimed, err)
	case !r.holds(&s):
		r.adopt(s)
		return false, errLost
	case s.Claim.Commit == r.commits && !bugs.Redelivered: // its acknowledgement was lost
		r.waiting, r.next = nil, s
		r.e.heard(r.claimed, s.Tell)
		r.landed(made)
		return true, nil
	}
	for _, change := range r.waiting {
		s = change(s)
	}
	r.next = s
	return false, nil
}

// soon changes the state that this run knows; the next commit stores it.
func (r *run) soon(change func(State) State) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.waiting = append(r.waiting, change)
	r.adopt(change(r.state()))
}

// landed notes that r.next was stored, with the iteration made unless that is
// nil. The caller holds writing.
func (r *run) landed(made *Iteration) {
	r.mu.Lock()
	r.s = r.next
	r.mu.Unlock()
	if made != nil && r.e.opts.OnIteration != nil {
		r.e.opts.OnIteration(r.next, *made)
	}
}

// store stores next, which replaces before, as e.put does.
func (r *run) store(ctx context.Context, before, next *State) error {
	ctx, cancel := r.process.once(ctx)
	defer cancel()
	if bugs.Uncharged && next.Open {
		next.Ledger.Starts--
		err := r.e.commitState(ctx, next)
		next.Ledger.Starts++
		return err
	}
	return r.e.put(ctx, before, next)
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
		if err = r.store(ctx, &s, &next); !errors.Is(err, ErrConflict) {
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
