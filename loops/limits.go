package loops

import (
	"fmt"
	"strings"
	"time"
)

// Limits are the hard caps of a loop. Nothing that a body, a condition or a
// model says moves them. Zero means "left out" and becomes the default; there
// is no "unlimited": the operator's ceilings clamp.
type Limits struct {
	MaxIterations    Count    `json:"max_iterations,omitempty" min:"1" jsonschema_description:"Starts of the body, retries and runs cut off by a crash included (50)"`
	MaxPasses        Count    `json:"max_passes,omitempty" min:"1" jsonschema_description:"Passes: attempts that the worker calls finished (10)"`
	MaxDuration      Duration `json:"max_duration,omitempty" min:"1" jsonschema_description:"Wall clock since the start, as text (24h)"`
	MaxActive        Duration `json:"max_active,omitempty" min:"1" jsonschema_description:"Working time: bodies, conditions, delays and back-off, as text (2h)"`
	IterationTimeout Duration `json:"iteration_timeout,omitempty" min:"1" jsonschema_description:"One start, as text (10m)"`
	MaxTotalTokens   Count    `json:"max_total_tokens,omitempty" min:"1" jsonschema_description:"Tokens of all calls together (400k)"`
	MaxCostUSD       USD      `json:"max_cost_usd,omitempty" min:"1" jsonschema_description:"Money in dollars (2)"`
	MaxToolCalls     Count    `json:"max_tool_calls,omitempty" min:"1" jsonschema_description:"Tool calls (200)"`
	MaxFailures      Count    `json:"max_failures,omitempty" min:"1" jsonschema_description:"Failed iterations in a row (3)"`
}

// DefaultLimits are used for what a spec leaves out.
func DefaultLimits() Limits {
	return Limits{
		MaxIterations:    50,
		MaxPasses:        10,
		MaxDuration:      Duration(24 * time.Hour),
		MaxActive:        Duration(2 * time.Hour),
		IterationTimeout: Duration(10 * time.Minute),
		MaxTotalTokens:   400_000,
		MaxCostUSD:       2 * Dollar,
		MaxToolCalls:     200,
		MaxFailures:      3,
	}
}

// DefaultCeilings bound every spec unless the operator sets others.
func DefaultCeilings() Limits {
	return Limits{
		MaxIterations:    10_000,
		MaxPasses:        10_000,
		MaxDuration:      Duration(30 * 24 * time.Hour),
		MaxActive:        Duration(7 * 24 * time.Hour),
		IterationTimeout: Duration(24 * time.Hour),
		MaxTotalTokens:   100_000_000,
		MaxCostUSD:       1000 * Dollar,
		MaxToolCalls:     100_000,
		MaxFailures:      1000,
	}
}

// Enforcement says how a limit that depends on reports holds for a body.
type Enforcement string

// The ways a limit holds.
const (
	PerCall      Enforcement = "per_call"      // reserved before each call: never exceeded
	PerIteration Enforcement = "per_iteration" // counted when an iteration ends
	NotMetered   Enforcement = "not_metered"   // the body does not report it
)

// Enforcements labels the limits whose strength depends on the body.
type Enforcements struct {
	MaxCostUSD     Enforcement `json:"max_cost_usd"`
	MaxTotalTokens Enforcement `json:"max_total_tokens"`
	MaxToolCalls   Enforcement `json:"max_tool_calls"`
}

// Changes says in one line which limits are other ones in after.
func (l Limits) Changes(after Limits) string {
	b, a := l.list(), after.list()
	var moved []string
	for i := range a {
		if a[i] != b[i] {
			moved = append(moved, fmt.Sprintf("%s %s → %s", a[i].name, b[i].text, a[i].text))
		}
	}
	if len(moved) == 0 {
		return "unchanged"
	}
	return strings.Join(moved, ", ")
}

type namedLimit struct{ name, text string }

// list names every limit with its value as text.
func (l Limits) list() []namedLimit {
	return []namedLimit{
		{"max_iterations", fmt.Sprint(int64(l.MaxIterations))}, {"max_passes", fmt.Sprint(int64(l.MaxPasses))},
		{"max_duration", l.MaxDuration.String()}, {"max_active", l.MaxActive.String()}, {"iteration_timeout", l.IterationTimeout.String()},
		{"max_total_tokens", fmt.Sprint(int64(l.MaxTotalTokens))}, {"max_cost_usd", l.MaxCostUSD.String()},
		{"max_tool_calls", fmt.Sprint(int64(l.MaxToolCalls))}, {"max_failures", fmt.Sprint(int64(l.MaxFailures))},
	}
}
