package mcpserver

import (
	"context"
	"math"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// The rhythm of progress. Three notifications a second leave room for a last
// one that does not wait, which makes at most four in any second.
const (
	pace      = 334 * time.Millisecond // between notifications
	heartbeat = 10 * time.Second       // longest silence
	quiet     = 20 * time.Millisecond  // between the last notification and the answer: the TypeScript SDK drops progress that arrives together with it
)

// notify sends one progress notification.
type notify func(progress, total float64, message string)

// notifier returns what sends progress for a call, or nil when the client did
// not ask for it.
func notifier(ctx context.Context, r mcp.CallToolRequest) notify {
	if r.Params.Meta == nil || r.Params.Meta.ProgressToken == nil {
		return nil
	}
	token, s := r.Params.Meta.ProgressToken, server.ServerFromContext(ctx)
	if s == nil {
		return nil
	}
	return func(progress, total float64, message string) {
		params := map[string]any{"progressToken": token, "progress": progress, "message": message}
		if total > 0 {
			params["total"] = total
		}
		// A client without a session, or one that does not read, goes without:
		// the answer tells the same.
		_ = s.SendNotificationToClient(ctx, string(mcp.MethodNotificationProgress), params)
	}
}

// meter turns the changes of a loop into progress notifications while one call
// waits: the newest change wins, at most four notifications a second, one every
// ten seconds when nothing happens, the last change always, and none within 20
// ms before the call's answer.
//
// progress is the number of committed iterations plus a fraction that grows
// with every event and heartbeat; it rises strictly. total is the limit in
// passes as long as every iteration ended one, else the limit in iterations.
type meter struct {
	send notify
	wake chan struct{}
	quit chan struct{}
	done chan struct{}

	mu     sync.Mutex // guards newest and fresh
	newest loops.Head
	fresh  bool // newest has not been sent

	// Owned by run, and by stop when run has ended.
	sentAt    time.Time
	last      float64
	iteration int    // the one that base belongs to
	base      uint64 // cursor at its begin
}

// newMeter starts a meter; stop ends it. now is how the loop stands, which the
// client knows or is about to learn: it is not sent by itself.
func newMeter(send notify, now loops.Head) *meter {
	m := &meter{
		send: send, newest: now, last: -1, iteration: now.Iteration, base: now.Cursor,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go m.run()
	return m
}

//go:noinline
func meterOf(send notify, s *loops.State) *meter { return newMeter(send, s.Head()) }

//go:noinline
func (m *meter) end(ctx context.Context, s *loops.State) { m.stop(ctx, s.Head()) }

// see tells the meter of a newer head. It never blocks.
func (m *meter) see(h loops.Head) {
	m.mu.Lock()
	newer := h.Cursor > m.newest.Cursor || h.Cursor == m.newest.Cursor && h.Summary != m.newest.Summary
	if newer {
		m.newest, m.fresh = h, true
	}
	m.mu.Unlock()
	if newer {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// stop sends what has not been sent, waits until it is old enough for the
// answer to follow, and ends the meter.
func (m *meter) stop(ctx context.Context, final loops.Head) {
	m.see(final)
	close(m.quit)
	<-m.done
	if m.fresh {
		m.emit()
	}
	if rest := quiet - time.Since(m.sentAt); rest > 0 {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
	}
}

func (m *meter) run() {
	defer close(m.done)
	beat := time.NewTimer(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-m.wake:
			if rest := pace - time.Since(m.sentAt); rest > 0 && !m.rest(rest) {
				return
			}
		case <-beat.C:
		case <-m.quit:
			return
		}
		m.emit()
		beat.Reset(heartbeat)
	}
}

// rest reports whether it could rest for d undisturbed.
func (m *meter) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-m.quit:
		return false
	}
}

func (m *meter) emit() {
	m.mu.Lock()
	h := m.newest
	m.fresh = false
	m.mu.Unlock()
	total := totalOf(h)
	m.last = m.value(h, total)
	m.sentAt = time.Now()
	m.send(m.last, total, h.Summary)
}

func (m *meter) value(h loops.Head, total float64) float64 {
	if h.Iteration > m.iteration {
		m.iteration, m.base = h.Iteration, h.Cursor
	}
	steps := float64(h.Cursor-m.base) + 1
	v := float64(h.Iteration) + steps/(steps+8)
	if v > total && m.last < total && float64(h.Iteration) <= total {
		// The last iteration is done and its verdict is not: short of the total.
		v = total - (total-math.Max(m.last, total-1))*0.9
	}
	if v <= m.last { // a heartbeat
		v = m.last + (math.Floor(m.last)+1-m.last)/16
	}
	return v
}

// totalOf is the limit that the loop runs towards. An iteration whose pass is
// being judged will have ended one.
func totalOf(h loops.Head) float64 {
	passes := h.Ledger.Passes
	if h.Phase == loops.PhaseConditions || h.Status == loops.NeedsInput || h.Status == loops.Paused {
		passes++
	}
	if h.Ledger.Iterations <= passes {
		return float64(min(h.Limits.MaxPasses, h.Limits.MaxIterations))
	}
	return float64(h.Limits.MaxIterations)
}
