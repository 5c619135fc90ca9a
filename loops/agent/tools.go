package agent

import (
	"context"
	"encoding/json"
	"errors"

	"example.com/loop-mcp/loops"
)

// Toolbox opens the tools of other programs for a loop. Safe for concurrent use.
type Toolbox interface {
	// Check says what is wrong with patterns before anything runs: a server that
	// is not configured, a pattern that can't match. It starts nothing.
	Check(patterns []string) error
	// Open returns the tools that patterns let a loop use, working in dir. The
	// same loop gets the same session until Rest.
	Open(ctx context.Context, loop loops.ID, dir string, patterns []string) (Session, error)
	// Rest is told when this process stops working on a loop. What runs for it
	// ends, at once or, while the loop only waits for time, when it stays unused.
	Rest(loop loops.ID, status loops.Status)
}

// Session is the tools of one loop.
type Session interface {
	// Tools lists them, sorted by name, the same list as long as the servers
	// offer the same.
	Tools() []Tool
	// Call runs a tool. A tool that says it failed gives an Outcome with Error
	// set and a nil error. An error means that the server did not answer: wrap
	// of [ErrNotSent] when the tool can't have run, else its outcome is unknown.
	Call(ctx context.Context, name string, args json.RawMessage) (Outcome, error)
}

// Tool is one of them, as its server describes it.
type Tool struct {
	Name        string // server__tool, [a-zA-Z0-9_-]{1,64}
	Description string
	Schema      json.RawMessage // of its arguments
	ReadOnly    bool            // changes nothing
	Idempotent  bool            // twice is the same as once
	Destructive bool
	Approve     bool      // the operator wants a person to approve each call
	Price       loops.USD // for each call
}

// Repeatable reports whether a call whose outcome is unknown may be made again.
func (t Tool) Repeatable() bool { return t.ReadOnly || t.Idempotent }

// Outcome is what a tool gave back.
type Outcome struct {
	Text  string // the whole of it
	Error bool   // the tool says that it failed
}

// ErrNotSent is wrapped by the error of a call that never reached its server.
var ErrNotSent = errors.New("the tool was not called")
