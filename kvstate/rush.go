package kvstate

import (
	"sync"
	"time"
)

// rush is the time in which many loops commit at once: from a batch that goes
// beside another one, or from worthGroup commits that wait where there are none, until
// that has not been for as long as it takes to be calm.
type rush struct {
	begin func() (over func()) // nil: nobody wants to know

	mu    sync.Mutex
	over  func()      // nil: there is no rush
	timer *time.Timer // nil: there was none yet
	ended bool        // there will be none any more
}

// press notes that many loops commit at once.
func (r *rush) press() {
	if r.begin == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
		return
	case r.timer == nil:
		r.timer = time.AfterFunc(calm, r.calm)
	default:
		r.timer.Reset(calm)
	}
	if r.over == nil {
		r.over = r.begin()
	}
}

// calm ends the rush.
func (r *rush) calm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over != nil {
		r.over()
		r.over = nil
	}
}

// end is calm for good.
func (r *rush) end() {
	r.calm()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
}
