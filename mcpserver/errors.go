package mcpserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
)

// ErrorKey is where the _meta of an error result has its [ErrorDetail].
const ErrorKey = "loop-mcp/error"

// ErrorDetail is an error result for programs; people and models read the text.
type ErrorDetail struct {
	Code    string       `json:"code"` // "invalid", "not_found", "damaged", "unavailable", "cancelled", "internal", or the code of a refusal
	Message string       `json:"message"`
	Fields  []ErrorField `json:"fields,omitempty"`
	ID      string       `json:"id,omitempty"` // internal: what the log has it under
}

// ErrorField is one field and what is wrong with it.
type ErrorField struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

// Texts in an error are clipped: a client's own megabyte must not come back.
const (
	maxProblem  = 300
	maxProblems = 12
)

// notFoundError is an unknown id and what the client may have meant.
type notFoundError struct {
	id     loops.ID
	recent []loops.ID
}

func (e *notFoundError) Unwrap() error { return loops.ErrNotFound }
func (e *notFoundError) Error() string {
	if len(e.recent) == 0 {
		return fmt.Sprintf("no loop %q; there are none yet: start one with loop_start", e.id)
	}
	names := make([]string, len(e.recent))
	for i, id := range e.recent {
		names[i] = string(id)
	}
	return fmt.Sprintf("no loop %q; the most recent ones are %s, and loop_list shows all", e.id, strings.Join(names, ", "))
}

// explain says how an error is put to a client. ok is false for one that is
// nobody's mistake but ours.
func explain(err error) (d ErrorDetail, ok bool) {
	var refused *loops.RefusedError
	var opening *openError
	fields := loops.FieldErrors(err)
	switch {
	case len(fields) > 0:
		return invalid(fields), true
	case errors.As(err, &refused):
		return ErrorDetail{Code: refused.Code, Message: clip(refused.Error(), 4*maxProblem)}, true
	case errors.Is(err, loops.ErrNotFound):
		return ErrorDetail{Code: "not_found", Message: clip(err.Error(), 4*maxProblem)}, true
	case errors.Is(err, loops.ErrDamaged):
		return ErrorDetail{Code: "damaged", Message: clip(err.Error(), 4*maxProblem) + "; nothing was changed, other loops are not affected"}, true
	case errors.As(err, &opening), errors.Is(err, loops.ErrUnwritable):
		return ErrorDetail{Code: "unavailable", Message: clip(err.Error(), 4*maxProblem)}, true
	case errors.Is(err, loops.ErrUnanswered):
		return ErrorDetail{Code: "unavailable", Message: clip(err.Error(), 4*maxProblem) + "; loops keep their last checkpoint, and the same call can be made again"}, true
	case errors.Is(err, errAnew):
		return ErrorDetail{Code: "unavailable", Message: err.Error()}, true
	case errors.Is(err, loops.ErrClosed):
		return ErrorDetail{Code: "unavailable", Message: "the server is shutting down; loops rest at their checkpoint and can be asked again when it is back"}, true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ErrorDetail{Code: "cancelled", Message: "the call was ended; the loop is not affected"}, true
	}
	return ErrorDetail{}, false
}

func invalid(fields []*loops.FieldError) ErrorDetail {
	d := ErrorDetail{Code: "invalid"}
	var lines []string
	for _, f := range fields {
		one := *f
		one.Problem = clip(one.Problem, maxProblem)
		one.Field = clip(one.Field, maxProblem)
		d.Fields = append(d.Fields, ErrorField{Field: one.Field, Problem: one.Problem})
		if line := one.Error(); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if more := len(lines) - maxProblems; more > 0 {
		d.Fields = d.Fields[:maxProblems]
		lines = append(lines[:maxProblems], fmt.Sprintf("and %d more problems", more))
	}
	d.Message = strings.Join(lines, "; ")
	return d
}

// errorResult is the answer to a call that came to err.
func (t *tools) errorResult(ctx context.Context, tool string, err error) *mcp.CallToolResult {
	if errors.Is(err, loops.ErrClosed) {
		err = t.reopen(ctx, err)
	}
	d, ok := explain(err)
	if !ok {
		d = ErrorDetail{Code: "internal", ID: strings.ToLower(rand.Text()[:6])}
		d.Message = fmt.Sprintf("internal error %s: the server could not carry out %s; its log says more, loops keep their last checkpoint", d.ID, tool)
		t.opts.Logger.ErrorContext(ctx, "tool call", "error_id", d.ID, "tool", tool, "error", err)
	}
	r := mcp.NewToolResultError(d.Message)
	r.Meta = &mcp.Meta{AdditionalFields: map[string]any{ErrorKey: detailMap(d)}}
	return r
}

// detailMap is d as generic JSON, which is what mcp-go's in-process clients
// and its wire form have in common.
func detailMap(d ErrorDetail) map[string]any {
	data, _ := json.Marshal(d)
	var m map[string]any
	_ = json.Unmarshal(data, &m)
	return m
}
