package loops

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// entry counts the loops that this process creates, so that those that are
// created side by side exceed no limit together. Those of other processes count
// from the moment on at which they are stored: what several processes create at the
// same moment may exceed the limit by one for each start that is under way in
// another one. More would take a place in the store that all starts go through, or
// loops that are there, may run, and are taken back.
type entry struct {
	mu    sync.Mutex
	begun int           // creations that were let in
	ended int           // of them, those that are over
	moved chan struct{} // closes when one more is over; nil while nobody waits
}

// over returns how many creations are over. What they created counts as live in
// the store from now on.
func (n *entry) over() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}

// let lets one creation in when there is room for it: live is how many loops
// the store said were live after so many creations were over. Otherwise it
// returns what closes when it may be tried again, nil when there is no room.
func (n *entry) let(live, over, limit int) (in bool, again <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	unsure := n.begun - over // may be among those that are live
	switch {
	case live+unsure < limit:
		n.begun++
		return true, nil
	case live >= limit:
		return false, nil
	case n.ended > over:
		now := make(chan struct{})
		close(now)
		return false, now
	case n.moved == nil:
		n.moved = make(chan struct{})
	}
	return false, n.moved
}

// leave says that a creation is over, whatever came of it.
func (n *entry) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended++
	if n.moved != nil {
		close(n.moved)
		n.moved = nil
	}
}

// enter waits until it is known whether there is room for another live loop, and
// keeps it until the caller leaves e.entry. As long as there is much, nobody has
// to know exactly how much.
func (e *Engine) enter(ctx context.Context) error {
	for roughly := true; ; roughly = false {
		over := e.entry.over()
		live, err := countLive(ctx, e.store, roughly)
		if err != nil {
			return err
		}
		in, again := e.entry.let(live, over, e.opts.LiveLoops)
		switch {
		case in:
			return nil
		case roughly:
			continue
		case again == nil:
			return &RefusedError{Code: "live_loops", Problem: fmt.Sprintf("%d loops are live and live_loops is %d", live, e.opts.LiveLoops),
				Remedy: "cancel one (loop_list shows them) or ask the operator to raise live_loops"}
		}
		select {
		case <-again:
		case <-ctx.Done():
			return errors.Join(errors.New("waiting for loops that are being created"), context.Cause(ctx))
		}
	}
}
