package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// Backend keeps the tasks. It must be safe for concurrent use. The context is that of the request,
// with what transport and other layers put into it.
//
// Errors: [ErrNotFound]; a [ParamError] for what the client got wrong; an [Error] for what the client
// is to be told in other ways. All others are logged, and the client is told the number of the log
// entry.
type Backend interface {
	// Get returns a task as it stands.
	Get(ctx context.Context, id string) (Task, error)

	// Update hands in responses to what the task asked for, each a JSON object as the client sent it.
	// It ignores keys that are not asked for now. It may return before the task shows the effect.
	Update(ctx context.Context, id string, responses map[string]json.RawMessage) error

	// Cancel asks a task to end. On one that has ended it does nothing and returns nil.
	Cancel(ctx context.Context, id string) error

	// Watch yields a task as it stands, then after each change, until ctx ends or after an error.
	// States that came while nobody took them are left out; the newest is not.
	Watch(ctx context.Context, id string) iter.Seq2[Task, error]
}

// ErrNotFound is returned for a task that is unknown, gone or somebody else's. Which of them it is
// must not show.
var ErrNotFound = errors.New("task not found")

// ParamError says what is wrong with a parameter of a request.
type ParamError struct {
	Param   string // its path below params, such as "inputResponses.q-7.content.answer"
	Problem string // what is wrong and what to do
}

// Error returns both.
func (e *ParamError) Error() string { return fmt.Sprintf("%s: %s", e.Param, e.Problem) }

// Error is a JSON-RPC error for the client as it is.
type Error struct {
	Code    int
	Message string // a sentence
	Data    any    // nil: none
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }
