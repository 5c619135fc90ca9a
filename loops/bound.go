package loops

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// The causes with which the engine itself ends a body.
var (
	errIterationTime = fmt.Errorf("iteration_timeout: %w", context.DeadlineExceeded)
	errActiveTime    = fmt.Errorf("max_active: %w", context.DeadlineExceeded)
	errDurationTime  = fmt.Errorf("max_duration: %w", context.DeadlineExceeded)
)

// abandonAfter is how long a body may ignore the end of its context before the
// worker goes on without it.
const abandonAfter = 5 * time.Second

// abandonNow is the same for a cancel at once.
const abandonNow = time.Second

// remaining is what the limits in time look at.
type remaining struct {
	limits  Limits
	elapsed Duration
	active  time.Duration
	body    bool // else conditions, which have no limit of their own
}

func (s *State) remaining(body bool) remaining {
	return remaining{limits: s.Limits, elapsed: s.Elapsed, active: s.Ledger.active(), body: body}
}

// left is the time that the limits leave a body or the conditions, and the cause
// with which it ends.
func (m remaining) left() (time.Duration, error) {
	limit, cause := time.Duration(m.limits.MaxDuration-m.elapsed), errDurationTime
	if active := time.Duration(m.limits.MaxActive) - m.active; active < limit {
		limit, cause = active, errActiveTime
	}
	if t := time.Duration(m.limits.IterationTimeout); m.body && t < limit {
		limit, cause = t, errIterationTime
	}
	return limit, cause
}

// bound ends a context when the time that the limits leave is over. The limits
// are then read again: somebody may have raised them meanwhile.
type bound struct {
	r     *run
	ctx   context.Context
	end   context.CancelCauseFunc
	began time.Time
	remaining
	alarm *time.Timer // most starts need no goroutine
	over  sync.WaitGroup
}

// bounded limits ctx to the time that the limits leave. The caller stops it.
func (r *run) bounded(ctx context.Context, s *State, body bool) *bound {
	b := &bound{r: r, began: time.Now(), remaining: s.remaining(body)}
	b.ctx, b.end = context.WithCancelCause(ctx)
	limit, _ := b.left()
	b.over.Add(1)
	b.alarm = time.AfterFunc(limit, b.ring)
	return b
}

func (b *bound) ring() {
	defer b.over.Done()
	for {
		_, cause := b.left()
		newest, err := b.r.e.store.Load(b.ctx, b.r.claimed)
		if err != nil || newest.Limits == b.limits {
			b.end(cause)
			return
		}
		b.limits = newest.Limits
		limit, _ := b.left()
		if !sleep(b.ctx, limit-time.Since(b.began)) {
			return
		}
	}
}

// stop ends the watch and waits for it.
func (b *bound) stop() {
	b.end(context.Canceled)
	if !b.alarm.Stop() {
		b.over.Wait()
	}
}

// call is one call of a body.
type call struct {
	ctx    context.Context
	body   Body
	turn   Turn
	result Result
	err    error
	over   chan struct{} // closes when result and err are there
}

func (c *call) do() {
	defer close(c.over)
	defer func() {
		if p := recover(); p != nil {
			c.result, c.err = Result{}, fmt.Errorf("the body panicked: %v\n%s", p, clip(string(debug.Stack()), 4<<10))
		}
	}()
	c.result, c.err = c.body.Run(c.ctx, c.turn)
}

// runBody calls the body, turns a panic into an error and does not wait for
// ever for one that ignores its context.
func runBody(ctx context.Context, b Body, t Turn) (Result, error) {
	c := &call{ctx: ctx, body: b, turn: t, over: make(chan struct{})}
	go c.do()
	select {
	case <-c.over:
		return c.result, c.err
	case <-ctx.Done():
	}
	patience := abandonAfter
	if errors.Is(context.Cause(ctx), ErrCancelNow) {
		patience = abandonNow
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-c.over:
		return c.result, c.err
	case <-late.C:
		return Result{}, fmt.Errorf("the body did not stop within %s after its time was over; it was left behind", patience)
	}
}
