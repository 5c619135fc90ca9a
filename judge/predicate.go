package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"example.com/loop-mcp/loops"
)

var (
	_ loops.StopCondition = (*Predicate)(nil)
	_ loops.Checker       = (*Predicate)(nil)
)

const (
	maxSource  = 4 << 10                // bytes of an expression
	maxText    = 8 << 20                // bytes of a text that an expression may look at
	maxTime    = 250 * time.Millisecond // of one evaluation
	maxCached  = 256                    // compiled expressions
	shownValue = 80                     // bytes of a value in a reason
	shownTitle = 60                     // bytes of the expression in an error
	shownExpr  = 200                    // bytes of the expression in a reason
)

// Predicate is met when a CEL expression is true (kind "predicate"); see the
// package documentation for what it sees. The zero value is ready.
//
// An expression that fails on the evidence (a key that is not there, a division
// by zero, too much work) is an error of Judge, not a verdict.
type Predicate struct {
	mu    sync.Mutex
	cache map[string]*program
}

// Judge evaluates the expression on e.
func (p *Predicate) Judge(ctx context.Context, e loops.Evidence) (loops.Verdict, error) {
	prog, err := p.program(e.Config)
	if err != nil {
		return loops.Verdict{}, err
	}
	vars, err := variables(e, prog.uses)
	if err != nil {
		return loops.Verdict{}, fmt.Errorf("%s: %w", prog.title(), err)
	}
	limited, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	value, _, err := prog.whole.ContextEval(limited, vars)
	if ctx.Err() != nil {
		return loops.Verdict{}, context.Cause(ctx)
	}
	if err != nil {
		return loops.Verdict{}, fmt.Errorf("%s: %w", prog.title(), explain(limited, err))
	}
	met, ok := value.(types.Bool)
	if !ok {
		return loops.Verdict{}, fmt.Errorf("%s: must be true or false, is %s", prog.title(), show(value))
	}
	v := loops.Verdict{
		Iteration: e.Iteration, Pass: e.Pass, Kind: loops.StopPredicate,
		Met:          bool(met),
		Reason:       fmt.Sprintf("%s is %t%s", prog.shown(), met, prog.values(limited, vars)),
		SelfReported: prog.selfReported(),
		Fingerprint:  digest(e.Output),
	}
	if !v.Met {
		v.Feedback = "Not there yet: " + v.Reason
	}
	return v, nil
}

// Check compiles the expression. Problems carry CEL's own message, which points
// at the place.
func (p *Predicate) Check(s loops.Setup) error {
	_, err := p.program(s.Config)
	return err
}

func (p *Predicate) program(config json.RawMessage) (*program, error) {
	var c loops.Condition
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, &loops.FieldError{Problem: fmt.Sprintf("the predicate's settings are not readable: %v", err)}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.cache[c.Expression]; known != nil {
		return known, nil
	}
	made, err := compile(c.Expression)
	if err != nil {
		return nil, &loops.FieldError{Field: "expression", Problem: err.Error()}
	}
	if p.cache == nil || len(p.cache) >= maxCached {
		p.cache = make(map[string]*program)
	}
	p.cache[c.Expression] = made
	return made, nil
}

// explain turns what CEL says about its limits into something to act on.
func explain(ctx context.Context, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "cost limit exceeded"), strings.Contains(text, "memory limit exceeded"), errors.Is(err, errTooMuch):
		return fmt.Errorf("%w: make it simpler, let the body print less, or use a command condition", err)
	case ctx.Err() != nil:
		return fmt.Errorf("it took longer than %v: make it simpler, or use a command condition", maxTime)
	case strings.HasPrefix(text, "no such key"):
		return fmt.Errorf("%w: for a key that may be missing write .?key.orValue(…)", err)
	case strings.HasPrefix(text, "no such overload"):
		return fmt.Errorf("%w: a value has another type than the expression expects, or is null", err)
	}
	return err
}

// variables builds what the expression sees. Only what it uses is parsed.
func variables(e loops.Evidence, uses map[string]bool) (map[string]any, error) {
	vars := map[string]any{
		"output": e.Output, "history": e.History, "iteration": e.Iteration, "pass": e.Pass,
		"usage": usageOf(e.Ledger), "limits": limitsOf(e.Limits), "inputs": e.Inputs,
		"elapsed_seconds": e.Elapsed.Seconds(), "score": nil, "json": nil, "memory": nil,
	}
	if e.Inputs == nil {
		vars["inputs"] = map[string]any{}
	}
	if e.Score != nil {
		vars["score"] = *e.Score
	}
	for name, text := range map[string]string{"output": e.Output, "json": e.Output, "memory": string(e.Memory)} {
		if uses[name] && len(text) > maxText {
			return nil, fmt.Errorf("%s has %d bytes, more than the %d MiB that a predicate can look at: let the body print less, or use a command condition", name, len(text), maxText>>20)
		}
	}
	for i, text := range e.History {
		if uses["history"] && len(text) > maxText {
			return nil, fmt.Errorf("history[%d] has %d bytes, more than the %d MiB that a predicate can look at: let the body print less, or use a command condition", i, len(text), maxText>>20)
		}
	}
	if uses["json"] {
		vars["json"] = parse(e.Output)
	}
	if uses["memory"] {
		vars["memory"] = parse(string(e.Memory))
	}
	return vars, nil
}

// parse returns the value of a JSON text, nil for any other.
func parse(text string) any {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return nil
	}
	return v
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}
