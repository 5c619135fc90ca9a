package tasks

import (
	"context"
	"sync"
)

// offer is what a tools/call and the layer around it have to say to each other.
type offer struct {
	open bool // the client takes a task for an answer

	mu       sync.Mutex
	task     *Task
	required bool
}

type offerKey struct{}

func offerIn(ctx context.Context) *offer {
	o, _ := ctx.Value(offerKey{}).(*offer)
	return o
}

// Offered reports whether the tools/call that ctx belongs to may be answered with a task: its client
// declared that it takes one, on this very request.
func Offered(ctx context.Context) bool {
	o := offerIn(ctx)
	return o != nil && o.open
}

// Accept answers the tools/call that ctx belongs to with t, whatever the tool then returns. The task
// must be durable: from now on everybody may ask the backend for it. Without an open offer the
// tool's own answer stands; see [Offered].
func Accept(ctx context.Context, t Task) {
	if o := offerIn(ctx); o != nil && o.open {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.task = &t
	}
}

// Require refuses the tools/call that ctx belongs to, whatever the tool then returns, with the error
// that tells a client to declare the extension: the tool works as a task only, and [Offered] is
// false.
func Require(ctx context.Context) {
	if o := offerIn(ctx); o != nil && !o.open {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.required = true
	}
}

// outcome is what the tool left.
func (o *offer) outcome() (task *Task, required bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.task, o.required
}
