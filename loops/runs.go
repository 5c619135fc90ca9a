package loops

import "slices"

// Runs of one loop in this process may overlap: one that was handed out an older
// revision and has yet to find out, one whose last commit is stored and which has
// yet to return. Requests reach all of them, and what a body keeps from start to
// start rests when no run is left that could use it.

// register makes r known, before the claim, so that no request written after it is
// missed. It waits while an earlier run has the body rest.
func (e *Engine) register(r *run) {
	e.mu.Lock()
	before := e.running[r.claimed]
	e.running[r.claimed] = append(slices.Clip(before), r) // readers have the old one
	var resting []chan struct{}
	for _, b := range before {
		if b.resting != nil {
			resting = append(resting, b.resting)
		}
	}
	e.mu.Unlock()
	for _, done := range resting {
		<-done
	}
}

// deregister ends that requests reach r.
func (e *Engine) deregister(r *run) {
	e.mu.Lock()
	if owed := r.owes; owed != "" && r.resting == nil {
		e.mu.Unlock()
		e.layDown(r, owed)
		e.mu.Lock()
	}
	defer e.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(e.running[r.claimed]), func(other *run) bool { return other == r })
	if len(left) == 0 {
		delete(e.running, r.claimed)
		return
	}
	e.running[r.claimed] = left
}

// layDown has the body let rest what it keeps for the loop of r, which works on it
// no more and left it in that status. Another run that may use it does so instead,
// when it ends.
func (e *Engine) layDown(r *run, status Status) {
	keeper, ok := e.body(r.state().Origin.Spec.Body).(Rester)
	if !ok {
		return
	}
	e.mu.Lock()
	for _, other := range slices.Backward(e.running[r.claimed]) {
		if other != r && other.resting == nil {
			other.owes = status
			e.mu.Unlock()
			return
		}
	}
	r.resting = make(chan struct{})
	e.mu.Unlock()
	defer close(r.resting)
	keeper.Rest(r.claimed, status)
}

// runs of a loop in this process, oldest first.
func (e *Engine) runs(id ID) []*run {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running[id]
}

// worker is the run that has the loop, else the newest that tries to; nil: none.
func (e *Engine) worker(id ID) *run {
	all := e.runs(id)
	for _, r := range slices.Backward(all) {
		if s := r.state(); r.holds(&s) {
			return r
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// worksOn reports whether this process works on a loop, or tries to.
func (e *Engine) worksOn(id ID) bool { return len(e.runs(id)) > 0 }

// signal tells the runs of a loop in this process what h means for them.
func (e *Engine) signal(h Head) {
	for _, r := range e.runs(h.ID) {
		switch {
		case h.Cancel != nil && h.Cancel.Now:
			r.ended(ErrCancelNow)
		case h.Cancel != nil:
			r.ended(ErrCancelled)
		case h.Claim.Token != r.claim.Token && h.Rev > r.state().Rev:
			r.ended(errLost)
		}
	}
}
