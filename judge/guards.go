package judge

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

var errTooMuch = errors.New("would take too much work or memory")

const (
	maxResult  = 20 << 20    // bytes of a text that a call makes
	maxWork    = 200_000_000 // elementary steps of one call
	maxPattern = 4 << 10     // bytes of a regular expression that is made at run time
)

// estimates give the work of a call whose cost CEL counts only when it is over,
// although the work is a product of its arguments. Arguments of other types
// than expected give 0: the call itself refuses them.
var estimates = map[string]func(args []ref.Val) int{
	"replace":               replacing,
	"join":                  joining,
	"split":                 splitting,
	"indexOf":               searching,
	"lastIndexOf":           searching,
	"distinct":              comparing,
	"sort":                  sorting,
	"@sortByAssociatedKeys": sorting,
	"matches":               matching,
	"regex.extract":         matching,
	"regex.extractAll":      matchingAll,
	"regex.replace":         matchingAll,
}

// guards replaces the functions of estimates by ones that refuse too much work.
func guards(env *cel.Env) []cel.ProgramOption {
	var guarded []*functions.Overload
	for name, estimate := range estimates {
		declared, ok := env.Functions()[name]
		if !ok {
			continue
		}
		overloads, err := declared.Bindings()
		if err != nil {
			continue
		}
		for _, o := range overloads {
			guarded = append(guarded, guard(name, *o, estimate))
		}
	}
	//nolint:staticcheck // Function of an environment can't put something in front of an implementation that exists.
	return []cel.ProgramOption{cel.Functions(guarded...)}
}

func guard(name string, o functions.Overload, estimate func([]ref.Val) int) *functions.Overload {
	check := func(args ...ref.Val) ref.Val {
		if estimate(args) > maxWork {
			return types.WrapErr(fmt.Errorf("%s %w", strings.TrimPrefix(name, "@"), errTooMuch))
		}
		return nil
	}
	if inner := o.Unary; inner != nil {
		o.Unary = func(a ref.Val) ref.Val { return first(check(a), func() ref.Val { return inner(a) }) }
	}
	if inner := o.Binary; inner != nil {
		o.Binary = func(a, b ref.Val) ref.Val { return first(check(a, b), func() ref.Val { return inner(a, b) }) }
	}
	if inner := o.Function; inner != nil {
		o.Function = func(args ...ref.Val) ref.Val {
			return first(check(args...), func() ref.Val { return inner(args...) })
		}
	}
	return &o
}

func first(refusal ref.Val, call func() ref.Val) ref.Val {
	if refusal != nil {
		return refusal
	}
	return call()
}

// refuse is an estimate that no limit allows.
const refuse = maxWork + 1

// text returns argument i when it is a string.
func text(args []ref.Val, i int) string {
	if i < len(args) {
		if s, ok := args[i].(types.String); ok {
			return string(s)
		}
	}
	return ""
}

func size(args []ref.Val, i int) int {
	if i < len(args) {
		if l, ok := args[i].(traits.Lister); ok {
			if n, ok := l.Size().(types.Int); ok {
				return int(n)
			}
		}
	}
	return 0
}

func result(bytes int) int {
	if bytes > maxResult {
		return refuse
	}
	return bytes
}

func replacing(args []ref.Val) int {
	target, old, replacement := text(args, 0), text(args, 1), text(args, 2)
	grown := len(replacement) - len(old)
	if grown <= 0 {
		return len(target)
	}
	return result(len(target) + strings.Count(target, old)*grown)
}

// joining counts separators; the parts are within the limit on values.
func joining(args []ref.Val) int { return result(size(args, 0) * len(text(args, 1))) }

func splitting(args []ref.Val) int {
	const header = 16 // bytes of a string besides its text
	return result(strings.Count(text(args, 0), text(args, 1)) * header)
}

func searching(args []ref.Val) int { return len(text(args, 0)) * len(text(args, 1)) }

// comparing is for each element with each other, all their parts included.
func comparing(args []ref.Val) int {
	const steps = 20 // of one comparison
	n := size(args, 0)
	if n*n > maxWork {
		return refuse
	}
	sizes := types.NewSizeCalculator(types.SizeCalculatorMaxDepth(maxDepth), types.SizeCalculatorMaxTraversal(maxElements))
	return n * int(sizes.AggregateSize(args[0])) * steps
}

func sorting(args []ref.Val) int { return size(args, 0) * 1000 }

// matching is the length of the text times that of the compiled expression,
// which is the worst case of RE2.
func matching(args []ref.Val) int {
	pattern := text(args, 1)
	if len(pattern) > maxPattern {
		return refuse
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0
	}
	compiled, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0
	}
	return len(text(args, 0)) * len(compiled.Inst)
}

// matchingAll adds what each match may put into the result: a list entry, or
// the replacement with its references to what was matched.
func matchingAll(args []ref.Val) int {
	const entry = 16
	target, replacement := text(args, 0), text(args, 2)
	grown := (len(target)+1)*max(entry, len(replacement)) + len(target)*strings.Count(replacement, `\`)
	if result(grown) == refuse {
		return refuse
	}
	return matching(args)
}
