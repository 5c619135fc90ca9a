package mcpserver

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/mark3labs/mcp-go/mcp"
)

// NewTasks returns the loops of an engine as tasks: the backend of a
// [tasks.Layer] around a server that [New] made. Engine and opts are as there.
//
// A task is a loop that loop_start began for a client that takes tasks for
// answers, with wait_seconds above Options.MaxWait. Its id is the loop's, and a
// secret ([loops.ID.Secret]); so loops with short ids are no tasks, nor are
// those whose worker is the client, which has to be told of every iteration.
//
// Queued, running, waiting and paused loops are working tasks; what a paused one
// waits for is in the message. needs_input is input_required. A loop that has
// settled is a completed task with the snapshot as result, however it ended: a
// limit is an outcome, not a fault of the protocol. A cancelled loop is a
// cancelled task. A task that has ended stays so: of a loop that is moved again
// afterwards, the result shows the snapshot as it is now.
func NewTasks(engine func(context.Context) (*loops.Engine, error), opts *Options) tasks.Backend {
	return newTasks(func(ctx context.Context) (engineAPI, error) { return engine(ctx) }, opts)
}

func newTasks(open func(context.Context) (engineAPI, error), opts *Options) *taskBackend {
	return &taskBackend{toolsFor(open, opts)}
}

type taskBackend struct{ *tools }

// Get returns a loop as a task.
func (b *taskBackend) Get(ctx context.Context, id string) (t tasks.Task, err error) {
	err = b.with(ctx, func(e engineAPI) error {
		s, err := taskLoop(ctx, e, id)
		if err == nil {
			t, err = b.task(e, s)
		}
		return err
	})
	return t, err
}

// Cancel cancels the loop of a task that has not ended.
func (b *taskBackend) Cancel(ctx context.Context, id string) error {
	return b.with(ctx, func(e engineAPI) error {
		s, err := taskLoop(ctx, e, id)
		if err != nil || ended(s.Head()) {
			return err
		}
		_, err = e.Do(ctx, s.ID, loops.Request{Action: loops.CancelIt, By: "client", Message: "tasks/cancel"})
		return err
	})
}

