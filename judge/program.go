package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// program is a compiled expression with what a reason needs: programs that give
// the values of the names in it.
type program struct {
	source string
	whole  cel.Program
	uses   map[string]bool // its variables
	named  []part
}

// part is a variable or a field path in the expression: "json.score".
type part struct {
	path string
	eval cel.Program
}

const maxParts = 6

func compile(source string) (*program, error) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, errors.New(`must be a CEL expression that is true or false, such as "score >= 90"`)
	case len(source) > maxSource:
		return nil, fmt.Errorf("has %d bytes, more than the limit of %d: make it simpler, or use a command condition", len(source), maxSource)
	case !utf8.ValidString(source) || strings.ContainsRune(source, 0):
		return nil, errors.New("must be text in UTF-8 without NUL")
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	checked, whole, err := build(env, source)
	if err != nil {
		return nil, err
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("must be true or false, but its type is %s: compare it with something", t)
	}
	p := &program{source: source, whole: whole, uses: make(map[string]bool)}
	for _, path := range paths(checked.NativeRep()) {
		root, _, _ := strings.Cut(path, ".")
		p.uses[root] = true
		if len(p.named) == maxParts {
			continue
		}
		if _, eval, err := build(env, path); err == nil {
			p.named = append(p.named, part{path, eval})
		}
	}
	return p, nil
}

func build(env *cel.Env, source string) (*cel.Ast, cel.Program, error) {
	checked, issues := env.Compile(source)
	if err := issues.Err(); err != nil {
		text := err.Error()
		if strings.Contains(text, "undeclared reference") {
			text += "\nvariables: " + strings.Join(variableNames, ", ")
		}
		if strings.Contains(text, "(double, int)") || strings.Contains(text, "(int, double)") {
			text += "\na double does not go together with a whole number here: write 2.0 for 2"
		}
		return nil, nil, errors.New("is not valid CEL:\n" + text)
	}
	whole, err := env.Program(checked, limits(env)...)
	if err != nil {
		return nil, nil, fmt.Errorf("is not valid CEL: %w", err)
	}
	return checked, whole, nil
}

// paths returns the variables of an expression, with the fields that are taken
// from them, in the order in which they appear.
func paths(checked *ast.AST) []string {
	var found []string
	inner := make(map[int64]bool) // part of a longer path
	ast.PreOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if inner[e.ID()] || e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() {
			return
		}
		var fields []string
		at := e
		for at.Kind() == ast.SelectKind && !at.AsSelect().IsTestOnly() {
			fields = append(fields, at.AsSelect().FieldName())
			at = at.AsSelect().Operand()
			inner[at.ID()] = true
		}
		if at.Kind() != ast.IdentKind || !slices.Contains(variableNames, at.AsIdent()) {
			return
		}
		slices.Reverse(fields)
		if path := strings.Join(append([]string{at.AsIdent()}, fields...), "."); !slices.Contains(found, path) {
			found = append(found, path)
		}
	}))
	return found
}

// values returns " (score 60, pass 2)".
func (p *program) values(ctx context.Context, vars map[string]any) string {
	var shown []string
	for _, n := range p.named {
		value, _, err := n.eval.ContextEval(ctx, vars)
		text := "unknown"
		if err == nil {
			text = show(value)
		}
		shown = append(shown, n.path+" "+text)
	}
	if len(shown) == 0 {
		return ""
	}
	return " (" + strings.Join(shown, ", ") + ")"
}

func (p *program) shown() string { return p.clipped(shownExpr) }

// title says which predicate an error is about, briefly: what went wrong comes
// after it, and a summary shows only the beginning.
func (p *program) title() string { return "predicate " + p.clipped(shownTitle) }

func (p *program) clipped(limit int) string {
	return clip(strings.Join(strings.Fields(p.source), " "), limit)
}

// selfReported is about what decides: a host-counted number beside the worker's
// words does not prove them.
func (p *program) selfReported() bool {
	return slices.ContainsFunc(workersWords, func(name string) bool { return p.uses[name] })
}

// show writes a value for people, clipped.
func show(v ref.Val) string {
	if v.Type() == types.NullType {
		return "null"
	}
	switch x := v.Value().(type) {
	case string:
		if len(x) > shownValue {
			return strconv.Quote(clip(x, shownValue))
		}
		return strconv.Quote(x)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case int64, uint64, bool:
		return fmt.Sprint(x)
	case map[string]any, []any, []string:
		if text, err := json.Marshal(x); err == nil {
			return clip(string(text), shownValue)
		}
	}
	return v.Type().TypeName()
}
