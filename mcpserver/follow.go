package mcpserver

import (
	"context"
	"errors"
	"math"
	"time"

	"example.com/loop-mcp/loops"
)

const (
	// settleFirst is how long a server leaves a store alone for a client that
	// only wants to know of changed lists: one that merely looks is gone by then.
	settleFirst = 2 * time.Second
	// lookAgain is when the follower tries again where there is no store yet, or
	// none that can be read.
	lookAgain = 10 * time.Second
	// sweep is how often it compares all loops with those it knows, for those
	// that retention has taken, which no watch tells.
	sweep = 10 * time.Minute
)

// seenLoop is what the follower remembers of a loop.
type seenLoop struct {
	rev   uint64
	owner string
}

// change is what happened to a loop.
type change struct {
	seenLoop
	id        loops.ID
	iteration int
	listed    bool // the loop was not there before, or is no more
}

func changeOf(h *loops.Head, listed bool) change {
	return change{seenLoop{h.Rev, h.Owner}, h.ID, h.Iteration, listed}
}

// follow watches the engine until ctx ends.
func (h *hub) follow(ctx context.Context, w *worker) {
	primed := func() {
		select {
		case <-w.primed:
		default:
			close(w.primed)
		}
	}
	var known map[loops.ID]seenLoop // all loops; nil: nobody has looked
	wait := time.Duration(0)
	if !h.urgent() && !h.tools.isOpen(ctx) {
		wait = settleFirst
	}
	for {
		select {
		case <-h.kick:
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		err := h.look(ctx, &known, primed)
		primed()
		wait = 0
		if err != nil && ctx.Err() == nil {
			wait = lookAgain
		}
		if err != nil && !errors.Is(err, errNoLoops) && ctx.Err() == nil {
			h.log.Debug("subscribers are not told of changes for now", "cause", err)
		}
	}
}

// urgent reports whether somebody follows more than lists.
func (h *hub) urgent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.topics {
		if name != topicList && name != topicPrompts {
			return true
		}
	}
	return false
}

// look compares all loops with those known and then watches them for a while.
func (h *hub) look(ctx context.Context, known *map[loops.ID]seenLoop, primed func()) error {
	e, err := h.tools.peek(ctx)
	if errors.Is(err, errNoLoops) && *known == nil {
		*known = map[loops.ID]seenLoop{}
	}
	if err == nil {
		err = h.compare(ctx, e, known)
	}
	if err == nil {
		primed()
		err = h.watch(ctx, e, *known)
	}
	if errors.Is(err, loops.ErrClosed) && ctx.Err() == nil {
		err = h.tools.reopen(ctx, err)
	}
	return err
}

// compare tells what changed while nobody watched. Whoever looks for the first
// time takes lists as they are; what was read of a loop before is compared by
// its revision.
func (h *hub) compare(ctx context.Context, e engineAPI, known *map[loops.ID]seenLoop) error {
	now := map[loops.ID]seenLoop{}
	var changes []change
	err := e.Scan(ctx, func(head *loops.Head) {
		now[head.ID] = seenLoop{head.Rev, head.Owner}
		if old, there := (*known)[head.ID]; old.rev != head.Rev {
			changes = append(changes, changeOf(head, !there))
		}
	})
	if err != nil {
		return err
	}
	for id, old := range *known {
		if _, there := now[id]; !there {
			changes = append(changes, change{seenLoop{math.MaxUint64, old.owner}, id, 0, true})
		}
	}
	first := *known == nil
	*known = now
	h.changed(changes, !first)
	return nil
}

// watch tells changes as they come, until it is time to compare again.
func (h *hub) watch(ctx context.Context, e engineAPI, known map[loops.ID]seenLoop) error {
	ctx, cancel := context.WithTimeout(ctx, sweep)
	defer cancel()
	for head, err := range e.Watch(ctx, "") {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		old, there := known[head.ID]
		if head.Rev <= old.rev {
			continue
		}
		c := changeOf(&head, !there)
		known[c.id] = c.seenLoop
		h.changed([]change{c}, true)
	}
	return nil
}

// changed marks the topics that changes concern; lists: also those that are no
// loop.
func (h *hub) changed(changes []change, lists bool) {
	if len(changes) == 0 {
		return
	}
	h.mu.Lock()
	for _, c := range changes {
		for t := range h.topics[string(c.id)] {
			for _, i := range t.wants {
				if i.concerns(c) {
					h.mark(t, i)
				}
			}
		}
		if lists {
			h.markLists(c)
		}
	}
	h.mu.Unlock()
	signal(h.wake)
}

// markLists marks the lists that show the loop of c; mu is held.
func (h *hub) markLists(c change) {
	for t := range h.topics[topicRecent] {
		if t.shows(c) {
			h.mark(t, t.wants[0])
		}
	}
	if !c.listed {
		return
	}
	for t := range h.topics[topicList] {
		if t.shows(c) {
			h.mark(t, t.wants[0])
		}
	}
}

// shows reports whether the list of a session has the loop of c.
func (t *topic) shows(c change) bool { return t.owner == "" || t.owner == c.owner }

// concerns reports whether a change is one of the resource: an iteration
// changes when it is committed and as long as it is the last one.
func (i *interest) concerns(c change) bool {
	if c.rev <= i.after {
		return false
	}
	if i.only == 0 {
		return true
	}
	if c.iteration < i.only || i.seen > i.only {
		return false
	}
	i.seen = c.iteration
	return true
}
