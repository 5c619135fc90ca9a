package loops

import (
	"errors"
	"slices"
	"time"
)

// stray is a claim that this process has asked for and given up: the store did
// not say whether it took it, and may take it yet. Nobody would work on the loop
// then, because its owner lives, and no cancel would end it.
type stray struct {
	id    ID
	token string
	rev   uint64 // that it replaces: when the loop is at another one, it came too late
}

// strayCheck is how often strays are looked for.
const strayCheck = 2 * time.Second

// giveUp notes that the claim of a run may arrive when nobody waits for it.
func (e *Engine) giveUp(r *run, rev uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.strays = append(e.strays, stray{id: r.claimed, token: r.claim.Token, rev: rev})
}

// releaseStrays lets go of loops whose claim arrived late, until the process ends.
func (e *Engine) releaseStrays(p *process) {
	for sleep(p.ctx, strayCheck) {
		e.mu.Lock()
		strays := e.strays
		e.strays = nil
		e.mu.Unlock()
		strays = slices.DeleteFunc(strays, func(one stray) bool { return e.releaseStray(p, one) })
		e.mu.Lock()
		e.strays = append(e.strays, strays...)
		e.mu.Unlock()
	}
}

// releaseStray lets go of a loop that a stray holds. It reports whether that is
// done, or can't be needed any more.
func (e *Engine) releaseStray(p *process, one stray) (done bool) {
	s, err := e.store.Load(p.ctx, one.id)
	switch {
	case err != nil:
		return errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged)
	case s.Claim.Token != one.token:
		return s.Rev != one.rev
	}
	r, err := newRun(p, e, s)
	if err != nil {
		return false
	}
	defer r.ended(nil)
	defer r.unhook()
	r.claim.Token = one.token
	e.opts.Logger.Warn("a claim arrived after it was given up; the loop is let go of", "loop", one.id)
	return r.letGo() == nil
}
