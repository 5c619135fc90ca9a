package tasks

import (
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// Extension is the key of the extension in capabilities.
const Extension = "io.modelcontextprotocol/tasks"

// Status is how a task stands.
type Status string

// The statuses. A task in one of the last three never changes again.
const (
	Working       Status = "working"
	InputRequired Status = "input_required" // Task.Inputs says what
	Completed     Status = "completed"      // Task.Result has the result, also one with isError
	Failed        Status = "failed"         // Task.Error has the JSON-RPC error
	Cancelled     Status = "cancelled"
)

// Terminal reports whether the status is final.
func (s Status) Terminal() bool { return s == Completed || s == Failed || s == Cancelled }

// Task is a tool call that goes on after its answer.
type Task struct {
	ID        string
	Status    Status
	Message   string // one line for people and models; may be empty
	CreatedAt time.Time
	UpdatedAt time.Time
	TTL       time.Duration // from creation on, how long it is kept at least; 0: for ever
	Poll      time.Duration // how often to ask; 0: left to the client

	Result *mcp.CallToolResult         // completed: what the call would have been answered with
	Error  *mcp.JSONRPCErrorDetails    // failed
	Inputs map[string]mcp.InputRequest // input_required: by a key that never means another request of this task
}

// seed is the task as the answer to the call that made it.
func (t Task) seed() map[string]any {
	m := map[string]any{
		"taskId": t.ID, "status": t.Status, "ttlMs": nil,
		"createdAt": stamp(t.CreatedAt), "lastUpdatedAt": stamp(t.UpdatedAt),
	}
	if t.Message != "" {
		m["statusMessage"] = t.Message
	}
	if t.TTL > 0 {
		m["ttlMs"] = t.TTL.Milliseconds()
	}
	if t.Poll > 0 {
		m["pollIntervalMs"] = t.Poll.Milliseconds()
	}
	return m
}

// detail is the task with what its status brings.
func (t Task) detail() map[string]any {
	m := t.seed()
	switch t.Status {
	case Completed:
		m["result"] = completed(t.Result)
	case Failed:
		m["error"] = t.Error
	case InputRequired:
		m["inputRequests"] = t.Inputs
	case Working, Cancelled:
	}
	return m
}

// completed is a result as clients of this protocol read one: with a type.
func completed(r *mcp.CallToolResult) *mcp.CallToolResult {
	if r == nil {
		r = &mcp.CallToolResult{Content: []mcp.Content{}}
	}
	out := *r
	out.ResultType = mcp.ResultTypeComplete
	return &out
}

// shownTo leaves out what a client with these capabilities can't be asked.
func (t Task) shownTo(caps mcp.ClientCapabilities) Task {
	if t.Status != InputRequired {
		return t
	}
	shown := make(map[string]mcp.InputRequest, len(t.Inputs))
	for key, input := range t.Inputs {
		if asks(caps, input) {
			shown[key] = input
		}
	}
	t.Inputs = shown
	if len(shown) == 0 {
		t.Status = Working
	}
	return t
}

// asks reports whether a client can be asked for the input. One that names no mode of elicitation
// has forms.
func asks(caps mcp.ClientCapabilities, input mcp.InputRequest) bool {
	switch e := caps.Elicitation; {
	case input.Method == mcp.MethodSamplingCreateMessage:
		return caps.Sampling != nil
	case input.Method == mcp.MethodListRoots:
		return caps.Roots != nil
	case e == nil || input.Elicitation == nil:
		return false
	case input.Elicitation.Mode == mcp.ElicitationModeURL:
		return e.URL != nil
	default:
		return e.Form != nil || e.URL == nil
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
