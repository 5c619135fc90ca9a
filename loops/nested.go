package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Loops below loops, and the day's budget: what lies outside one loop's record.
// A loop that was started below the body of another draws on that one's ledger:
// see handup.go.

// The bounds of nesting.
const (
	maxDepth    = 8
	maxChildren = 200
)

// errParentOver means that the loop above has settled: this one ends with it.
var errParentOver = errors.New("the loop above it has ended")

// outerRooms are what the loops above and the day leave for a call of s.
func (e *Engine) outerRooms(ctx context.Context, s State) ([]room, error) {
	var rooms []room
	child := s
	for up := s.Origin.Parent; up != ""; {
		p, err := e.store.Load(ctx, up)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			break // it lives in another store, or nobody can tell any more
		}
		if err != nil {
			return nil, fmt.Errorf("the loop above %s: %w", child.ID, err)
		}
		if p.Status.Settled() {
			return nil, fmt.Errorf("%s is %s: %w", p.ID, p.Status, errParentOver)
		}
		rooms = append(rooms, room{usage: p.free(RoleChild), reason: CapParent, detail: p.noRoomForChild()})
		child, up = p, p.Origin.Parent
	}
	if e.opts.DailyCost <= 0 {
		return rooms, nil
	}
	d, err := e.today(ctx)
	if err != nil {
		return nil, err
	}
	return append(rooms, room{usage: Usage{TotalTokens: math.MaxInt64, ToolCalls: math.MaxInt64, CostUSD: e.opts.DailyCost - d.total()},
		reason: CapDailyCost, detail: fmt.Sprintf("daily_cost_usd: %s of %s used today (UTC) by all loops", d.total(), e.opts.DailyCost)}), nil
}

func (s State) noRoomForChild() string {
	used := s.Ledger.Usage.Plus(s.aside())
	return fmt.Sprintf("the parent loop %s has too little left: %s of %s, %d of %d tokens, %d of %d tool calls used or set aside", s.ID,
		used.CostUSD, s.Limits.MaxCostUSD, used.TotalTokens, s.Limits.MaxTotalTokens, used.ToolCalls, s.Limits.MaxToolCalls)
}

// reserveToday sets aside for the day what was just set aside for g. When somebody
// was faster there, it gives a *CapError.
func (r *run) reserveToday(ctx context.Context, g Grant) error {
	s := r.state()
	var amount USD
	for _, set := range s.Reserved {
		if set.ID == g.ID {
			amount = set.Usage.CostUSD
		}
	}
	return r.e.changeDayInTime(ctx, func(d *day) error {
		if amount > 0 && d.total()+amount > r.e.opts.DailyCost {
			return &CapError{Reason: CapDailyCost, Detail: fmt.Sprintf("daily_cost_usd: %s of %s used today (UTC) by all loops", d.total(), r.e.opts.DailyCost)}
		}
		if amount > 0 {
			d.Aside[s.dayKey(g)] = amount
		}
		return nil
	})
}

// settleToday does the same for a call that has come to its end.
func (r *run) settleToday(ctx context.Context, g Grant, cost USD, unknown bool) error {
	s := r.state()
	return r.e.changeDayInTime(ctx, func(d *day) error {
		aside, ok := d.Aside[s.dayKey(g)]
		if unknown && ok {
			cost = aside
		}
		delete(d.Aside, s.dayKey(g))
		d.Spent = USD(addUp(int64(d.Spent), int64(cost)))
		return nil
	})
}

func (s State) dayKey(g Grant) string { return string(s.ID) + "/" + g.ID }

// reportToday counts for the day what a body or a condition reports at its end,
// before it is committed: a crash in between is then on the safe side.
func (r *run) reportToday(u Usage) error {
	if u == (Usage{}) || u.Validate() != nil {
		return nil
	}
	ctx, cancel := r.lasting()
	defer cancel()
	return untilRoom(ctx, func() error { return r.e.spendToday(ctx, u.CostUSD) })
}

// mayNest refuses a child of a loop that has ended, that is nested too deep, or
// that has too many.
func (e *Engine) mayNest(ctx context.Context) error {
	up := e.opts.Parent
	for depth := 1; up != ""; depth++ {
		p, err := e.store.Load(ctx, up)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the loop above: %w", err)
		}
		switch {
		case depth == 1 && p.Status.Settled():
			return &RefusedError{Code: "parent_over", Problem: fmt.Sprintf("%s, below whose body this process runs, is %s", p.ID, p.Status), Remedy: "end this process"}
		case depth == 1 && len(p.Children) >= maxChildren:
			return &RefusedError{Code: "too_many_children", Problem: fmt.Sprintf("%s has started %d loops below itself", p.ID, maxChildren), Remedy: "continue one of them (loop_list shows them)"}
		case depth >= maxDepth:
			return &RefusedError{Code: "nested_too_deep", Problem: fmt.Sprintf("a loop may stand below at most %d others", maxDepth), Remedy: "do the work here"}
		}
		up = p.Origin.Parent
	}
	return nil
}

