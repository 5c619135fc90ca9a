package main

import (
	"errors"
	"fmt"

	"example.com/loop-mcp/loops"
)

// The exit codes that scripts rely on.
const (
	exitCompleted   = 0
	exitProblem     = 1
	exitUsage       = 2
	exitCapped      = 3
	exitStalled     = 4 // or blocked
	exitCancelled   = 5
	exitWaits       = 6 // for a person or a client
	exitNoLoop      = 7
	exitFailed      = 8
	exitInterrupted = 130
)

// exitError ends the program with a code. A nil err prints nothing: everything
// has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// codeOf is the exit code of an error.
func codeOf(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return exitCompleted
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, loops.ErrNotFound):
		return exitNoLoop
	case errors.Is(err, loops.ErrInvalid):
		return exitUsage
	}
	return exitProblem
}

// codeOfStatus is the exit code of a command that worked on a loop until it
// came to this status.
func codeOfStatus(s loops.Status) int {
	switch s {
	case loops.Completed:
		return exitCompleted
	case loops.Capped:
		return exitCapped
	case loops.Stalled, loops.Blocked:
		return exitStalled
	case loops.Cancelled:
		return exitCancelled
	case loops.Failed:
		return exitFailed
	default:
		return exitWaits
	}
}
