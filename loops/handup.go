package loops

import (
	"context"
	"errors"
	"fmt"
)

// What a loop spends is part of the ledgers of all loops above it. A loop above
// holds a total for each loop right below it ([Drawn]): what that one has spent,
// and what is set aside in it. Totals may come twice, late, or again after a
// crash. Each has the number of the change below that it belongs to, so that an
// older one never replaces a newer one.
//
// A loop above covers at any moment what may be spent below it:
//
//   - What makes a total larger goes up before it is stored. What is to be set
//     aside is asked of the topmost loop first and stored in the loop itself last:
//     once it is there, all have agreed, so what a crash leaves of it can be
//     written off within every limit, and without it no call was made.
//   - What makes a total smaller goes up after it was stored. A crash in between
//     leaves a loop whose worker is gone; whoever takes it next hands it up.
//   - A change that settles a loop goes up before: nobody takes that loop again.
//
// Before goes for each level: what makes the total of a loop above larger is noted
// there when all above that one count it as set aside. And it is noted under the
// number of the change that relies on it, even if there was room: what belongs to
// an earlier change may be taken back.
//
// A change that went up and was never stored is forgotten when the loop below
// changes otherwise: [Engine.mend] sees to that. What it had spent stays, and the
// loop below learns of it when it is taken next. Until then it still has set aside
// there what a loop above knows as spent. That counts once: set aside above is
// only what is beyond, so what is stored below never makes a total above larger.

// sums is what s has spent and set aside, those below it included.
func (s *State) sums() Drawn {
	return Drawn{Spent: s.Ledger.Usage, Aside: s.aside(), At: 2 * s.Changes}
}

// intends is the total for a change of s to next that is about to be stored: it
// covers both, because nobody knows yet which one it will be.
func (s State) intends(next State) Drawn {
	was, d := s.sums(), next.sums()
	d.Aside = d.Aside.atLeast(was.total().beyond(d.Spent))
	d.At++
	return d
}

// covers reports whether u has room for v, as far as there are limits on it.
func (u Usage) covers(v Usage) bool {
	return u.TotalTokens >= v.TotalTokens && u.CostUSD >= v.CostUSD && u.ToolCalls >= v.ToolCalls
}

// atLeast is the larger of u and v, number by number.
func (u Usage) atLeast(v Usage) Usage {
	return Usage{InputTokens: max(u.InputTokens, v.InputTokens), OutputTokens: max(u.OutputTokens, v.OutputTokens),
		TotalTokens: max(u.TotalTokens, v.TotalTokens), CostUSD: max(u.CostUSD, v.CostUSD), ToolCalls: max(u.ToolCalls, v.ToolCalls)}
}

// beyond is what u has more than v, number by number.
func (u Usage) beyond(v Usage) Usage {
	return Usage{InputTokens: max(0, u.InputTokens-v.InputTokens), OutputTokens: max(0, u.OutputTokens-v.OutputTokens),
		TotalTokens: max(0, u.TotalTokens-v.TotalTokens), CostUSD: max(0, u.CostUSD-v.CostUSD), ToolCalls: max(0, u.ToolCalls-v.ToolCalls)}
}

// put stores next, a change of the loop that is stored as before. A loop above
// that has no room for what next sets aside gives a *CapError, one that has
// settled errParentOver. The caller hands up what [Engine.put] leaves for after.
// next becomes what is stored; before is not looked at without a loop above.
func (e *Engine) put(ctx context.Context, before, next *State) error {
	if next.Origin.Parent != "" {
		if err := e.aheadOf(ctx, before, next); err != nil {
			return err
		}
	}
	return e.commitState(ctx, next)
}

//go:noinline
func (e *Engine) aheadOf(ctx context.Context, before, next *State) error {
	return e.ahead(ctx, *before, *next)
}

// before returns a copy of s for [Engine.put], nil when that needs none.
func (s *State) before() *State {
	if s.Origin.Parent == "" {
		return nil
	}
	was := *s
	return &was
}

// ahead hands up what must be known above before next is stored.
func (e *Engine) ahead(ctx context.Context, before, next State) error {
	was, will := before.sums(), before.intends(next)
	switch {
	case !was.Aside.covers(will.Aside):
		return e.raise(ctx, before, next)
	case !was.total().covers(will.total()):
		return e.promise(ctx, next, will)
	case !next.Status.Settled():
		return nil
	}
	p, err := e.drawOne(ctx, next, will, mended)
	if err != nil {
		return lacking(err)
	}
	return e.mend(ctx, p)
}

// raise asks the loops above, the topmost first, for what next sets aside.
func (e *Engine) raise(ctx context.Context, before, next State) error {
	for {
		p, err := e.store.Load(ctx, next.Origin.Parent)
		if err != nil {
			return lacking(fmt.Errorf("the loop above %s: %w", next.ID, err))
		}
		old, total := p.Children[next.ID], before.intends(next)
		switch {
		case p.Status.Settled():
			return fmt.Errorf("%s is %s: %w", p.ID, p.Status, errParentOver)
		case old.At > total.At: // next is out of date: the store will not take it
			_, err := e.outdate(ctx, next.ID, old)
			return lacking(err)
		case !old.Spent.covers(total.Spent): // so that what is asked for here is all that is new
			if err := e.mend(ctx, before); err != nil {
				return err
			}
			continue
		case old.At == total.At && old.total().covers(total.total()):
			return nil
		}
		above := p.drawn(next.ID, total)
		if free := above.free(RoleChild); free.CostUSD < 0 || free.TotalTokens < 0 || free.ToolCalls < 0 {
			return &CapError{Reason: CapParent, Detail: p.noRoomForChild()}
		}
		if p.Origin.Parent != "" {
			if err := e.raise(ctx, p, above); err != nil {
				return err
			}
		}
		if _, err = e.commit(ctx, above); !errors.Is(err, ErrConflict) { // else the newest record is asked
			return drawing(p, err)
		}
	}
}

