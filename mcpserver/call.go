package mcpserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// call is one tool call.
type call struct {
	tools  *tools
	notify notify // nil: the client did not ask for progress
	person *person
}

// patience returns how long a call may wait, and what to tell the client when
// that is less than it asked for.
func (c *call) patience(asked *int, otherwise time.Duration) (d time.Duration, note string) {
	longest := c.tools.opts.MaxWait
	if asked == nil {
		return min(otherwise, longest), ""
	}
	if *asked > int(longest/time.Second) {
		return longest, fmt.Sprintf("wait_seconds is capped at %g here. ", longest.Seconds())
	}
	return time.Duration(*asked) * time.Second, ""
}

// wait waits for the loop, which stood at s when the call began, and reports
// progress meanwhile. Hundreds of calls wait at a time: what is kept of a loop
// meanwhile is not on the stack, which would be twice as large.
func (c *call) wait(ctx context.Context, e engineAPI, s *loops.State, cursor uint64, what loops.WaitFor, d time.Duration) (now *loops.State, timedOut bool, err error) {
	if d == 0 {
		return waitFor(ctx, e, s.ID, cursor, what, d, nil)
	}
	if c.notify == nil {
		return c.attend(ctx, e, s, cursor, what, d, nil)
	}
	m := meterOf(c.notify, s)
	now, timedOut, err = c.attend(ctx, e, s, cursor, what, d, m.see)
	if err != nil {
		now, timedOut = s, true
	}
	m.end(ctx, now)
	return now, timedOut, err
}

// waitFor is e.Wait with one copy of a State on the stack instead of two.
//
//go:noinline
func waitFor(ctx context.Context, e engineAPI, id loops.ID, cursor uint64, what loops.WaitFor, d time.Duration, onChange func(loops.Head)) (*loops.State, bool, error) {
	return kept(e.Wait(ctx, id, cursor, what, d, onChange))
}

//go:noinline
func kept(s loops.State, timedOut bool, err error) (*loops.State, bool, error) {
	return &s, timedOut, err
}

// follow waits after something has been done. What was done stands, so a wait
// that could not go on is told as one that took too long.
func (c *call) follow(ctx context.Context, e engineAPI, s loops.State, what loops.WaitFor, d time.Duration) (now loops.State, timedOut *bool) {
	if d == 0 {
		return s, nil
	}
	after, out, err := c.wait(ctx, e, &s, s.Cursor, what, d)
	if err != nil {
		after, out = &s, true
	}
	return *after, &out
}

// do carries out a request and waits for what it leads to.
func (c *call) do(ctx context.Context, e engineAPI, id loops.ID, r loops.Request) (loops.Outcome, error) {
	if r.By == "" {
		r.By = "client"
	}
	out, err := e.Do(ctx, id, r)
	return out, c.tools.known(ctx, e, id, err)
}

// get returns the checkpoint of a loop.
func (t *tools) get(ctx context.Context, e engineAPI, id string) (loops.State, error) {
	s, err := e.Get(ctx, loops.ID(id))
	return s, t.known(ctx, e, loops.ID(id), err)
}

// known adds to an unknown id those that the client may have meant.
func (t *tools) known(ctx context.Context, e engineAPI, id loops.ID, err error) error {
	if !errors.Is(err, loops.ErrNotFound) {
		return err
	}
	heads, _, listErr := e.List(ctx, loops.Filter{Limit: 100})
	if listErr != nil {
		return err
	}
	slices.SortStableFunc(heads, func(a, b loops.Head) int { return newerFirst(id, a, b) })
	unknown := &notFoundError{id: id}
	for _, h := range heads[:min(len(heads), 3)] {
		unknown.recent = append(unknown.recent, h.ID)
	}
	return unknown
}

// newerFirst puts loops of the same name before others: a model that forgot the
// end of an id remembers its beginning.
func newerFirst(id loops.ID, a, b loops.Head) int {
	like := func(h loops.Head) int {
		if strings.HasPrefix(string(id)+"-", h.Name+"-") {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(like(a), like(b)), b.UpdatedAt.Compare(a.UpdatedAt))
}

func (t *tools) person() bool { return t.opts.Approvals == "person" }

// snapshot is the answer of a call that may have asked the person.
func (c *call) snapshot(e engineAPI, s loops.State, o SnapshotOptions) Answer {
	if c.person.reach != nobody {
		o.Asks = max(1, int(c.tools.opts.MaxWait/time.Second))
	}
	a := c.tools.snapshot(e, s, o)
	if c.person.silent && asks(s) {
		a.Next = nextSilent(s)
	}
	a.Next = c.person.heard + a.Next
	return a
}

func (t *tools) snapshot(e engineAPI, s loops.State, o SnapshotOptions) Answer {
	o.Person = t.person()
	return Snapshot(e, s, &o)
}
