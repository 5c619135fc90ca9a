package loops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/loop-mcp/internal/bugs"
)

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
			return was, err
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
				return was, err
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
	lets := !r.holds(&r.next)
	s, err := r.reload(ctx)
	holds := r.holds(&s)
	switch {
	case err != nil:
		return false, fmt.Errorf("read %s again: %w", r.claimed, err)
	case !holds && (!lets || bugs.Redelivered || slices.Contains(s.Taken, r.claim.Token)):
		r.adopt(s)
		return false, errLost
	case !holds, s.Claim.Commit == r.commits && !bugs.Redelivered: // its acknowledgement was lost; it may have let the loop go
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