// Watch yields a task as it changes.
func (b *taskBackend) Watch(ctx context.Context, id string) iter.Seq2[tasks.Task, error] {
	return func(yield func(tasks.Task, error) bool) {
		err := b.with(ctx, func(e engineAPI) error {
			if _, err := taskLoop(ctx, e, id); err != nil {
				return err
			}
			for h, err := range e.Watch(ctx, loops.ID(id)) {
				if err != nil {
					return err
				}
				t, err := b.taskAt(ctx, e, h)
				if err != nil || !yield(t, nil) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			yield(tasks.Task{}, err)
		}
	}
}

// with runs f on the engine and puts its error as the layer wants it.
func (b *taskBackend) with(ctx context.Context, f func(engineAPI) error) error {
	e, err := b.peek(ctx) // a store that has to be made has no tasks
	if err == nil {
		err = f(e)
	}
	if errors.Is(err, loops.ErrClosed) {
		err = b.reopen(ctx, err)
	}
	var param *tasks.ParamError
	switch {
	case err == nil || errors.As(err, &param) || errors.Is(err, tasks.ErrNotFound):
		return err
	case errors.Is(err, loops.ErrNotFound), errors.Is(err, errNoLoops):
		return tasks.ErrNotFound
	}
	if d, known := explain(err); known {
		code := mcp.INTERNAL_ERROR
		if refused := (*loops.RefusedError)(nil); errors.As(err, &refused) {
			code = mcp.INVALID_REQUEST
		}
		return &tasks.Error{Code: code, Message: d.Message, Data: detailMap(d)}
	}
	return err
}

// taskLoop returns the loop of a task.
func taskLoop(ctx context.Context, e engineAPI, id string) (loops.State, error) {
	if !loops.ValidID(loops.ID(id)) || !loops.ID(id).Secret() {
		return loops.State{}, tasks.ErrNotFound
	}
	s, err := e.Get(ctx, loops.ID(id))
	if err == nil && s.Origin.Spec.Body.Kind == loops.BodyClient {
		err = tasks.ErrNotFound
	}
	return s, err
}

// ended reports whether the task of a loop has: a loop may be moved again, but
// the call that began it was over.
func ended(h loops.Head) bool { return h.Status.Settled() || h.Epoch > 1 }

// How often a task should be asked for.
const (
	pollBusy = 2 * time.Second // it may change at any time
	pollIdle = 5 * time.Second // it waits for somebody, or for a time
)

// task is a loop as a task.
func (t *tools) task(e engineAPI, s loops.State) (tasks.Task, error) {
	task := t.working(s.Head())
	switch {
	case s.Status == loops.Cancelled && s.Epoch == 1:
		task.Status = tasks.Cancelled
	case ended(s.Head()):
		task.Status = tasks.Completed
		var err error
		task.Result, err = result(t.snapshot(e, s, SnapshotOptions{Limits: true}))
		return task, err
	case asks(s):
		task.Status, task.Inputs = tasks.InputRequired, inputs(s)
		task.Message += " · " + t.snapshot(e, s, SnapshotOptions{}).Next
	case s.Status == loops.Paused:
		task.Message += " · " + t.snapshot(e, s, SnapshotOptions{}).Next
	}
	return task, nil
}

// taskAt is task for a loop that stands at h. One that moves by itself shows
// nothing that only its checkpoint has.
func (b *taskBackend) taskAt(ctx context.Context, e engineAPI, h loops.Head) (tasks.Task, error) {
	if !ended(h) && h.Status != loops.NeedsInput && h.Status != loops.Paused {
		return b.working(h), nil
	}
	s, err := taskLoop(ctx, e, string(h.ID))
	if err != nil {
		return tasks.Task{}, err
	}
	return b.task(e, s)
}

// working is what a task shows in every status.
func (t *tools) working(h loops.Head) tasks.Task {
	task := tasks.Task{
		ID: string(h.ID), Status: tasks.Working, Message: clip(h.Summary, maxSummary), Poll: pollBusy,
		CreatedAt: h.CreatedAt, UpdatedAt: h.UpdatedAt,
	}
	switch h.Status {
	case loops.NeedsInput, loops.Paused, loops.Waiting:
		task.Poll = pollIdle
	}
	if t.opts.Retention > 0 { // which begins when the loop settles
		task.TTL = h.UpdatedAt.Sub(h.CreatedAt).Truncate(time.Millisecond) + t.opts.Retention
	}
	return task
}

// Update records what the person at the client decided.
func (b *taskBackend) Update(ctx context.Context, id string, responses map[string]json.RawMessage) error {
	return b.with(ctx, func(e engineAPI) error {
		s, err := taskLoop(ctx, e, id)
		if err != nil || ended(s.Head()) || !asks(s) {
			return err
		}
		r, err := word(s, responses)
		if err != nil || r.Action == "" {
			return err
		}
		_, err = e.Do(ctx, s.ID, r)
		if refused, ok := errors.AsType[*loops.RefusedError](err); ok && (refused.Code == "wrong_status" || refused.Code == "stale_attention") {
			return nil // somebody was faster
		}
		return err
	})
}

// word is what the person said to what the loop asks. Without an action: nothing.
func word(s loops.State, responses map[string]json.RawMessage) (loops.Request, error) {
	for _, key := range slices.Sorted(maps.Keys(responses)) {
		if about, _, _ := strings.Cut(key, "."); about != s.Attention.ID {
			continue
		}
		var result mcp.ElicitationResult
		if err := json.Unmarshal(responses[key], &result); err != nil {
			return loops.Request{}, &tasks.ParamError{Param: "inputResponses." + key, Problem: "must be the result of " + string(mcp.MethodElicitationCreate) + ": " + err.Error()}
		}
		r, err := Reply(s, &result)
		switch {
		case errors.Is(err, errNobody): // the loop goes on waiting
			return loops.Request{}, nil
		case err != nil:
			return loops.Request{}, &tasks.ParamError{Param: "inputResponses." + key, Problem: err.Error()}
		}
		return r, nil
	}
	return loops.Request{}, nil
}

// inputs asks the person at the client. The key is of this very question: when
// what it shows has changed, it is another one for clients that compare.
func inputs(s loops.State) map[string]mcp.InputRequest {
	q, ok := Question(s)
	if !ok {
		return nil
	}
	q.Mode = mcp.ElicitationModeForm
	sum := sha256.Sum256([]byte(q.Message))
	return map[string]mcp.InputRequest{fmt.Sprintf("%s.%x", s.Attention.ID, sum[:4]): mcp.NewElicitationInputRequest(q)}
}