// ownerBelow is who owns a loop that this process starts on behalf of owner: the
// owner of the loop above, where there is one.
func (e *Engine) ownerBelow(ctx context.Context, owner string) (string, error) {
	if e.opts.Parent == "" {
		return owner, nil
	}
	p, err := e.store.Load(ctx, e.opts.Parent)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return owner, nil
	}
	if err != nil {
		return "", fmt.Errorf("the loop above: %w", err)
	}
	return firstOf(p.Origin.Owner, owner), nil
}

// endChildren cancels what was started below a loop that has settled.
func (e *Engine) endChildren(ctx context.Context, s State) error {
	if !s.Status.Settled() || len(s.Children) == 0 {
		return nil
	}
	var problems []error
	for child := range s.Children {
		_, err := e.do(ctx, child, Request{Action: CancelIt, By: "parent", Message: fmt.Sprintf("the loop above it, %s, is %s", s.ID, s.Status)})
		if err != nil && !errors.Is(err, ErrNotFound) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// endOrphans cancels the loops whose parent settled while no process was there
// to end them.
func (e *Engine) endOrphans(ctx context.Context) error {
	parents := map[ID]ID{} // of the live loops that have one
	settled := map[ID]Status{}
	err := scan(ctx, e.store, func(h *Head) {
		if h.Status.Settled() {
			settled[h.ID] = h.Status
		} else if h.Parent != "" {
			parents[h.ID] = h.Parent
		}
	})
	if err != nil {
		return fmt.Errorf("look for loops whose parent has ended: %w", err)
	}
	var problems []error
	for id, parent := range parents {
		if above, ended := settled[parent]; ended {
			_, err := e.do(ctx, id, Request{Action: CancelIt, By: "parent", Message: fmt.Sprintf("the loop above it, %s, is %s", parent, above)})
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// day is what all loops of the store spend on one day, in UTC.
type day struct {
	Spent USD            `json:"spent"`
	Aside map[string]USD `json:"aside"` // by loop and call; stays when a crash leaves the outcome unknown
}

// maxAside bounds the calls that a day's record lists.
const maxAside = 1000

func (d day) total() USD {
	sum := d.Spent
	for _, a := range d.Aside {
		sum = USD(addUp(int64(sum), int64(a)))
	}
	return sum
}

func dayRecord(now time.Time) string { return "daily." + now.UTC().Format(time.DateOnly) }

func (e *Engine) today(ctx context.Context) (d day, err error) {
	err = e.changeDay(ctx, func(now *day) error {
		d = *now
		return errOnlyRead
	})
	if errors.Is(err, errOnlyRead) {
		err = nil
	}
	return d, err
}

var errOnlyRead = errors.New("only read")

// spendToday adds what was reported after the fact.
func (e *Engine) spendToday(ctx context.Context, cost USD) error {
	if cost <= 0 {
		return nil
	}
	return e.changeDay(ctx, func(d *day) error {
		d.Spent = USD(addUp(int64(d.Spent), int64(cost)))
		return nil
	})
}

// changeDayInTime is changeDay for a worker: it waits until there is room.
func (e *Engine) changeDayInTime(ctx context.Context, change func(*day) error) error {
	return untilRoom(ctx, func() error { return e.changeDay(ctx, change) })
}

// changeDay changes the record of today. Without a daily limit there is none.
func (e *Engine) changeDay(ctx context.Context, change func(*day) error) error {
	if e.opts.DailyCost <= 0 {
		return nil
	}
	err := e.store.Update(ctx, dayRecord(time.Now()), func(old []byte) ([]byte, error) {
		var d day
		if old != nil {
			if err := json.Unmarshal(old, &d); err != nil {
				return nil, fmt.Errorf("the record of what was spent today is not readable: %w", err)
			}
		}
		if d.Aside == nil {
			d.Aside = map[string]USD{}
		}
		if err := change(&d); err != nil {
			return nil, err
		}
		if len(d.Aside) > maxAside { // crashes left them: they count as spent for good
			d = day{Spent: d.total()}
		}
		return json.Marshal(d)
	})
	if err != nil && !errors.Is(err, errOnlyRead) {
		if _, capped := errors.AsType[*CapError](err); !capped {
			return fmt.Errorf("the day's budget: %w", err)
		}
	}
	return err
}
