// Package taskstest has tasks without loops: a [Backend] in memory, and the tools that the official
// conformance suite wants of a server with tasks ([Backend.Mount]). They serve the tests of the layer
// and whoever runs that suite; a task of theirs ends with the process.
package taskstest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"time"

	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/mark3labs/mcp-go/mcp"
)

// Backend keeps tasks in memory. Its zero value is ready.
type Backend struct {
	// TTL and Poll are what tasks tell their clients. 0: an hour, a second.
	TTL, Poll time.Duration

	mu      sync.Mutex
	tasks   map[string]*task
	changed chan struct{} // closed at the next change
	running sync.WaitGroup
}

// task is one task and what it is still waiting for.
type task struct {
	tasks.Task
	answers map[string]json.RawMessage
	cancel  context.CancelFunc
	changes int
}

var _ tasks.Backend = (*Backend)(nil)

// Work is what a task does. It returns the result of the call, or the error that fails it.
type Work func(ctx context.Context, ask Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails)

// Ask waits for the client's response to each input. It returns an error when the task is cancelled.
type Ask func(ctx context.Context, inputs map[string]mcp.InputRequest) (map[string]json.RawMessage, error)

// Start begins a task with that id.
func (b *Backend) Start(id string, work Work) tasks.Task {
	ctx, cancel := context.WithCancel(context.Background())
	now := time.Now()
	t := &task{cancel: cancel, answers: map[string]json.RawMessage{}, Task: tasks.Task{
		ID: id, Status: tasks.Working, Message: "at work", CreatedAt: now, UpdatedAt: now, TTL: b.TTL, Poll: b.Poll,
	}}
	if t.TTL == 0 {
		t.TTL = time.Hour
	}
	if t.Poll == 0 {
		t.Poll = time.Second
	}
	b.mu.Lock()
	if b.tasks == nil {
		b.tasks = map[string]*task{}
	}
	b.tasks[id] = t
	started := t.Task
	b.mu.Unlock()
	b.running.Go(func() {
		defer cancel()
		result, failure := work(ctx, func(ctx context.Context, inputs map[string]mcp.InputRequest) (map[string]json.RawMessage, error) {
			return b.ask(ctx, t, inputs)
		})
		b.change(t, func() { t.end(result, failure, ctx.Err() != nil) })
	})
	return started
}

func (t *task) end(result *mcp.CallToolResult, failure *mcp.JSONRPCErrorDetails, cancelled bool) {
	t.Inputs = nil
	switch {
	case cancelled:
		t.Status, t.Message = tasks.Cancelled, "cancelled"
	case failure != nil:
		t.Status, t.Message, t.Error = tasks.Failed, failure.Message, failure
	default:
		t.Status, t.Message, t.Result = tasks.Completed, "done", result
	}
}

// Say changes the message of a task that was started.
func (b *Backend) Say(id, message string) {
	b.mu.Lock()
	t := b.tasks[id]
	b.mu.Unlock()
	b.change(t, func() { t.Message = message })
}

// ask shows inputs until each has its response.
func (b *Backend) ask(ctx context.Context, t *task, inputs map[string]mcp.InputRequest) (map[string]json.RawMessage, error) {
	b.change(t, func() { t.Status, t.Message, t.Inputs = tasks.InputRequired, "waits for input", inputs })
	for {
		b.mu.Lock()
		left, changed := len(t.Inputs), b.wait()
		b.mu.Unlock()
		if left == 0 {
			b.change(t, func() { t.Status, t.Message = tasks.Working, "at work" })
			return t.answers, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// change changes a task that has not ended and tells the watchers.
func (b *Backend) change(t *task, f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.Status.Terminal() {
		return
	}
	f()
	t.UpdatedAt = time.Now()
	t.changes++
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// wait returns what the next change closes. The caller holds the lock.
func (b *Backend) wait() <-chan struct{} {
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

// find returns a task. The caller holds the lock.
func (b *Backend) find(id string) (*task, error) {
	if t := b.tasks[id]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("look for %q: %w", id, tasks.ErrNotFound)
}

// Get returns a task.
func (b *Backend) Get(_ context.Context, id string) (tasks.Task, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, err := b.find(id)
	if err != nil {
		return tasks.Task{}, err
	}
	return t.Task, nil
}

// Update takes the responses to what the task asks for.
func (b *Backend) Update(_ context.Context, id string, responses map[string]json.RawMessage) error {
	b.mu.Lock()
	t, err := b.find(id)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	b.change(t, func() {
		left := make(map[string]mcp.InputRequest, len(t.Inputs))
		for key, input := range t.Inputs {
			if response, has := responses[key]; has {
				t.answers[key] = response
			} else {
				left[key] = input
			}
		}
		t.Inputs = left
	})
	return nil
}

// Cancel ends the work of a task.
func (b *Backend) Cancel(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, err := b.find(id)
	if err == nil {
		t.cancel()
	}
	return err
}

// Watch yields a task after each change.
func (b *Backend) Watch(ctx context.Context, id string) iter.Seq2[tasks.Task, error] {
	return func(yield func(tasks.Task, error) bool) {
		seen := -1
		for ctx.Err() == nil {
			b.mu.Lock()
			t, err := b.find(id)
			if err != nil {
				b.mu.Unlock()
				yield(tasks.Task{}, err)
				return
			}
			now, changes, changed := t.Task, t.changes, b.wait()
			b.mu.Unlock()
			if changes != seen {
				seen = changes
				if !yield(now, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// Close ends all work and waits for it.
func (b *Backend) Close() {
	b.mu.Lock()
	for _, t := range b.tasks {
		t.cancel()
	}
	b.mu.Unlock()
	b.running.Wait()
}
