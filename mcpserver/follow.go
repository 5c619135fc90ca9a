package mcpserver

import (
	"context"
	"errors"
	"slices"
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

// change is what the follower keeps of a head.
type change struct {
	id        loops.ID
	rev       uint64
	iteration int
	fresh     bool   // the loop was not there before, or is no more
	owner     string // of the loop
	gone      bool   // nobody knows any more whose it was
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
	var known map[loops.ID]uint64 // the revision of every loop; nil: nobody has looked
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
func (h *hub) look(ctx context.Context, known *map[loops.ID]uint64, primed func()) error {
	e, err := h.tools.peek(ctx)
	if errors.Is(err, errNoLoops) && *known == nil {
		*known = map[loops.ID]uint64{}
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
func (h *hub) compare(ctx context.Context, e engineAPI, known *map[loops.ID]uint64) error {
	now := map[loops.ID]uint64{}
	var changes []change
	err := e.Scan(ctx, func(head *loops.Head) {
		now[head.ID] = head.Rev
		rev, old := (*known)[head.ID]
		if rev != head.Rev {
			changes = append(changes, change{id: head.ID, rev: head.Rev, iteration: head.Iteration, fresh: !old, owner: head.Owner})
		}
	})
	if err != nil {
		return err
	}
	first := *known == nil
	for id := range *known {
		if _, there := now[id]; !there {
			changes = append(changes, change{id: id, rev: ^uint64(0), fresh: true, gone: true})
		}
	}
	*known = now
	h.changed(changes, !first)
	return nil
}

// watch tells changes as they come, until it is time to compare again.
func (h *hub) watch(ctx context.Context, e engineAPI, known map[loops.ID]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, sweep)
	defer cancel()
	for head, err := range e.Watch(ctx, "") {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		rev, old := known[head.ID]
		if head.Rev <= rev {
			continue
		}
		known[head.ID] = head.Rev
		h.changed([]change{{id: head.ID, rev: head.Rev, iteration: head.Iteration, fresh: !old, owner: head.Owner}}, true)
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
	}
	if lists {
		for t := range h.topics[topicRecent] {
			h.markList(t, changes, func(change) bool { return true })
		}
		for t := range h.topics[topicList] {
			h.markList(t, changes, func(c change) bool { return c.fresh })
		}
	}
	h.mu.Unlock()
	signal(h.wake)
}

// markList marks a list if one of the changes is of a kind that concerns it and
// of a loop that its subscriber may see; mu is held.
func (h *hub) markList(t *topic, changes []change, concerned func(change) bool) {
	i := t.wants[0]
	if slices.ContainsFunc(changes, func(c change) bool {
		return concerned(c) && (c.gone || i.owner == "" || i.owner == c.owner)
	}) {
		h.mark(t, i)
	}
}

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
