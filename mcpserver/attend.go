package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/loop-mcp/loops"
)

// attend waits as [loops.Engine.Wait] does, and asks the person what the loop
// asks meanwhile, where the client can ask.
func (c *call) attend(ctx context.Context, e engineAPI, s *loops.State, cursor uint64, what loops.WaitFor, d time.Duration, see func(loops.Head)) (*loops.State, bool, error) {
	until := time.Now().Add(d)
	for {
		if c.person.mustAsk(s) && (what != loops.ForChange || s.Cursor <= cursor) {
			now, goOn, err := c.consultAt(ctx, e, s, until, see)
			if !goOn || err != nil {
				return now, !meets(what, now, cursor) || !time.Now().Before(until), err
			}
			s = now
		}
		now, timedOut, err := c.untilAsked(ctx, e, s, cursor, what, time.Until(until), see)
		if err != nil || timedOut || what == loops.ForChange || !c.person.mustAsk(now) {
			return now, timedOut, err
		}
		s = now
	}
}

// untilAsked waits until what is waited for has come or the person must be asked.
func (c *call) untilAsked(ctx context.Context, e engineAPI, s *loops.State, cursor uint64, what loops.WaitFor, d time.Duration, see func(loops.Head)) (*loops.State, bool, error) {
	if what != loops.ForSettled || !c.person.attends || c.person.reach == nobody {
		return waitFor(ctx, e, s.ID, cursor, what, d, see)
	}
	until := time.Now().Add(d)
	for {
		now, timedOut, err := waitFor(ctx, e, s.ID, cursor, loops.ForAttention, time.Until(until), see)
		if err != nil || timedOut || now.Status.Settled() || c.person.mustAsk(now) {
			return now, timedOut, err
		}
		// It owes something that is not to be asked here: on to the next change.
		if now, timedOut, err = waitFor(ctx, e, s.ID, now.Cursor, loops.ForChange, time.Until(until), see); err != nil || timedOut {
			return now, timedOut, err
		}
	}
}

// meets reports whether a wait would end at s.
func meets(what loops.WaitFor, s *loops.State, cursor uint64) bool {
	switch what {
	case loops.ForSettled:
		return s.Status.Settled()
	case loops.ForChange:
		return s.Cursor > cursor
	default: // asked while attention is owed
		return true
	}
}

// consultAt is consult without a State on the stack of who calls it.
//
//go:noinline
func (c *call) consultAt(ctx context.Context, e engineAPI, s *loops.State, until time.Time, see func(loops.Head)) (*loops.State, bool, error) {
	return kept(c.consult(ctx, e, *s, until, see))
}

// consult asks the person what the loop at s asks and carries the answer out.
// goOn is false when the call is to be answered with the returned state.
func (c *call) consult(ctx context.Context, e engineAPI, s loops.State, until time.Time, see func(loops.Head)) (now loops.State, goOn bool, err error) {
	p := c.person
	q, _ := Question(s)
	if p.reach == between {
		if err := p.putOff(ctx, e, s.ID, s.Attention.ID, q); err != nil { // a store that is full can still be read
			c.tools.opts.Logger.WarnContext(ctx, "the person can't be asked", "loop", s.ID, "error", err)
			p.nobodyAnswered(errors.New("the server can't ask now"))
		}
		return s, false, nil
	}
	result, err := p.ask(ctx, e, s, q, until, see)
	switch {
	case err == nil:
		return c.take(ctx, e, s, func() (loops.Request, error) { return Reply(s, result) })
	case ctx.Err() != nil:
		return s, false, ctx.Err()
	case errors.Is(err, errMoved):
		return c.elsewhere(ctx, e, s.ID)
	case errors.Is(err, errLate):
		p.heard = "The user was asked and has not answered yet. "
	default:
		p.nobodyAnswered(err)
	}
	now, err = e.Get(ctx, s.ID)
	return now, false, err
}

// take carries out what the person said, if it was something.
func (c *call) take(ctx context.Context, e engineAPI, s loops.State, reply func() (loops.Request, error)) (now loops.State, goOn bool, err error) {
	r, err := reply()
	if err != nil {
		c.person.nobodyAnswered(err)
		return s, false, nil
	}
	r.RequestID = c.person.requestID()
	// Whoever has a person's word keeps it, also when the call has just ended.
	out, err := c.do(context.WithoutCancel(ctx), e, s.ID, r)
	if errors.Is(err, loops.ErrRefused) {
		if now, goOn, errGet := c.elsewhere(ctx, e, s.ID); errGet != nil || !asks(now) || now.Attention.ID != r.AttentionID {
			return now, goOn, errGet
		}
	}
	if err != nil {
		return s, false, err
	}
	c.person.heard = fmt.Sprintf("The user %s %s. ", said[r.Action], r.AttentionID)
	return out.State, true, nil
}

var said = map[loops.Action]string{loops.AnswerIt: "answered", loops.Approve: "approved", loops.Deny: "denied"}

// elsewhere is for a question that the loop does not ask any more.
func (c *call) elsewhere(ctx context.Context, e engineAPI, id loops.ID) (loops.State, bool, error) {
	c.person.heard = "The user was asked, but the loop moved on before they answered: what they said here was not used. "
	now, err := e.Get(ctx, id)
	return now, true, err
}

// bring carries out what the client of a repeated call brings along. done: the
// call is to be answered at once.
func (c *call) bring(ctx context.Context, e engineAPI, s loops.State) (now loops.State, done bool, err error) {
	about, result, err := c.person.brought(ctx, e, s.ID)
	if err != nil || result == nil {
		return s, false, err
	}
	if c.person.recorded(s) {
		return s, false, nil
	}
	if !asks(s) || s.Attention.ID != about {
		now, _, err = c.elsewhere(ctx, e, s.ID)
		return now, false, err
	}
	now, goOn, err := c.take(ctx, e, s, func() (loops.Request, error) { return Reply(s, result) })
	return now, !goOn, err
}
