package mcpserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/loop-mcp/loops"
)

// The bounds of the events in an answer: the newest ones, in bytes of JSON.
const (
	maxEvents     = 50
	maxEventsSize = 1400
	maxEventText  = 160
)

func (a *waitArgs) check() error {
	var p problems
	p.loopID(a.LoopID)
	p.notBelow("wait_seconds", a.WaitSeconds, 0)
	p.oneOf("for", string(a.For), string(loops.ForChange), string(loops.ForAttention), string(loops.ForSettled))
	return p.err()
}

func (t *tools) wait(ctx context.Context, c *call, a waitArgs) (any, error) {
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	s, err := t.waitable(ctx, e, a)
	if err != nil {
		return nil, err
	}
	d, note := c.patience(a.WaitSeconds, 20*time.Second)
	what := a.For
	if what == "" {
		what = loops.ForAttention
	}
	c.person.attends, c.person.rounds = true, true
	s, done, err := c.bringAt(ctx, e, s)
	if err != nil {
		return nil, err
	}
	if done {
		d = 0
	}
	now, timedOut, err := c.wait(ctx, e, s, a.Cursor, what, d)
	switch {
	case c.person.round != nil:
		return c.person.round, nil
	case err == nil:
		s = now
	case ctx.Err() == nil:
		return nil, err
	default:
		// The call was cut short, by a client that closed its end: what is known is worth more than
		// an error. To a client that cancelled the call, nothing is sent anyway.
		ctx, timedOut = context.WithoutCancel(ctx), true
		s = latest(ctx, e, s)
	}
	return c.waited(ctx, e, s, a.Cursor, timedOut, note)
}

// waitable returns the loop that a call asks to wait for.
//
//go:noinline
func (t *tools) waitable(ctx context.Context, e engineAPI, a waitArgs) (*loops.State, error) {
	s, err := t.get(ctx, e, a.LoopID)
	if err != nil {
		return nil, err
	}
	if a.Cursor > s.Cursor {
		var p problems
		p.add("cursor", "must come from an answer about this loop, whose last event is %d; got %d", s.Cursor, a.Cursor)
		return nil, p.err()
	}
	return &s, nil
}

// bringAt is bring without a State on the stack of who calls it.
//
//go:noinline
func (c *call) bringAt(ctx context.Context, e engineAPI, s *loops.State) (*loops.State, bool, error) {
	return kept(c.bring(ctx, e, *s))
}

// latest returns how the loop stands, or s where that can't be told.
//
//go:noinline
func latest(ctx context.Context, e engineAPI, s *loops.State) *loops.State {
	if now, err := e.Get(ctx, s.ID); err == nil {
		return &now
	}
	return s
}

// waited is the answer of a wait that ended with s.
//
//go:noinline
func (c *call) waited(ctx context.Context, e engineAPI, s *loops.State, cursor uint64, timedOut bool, note string) (any, error) {
	answer := c.snapshot(e, *s, SnapshotOptions{})
	answer.TimedOut = &timedOut
	answer.Next = note + answer.Next
	if err := addEvents(ctx, e, &answer, cursor); err != nil {
		return nil, err
	}
	return answer, nil
}

// addEvents puts the events after the cursor into the answer, up to the state
// that it shows.
func addEvents(ctx context.Context, e engineAPI, a *Answer, cursor uint64) error {
	dropped := 0
	a.EventsDropped = &dropped
	if a.Cursor <= cursor {
		return nil
	}
	l, err := e.History(ctx, a.LoopID)
	if errors.Is(err, loops.ErrDamaged) {
		dropped = int(a.Cursor - cursor)
		return nil
	}
	if err != nil {
		return err
	}
	events := newestEvents(l.Events, cursor, a.Cursor)
	dropped = int(a.Cursor-cursor) - len(events)
	if len(events) > 0 {
		a.Events = events
	}
	return nil
}

// newestEvents returns the newest events after the cursor up to last that fit,
// oldest first; at least one, if there is one.
func newestEvents(all []loops.Event, cursor, last uint64) []Event {
	var out []Event
	size := 0
	for i := len(all) - 1; i >= 0 && len(out) < maxEvents; i-- {
		if all[i].Cursor > last || all[i].Cursor <= cursor {
			continue
		}
		e := eventOf(all[i], maxEventText)
		data, _ := encode(e)
		if size += len(data) + 1; size > maxEventsSize && len(out) > 0 {
			break
		}
		out = append(out, e)
	}
	slices.Reverse(out)
	return out
}

func eventOf(e loops.Event, limit int) Event {
	return Event{Cursor: e.Cursor, At: stamp(e.At), Type: e.Type, Text: clip(e.Text, limit)}
}
