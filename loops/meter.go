package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// meter is the [Meter] of one start, or of one condition of a judgement.
type meter struct {
	r     *run
	start int    // the last start charged when it was handed out
	path  string // the condition; empty: the body
}

// open reports whether the start or judgement of m is still under way.
func (m meter) open(s State) bool {
	if s.Ledger.Starts != m.start {
		return false
	}
	if m.path == "" {
		return s.Open
	}
	return s.Owed != nil
}

func (m meter) what() string {
	if m.path == "" {
		return fmt.Sprintf("start %d", m.start)
	}
	return "the judgement after start " + fmt.Sprint(m.start)
}

// Reserve implements [Meter].
func (m meter) Reserve(ctx context.Context, c Call) (Grant, error) {
	if err := errors.Join(context.Cause(ctx), c.check(), checkMemory(c.Saved)); err != nil {
		return Grant{}, err
	}
	c.Saved = slices.Clone(c.Saved)
	// gofail: var beforeReserve struct{}
	grant, err := m.setAside(ctx, c)
	if err != nil {
		return Grant{}, err
	}
	// gofail: var afterReserve struct{}
	if err := m.r.reserveToday(ctx, grant); err != nil {
		return Grant{}, errors.Join(err, m.Settle(ctx, grant, Spent{}, nil))
	}
	return grant, nil
}

// setAside sets aside what c may cost, in the loop and in those above it. What
// others take there meanwhile makes it ask for less.
func (m meter) setAside(ctx context.Context, c Call) (Grant, error) {
	var before []room
	for {
		outer, err := m.r.e.outerRooms(ctx, m.r.state())
		if err != nil {
			return Grant{}, err
		}
		var grant Grant
		err = m.r.commitWith(ctx, false, func(s State) (State, error) {
			grant = Grant{}
			if !m.open(s) {
				return s, fmt.Errorf("reserve for a call of %s: %s is over", c.Model, m.what())
			}
			next, g, err := s.reserve(c, m.path, outer)
			grant = g
			return next.saved(m.path, c.Saved), err
		})
		if err == nil {
			return grant, nil
		}
		m.r.takeBack()
		if _, capped := errors.AsType[*CapError](err); !capped || grant == (Grant{}) || slices.Equal(before, outer) {
			return Grant{}, err
		}
		before = outer
	}
}

// check refuses a call that can't be accounted for.
func (c Call) check() error {
	if c.Input < 0 || c.Output < 0 || c.MinOutput < 0 || c.InputRate < 0 || c.OutputRate < 0 || c.Fixed < 0 || c.ToolCalls < 0 {
		return &FieldError{Field: "call", Problem: "has a negative amount"}
	}
	return nil
}

// Settle implements [Meter].
func (m meter) Settle(_ context.Context, g Grant, sp Spent, saved json.RawMessage) error {
	problem := errors.Join(checkMemory(saved), sp.Usage.Validate())
	if problem != nil {
		saved = nil
	}
	if sp.Usage.Validate() != nil {
		sp = Spent{Unknown: true}
	}
	saved = slices.Clone(saved)
	settle := func(s State) (State, bool) {
		next, ok := s.settleCall(g.ID, sp)
		if ok && m.open(s) {
			next = next.saved(m.path, saved)
		}
		return next, ok
	}
	if alone := m.r.state().Origin.Parent == "" && m.r.e.opts.DailyCost <= 0; sp.Soon && alone && m.r.has(g) {
		m.r.soon(func(s State) State { next, _ := settle(s); return next })
		return problem
	}
	ctx, cancel := m.r.lasting()
	defer cancel()
	err := m.r.commitWith(ctx, true, func(s State) (State, error) {
		next, ok := settle(s)
		if !ok {
			return s, fmt.Errorf("settle call %s: nothing is set aside for it; %s is over", g.ID, m.what())
		}
		return next, nil
	})
	if err == nil {
		err = m.r.settleToday(ctx, g, sp.Usage.CostUSD, sp.Unknown)
	}
	return errors.Join(problem, err)
}

// has reports whether something is set aside for g.
func (r *run) has(g Grant) bool {
	return slices.ContainsFunc(r.state().Reserved, func(set Reserved) bool { return set.ID == g.ID })
}

// saved keeps what a body or a condition stores inside its run.
func (s State) saved(path string, data json.RawMessage) State {
	switch {
	case data == nil:
		return s
	case path == "":
		s.Memory, s.Unkept = data, true
		return s
	}
	s.Notes = maps.Clone(s.Notes)
	if s.Notes == nil {
		s.Notes = map[string]json.RawMessage{}
	}
	s.Notes[path] = data
	return s
}

// maxNote bounds what one condition keeps.
const maxNote = 1 << 20

// saveNote stores what the condition at path keeps.
func (r *run) saveNote(ctx context.Context, m meter, data json.RawMessage) error {
	if len(data) > maxNote {
		return tooLarge("saved", len(data), maxNote)
	}
	if err := errors.Join(context.Cause(ctx), checkMemory(data)); err != nil {
		return err
	}
	data = slices.Clone(data)
	return r.commitWith(ctx, false, func(s State) (State, error) {
		if !m.open(s) {
			return s, fmt.Errorf("save for %s: %s is over", m.path, m.what())
		}
		return s.saved(m.path, data), nil
	})
}

// mayStart asks what lies outside the loop's own record before a body runs: the
// day's budget and the loops above.
func (r *run) mayStart(ctx context.Context, s *State) error {
	if !r.nested && r.e.opts.DailyCost <= 0 {
		return nil
	}
	rooms, err := r.e.outerRooms(ctx, *s)
	if err != nil || s.Enforcements().MaxCostUSD == NotMetered {
		return err
	}
	for _, room := range rooms {
		if room.usage.CostUSD <= 0 || room.usage.TotalTokens <= 0 || room.usage.ToolCalls <= 0 {
			return &CapError{Reason: room.reason, Detail: room.detail}
		}
	}
	return nil
}

// refused ends the loop for what mayStart said, or found out during the run that
// account adds to the loop.
func (r *run) refused(cause error, account func(State) State) error {
	capped, isCap := errors.AsType[*CapError](cause)
	over := errors.Is(cause, errParentOver)
	if !isCap && !over {
		return cause
	}
	return r.commit(func(s State) State {
		now := time.Now()
		s.touch(now)
		s = account(s)
		if over && s.Intent.Cancel == nil {
			s.Intent.Cancel = &CancelWish{Reason: CancelParent, Detail: cause.Error()}
		}
		if s.Intent.Cancel != nil {
			return s.cancelled(now)
		}
		return s.outOf(*capped, true, now)
	})
}