// draw hands up what is stored of s, through every loop above it.
func (e *Engine) draw(ctx context.Context, s State) error { return e.handUp(ctx, s, later) }

// mend is draw that also takes back what went up of changes that were never
// stored. Whoever is about to store one has to hand it up again.
func (e *Engine) mend(ctx context.Context, s State) error { return e.handUp(ctx, s, mended) }

// passing is how a total goes up.
type passing int

const (
	later    passing = iota // unless something newer has gone up
	mended                  // also against what went up and was never stored
	promised                // as mended, and under its own number: what is stored relies on it
)

func (e *Engine) handUp(ctx context.Context, s State, how passing) error {
	for s.Origin.Parent != "" {
		p, err := e.drawOne(ctx, s, s.sums(), how)
		if err != nil {
			return lacking(err)
		}
		s = p
	}
	return nil
}

// lacking is err, nil when a loop above is not there: it lives in another store,
// or nobody can tell any more.
func lacking(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil
	}
	return err
}

func drawing(p State, err error) error {
	if err != nil {
		return fmt.Errorf("draw on the parent %s: %w", p.ID, err)
	}
	return nil
}

// drawOne notes the total d of s in the loop right above it, which it returns.
// What makes that one's own total larger goes up before.
func (e *Engine) drawOne(ctx context.Context, s State, d Drawn, how passing) (State, error) {
	for {
		p, err := e.store.Load(ctx, s.Origin.Parent)
		if err != nil {
			return p, fmt.Errorf("the loop above %s: %w", s.ID, err)
		}
		old, known := p.Children[s.ID]
		told := old.replaced(d)
		switch {
		case known && told.Spent == old.Spent && told.Aside == old.Aside && (how != promised || old.At >= d.At):
			return p, nil
		case known && old.At >= d.At && how == later:
			return p, nil
		case known && old.At >= d.At:
			if s, err = e.outdate(ctx, s.ID, old); err != nil {
				return p, err
			}
			d = s.sums()
			continue
		}
		next := p.drawn(s.ID, d)
		if err := e.foretell(ctx, p, next); err != nil {
			return p, err
		}
		got, err := e.commit(ctx, next)
		if errors.Is(err, ErrConflict) {
			continue // the parent moved: its newest record is asked
		}
		return got, drawing(p, err)
	}
}

// promise hands up a total of s that nobody can refuse any more.
func (e *Engine) promise(ctx context.Context, s State, d Drawn) error {
	p, err := e.drawOne(ctx, s, d, promised)
	if err != nil {
		return lacking(err)
	}
	return e.mend(ctx, p)
}

// foretell promises what a change of p to next makes the total of p larger. Above
// that counts as set aside until next is stored: it may never be.
func (e *Engine) foretell(ctx context.Context, p, next State) error {
	was, will := p.sums(), p.intends(next)
	if p.Origin.Parent == "" || was.total().covers(will.total()) {
		return nil
	}
	_, err := e.drawOne(ctx, next, Drawn{Spent: was.Spent, Aside: will.total().beyond(was.Spent), At: will.At}, promised)
	return lacking(err)
}

// outdate returns loop id at a later change than the one that a total in the
// loop above belongs to.
func (e *Engine) outdate(ctx context.Context, id ID, d Drawn) (State, error) {
	for {
		s, err := e.store.Load(ctx, id)
		if err != nil || s.sums().At > d.At {
			return s, err
		}
		s.Changes = max(s.Changes, d.At/2) // a program that does not know of it may have written s
		got, err := e.commit(ctx, s)
		if !errors.Is(err, ErrConflict) {
			return got, err
		}
	}
}

// learnFrom raises what s has spent to what a loop above was told of it: a report
// that a crash kept from being stored here.
func (s State) learnFrom(above Drawn) State {
	if lost := above.Spent.beyond(s.Ledger.Usage); lost != (Usage{}) {
		s.spend(RoleWorker, "", lost)
		s.Metered = s.Metered.Plus(lost)
	}
	return s
}

// toldAbove is what the loop above was told of s.
func (e *Engine) toldAbove(ctx context.Context, s State) (Drawn, error) {
	if s.Origin.Parent == "" {
		return Drawn{}, nil
	}
	p, err := e.store.Load(ctx, s.Origin.Parent)
	if err != nil {
		return Drawn{}, lacking(fmt.Errorf("the loop above %s: %w", s.ID, err))
	}
	return p.Children[s.ID], nil
}

// takeBack takes back what went up of a change of the loop that was not stored.
func (r *run) takeBack() {
	if r.state().Origin.Parent == "" {
		return
	}
	ctx, cancel := r.lasting()
	defer cancel()
	s, err := r.e.store.Load(ctx, r.claimed)
	if err == nil {
		err = untilRoom(ctx, func() error { return r.e.mend(ctx, s) })
	}
	if err != nil {
		r.e.opts.Logger.Warn("what was set aside above a loop stays there until the next change", "loop", r.claimed, "cause", err)
	}
}

// handUp hands up what became of was, unless it went up before it was stored.
func (r *run) handUp(ctx context.Context, before Drawn) {
	if !r.nested {
		return
	}
	s := r.state()
	now := s.sums()
	if before.Spent == now.Spent && now.Aside.covers(before.Aside) {
		return
	}
	if err := untilRoom(ctx, func() error { return r.e.draw(ctx, s) }); err != nil {
		r.e.opts.Logger.Warn("what a loop has spent is handed up later", "loop", s.ID, "cause", err)
	}
}
