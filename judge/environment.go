package judge

import (
	"reflect"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"example.com/loop-mcp/loops"
)

var (
	variableNames = []string{"output", "json", "score", "memory", "iteration", "pass", "usage", "limits", "inputs", "history", "elapsed_seconds"}
	workersWords  = []string{"output", "json", "score", "memory", "history"}
)

// usage is the ledger as an expression sees it.
type usage struct {
	Starts        int64   `cel:"starts"`
	Iterations    int64   `cel:"iterations"`
	Passes        int64   `cel:"passes"`
	ActiveSeconds float64 `cel:"active_seconds"`
	InputTokens   int64   `cel:"input_tokens"`
	OutputTokens  int64   `cel:"output_tokens"`
	TotalTokens   int64   `cel:"total_tokens"`
	CostUSD       float64 `cel:"cost_usd"`
	ToolCalls     int64   `cel:"tool_calls"`
	Failures      int64   `cel:"failures"`
}

func usageOf(l loops.Ledger) usage {
	return usage{
		Starts: int64(l.Starts), Iterations: int64(l.Iterations), Passes: int64(l.Passes), ActiveSeconds: l.ActiveSeconds,
		InputTokens: l.InputTokens, OutputTokens: l.OutputTokens, TotalTokens: l.TotalTokens,
		CostUSD: l.CostUSD.Dollars(), ToolCalls: l.ToolCalls, Failures: int64(l.Failures),
	}
}

// caps are the limits as an expression sees them; durations in seconds.
type caps struct {
	MaxIterations    int64   `cel:"max_iterations"`
	MaxPasses        int64   `cel:"max_passes"`
	MaxDuration      float64 `cel:"max_duration"`
	MaxActive        float64 `cel:"max_active"`
	IterationTimeout float64 `cel:"iteration_timeout"`
	MaxTotalTokens   int64   `cel:"max_total_tokens"`
	MaxCostUSD       float64 `cel:"max_cost_usd"`
	MaxToolCalls     int64   `cel:"max_tool_calls"`
	MaxFailures      int64   `cel:"max_failures"`
}

func limitsOf(l loops.Limits) caps {
	seconds := func(d loops.Duration) float64 { return time.Duration(d).Seconds() }
	return caps{
		MaxIterations: int64(l.MaxIterations), MaxPasses: int64(l.MaxPasses),
		MaxDuration: seconds(l.MaxDuration), MaxActive: seconds(l.MaxActive), IterationTimeout: seconds(l.IterationTimeout),
		MaxTotalTokens: int64(l.MaxTotalTokens), MaxCostUSD: l.MaxCostUSD.Dollars(),
		MaxToolCalls: int64(l.MaxToolCalls), MaxFailures: int64(l.MaxFailures),
	}
}

// environment is built at the first use: it takes milliseconds, and most
// processes need it never or often.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.OptionalTypes(), // before Regex, which needs it
		cel.CrossTypeNumericComparisons(true),
		ext.NativeTypes(reflect.TypeFor[usage](), reflect.TypeFor[caps](), ext.ParseStructTag("cel")),
		ext.Strings(), ext.Lists(), ext.Math(), ext.Regex(), ext.Bindings(),
		cel.Variable("output", cel.StringType),
		cel.Variable("json", cel.DynType),
		cel.Variable("score", cel.DynType), // as a double, score == 90 would be refused: 90 is an int
		cel.Variable("memory", cel.DynType),
		cel.Variable("iteration", cel.IntType),
		cel.Variable("pass", cel.IntType),
		cel.Variable("usage", cel.ObjectType("judge.usage")),
		cel.Variable("limits", cel.ObjectType("judge.caps")),
		cel.Variable("inputs", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("history", cel.ListType(cel.StringType)),
		cel.Variable("elapsed_seconds", cel.DoubleType),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
	)
})

const (
	maxCost     = 1_000_000
	maxElements = 2_000_000 // of one value, shared parts counted each time; ten bytes of text are one
	maxDepth    = 200
)

// limits bound what a program may do, in steps, time and memory.
func limits(env *cel.Env) []cel.ProgramOption {
	sizes := types.NewSizeCalculator(types.SizeCalculatorMaxDepth(maxDepth), types.SizeCalculatorMaxTraversal(maxElements))
	return append(guards(env),
		cel.CostLimit(maxCost),
		cel.InterruptCheckFrequency(100),
		cel.MemoryTracking(types.MemoryTrackerSizeCalculator(sizes)),
		cel.MemoryLimit(maxElements),
	)
}
