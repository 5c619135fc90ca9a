package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/modelcall"
)

var (
	_ loops.Body    = (*Body)(nil)
	_ loops.Checker = (*Body)(nil)
	_ loops.Rester  = (*Body)(nil)
	_ loops.Ender   = (*Body)(nil)
)

// Body is the body of the kind agent. Its fields do not change once it is in
// use; it is safe for concurrent use.
type Body struct {
	Book  modelcall.Book // finds the models that loops have pinned
	Tools Toolbox        // nil: agents have the built-in tools alone

	cache cache
}

// Check implements [loops.Checker]: the pinned model is one of this process, the
// patterns can match, the history is known. What the model's name stands for was
// found out before, or its problem told.
func (b *Body) Check(s loops.Setup) error {
	var spec loops.BodySpec
	if err := json.Unmarshal(s.Config, &spec); err != nil {
		return fmt.Errorf("read the body's fields: %w", err)
	}
	var problems []error
	if id := s.Models[spec.Model]; id != "" || s.Claim {
		if _, err := b.Book.Open(spec.Model, id); err != nil {
			problems = append(problems, field("model", err))
		}
	}
	switch {
	case len(spec.Tools) == 0:
	case b.Tools == nil:
		problems = append(problems, &loops.FieldError{Field: "tools", Problem: "no MCP servers are configured here; add mcp_servers to the configuration"})
	default:
		if err := b.Tools.Check(spec.Tools); err != nil {
			problems = append(problems, field("tools", err))
		}
	}
	if words := []string{"", loops.HistoryFresh, loops.HistoryAll}; !slices.Contains(words, spec.History) {
		problems = append(problems, &loops.FieldError{Field: "history", Problem: fmt.Sprintf("must be fresh or all, got %q", spec.History)})
	}
	return errors.Join(problems...)
}

// field names the field of an error that names none.
func field(name string, err error) error {
	if len(loops.FieldErrors(err)) > 0 {
		return err
	}
	return &loops.FieldError{Field: name, Problem: err.Error()}
}

// Rest implements [loops.Rester]: the loop's tools rest too.
func (b *Body) Rest(id loops.ID, status loops.Status) {
	b.cache.drop(id)
	if b.Tools != nil {
		b.Tools.Rest(id, status)
	}
}

// EndLeftovers implements [loops.Ender] where the toolbox does.
func (b *Body) EndLeftovers(id loops.ID, dir string) {
	if e, ok := b.Tools.(loops.Ender); ok {
		e.EndLeftovers(id, dir)
	}
}

// Run implements [loops.Body].
func (b *Body) Run(ctx context.Context, t loops.Turn) (loops.Result, error) {
	w, err := b.open(ctx, t)
	if err != nil {
		return loops.Result{}, err
	}
	result, err := w.run(ctx)
	if err != nil {
		return loops.Result{}, err
	}
	w.mem.committed()
	result.Memory, err = w.mem.encode(ctx, w.keep)
	return *result, err
}
