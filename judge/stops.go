package judge

import (
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
)

// Stops returns the stop conditions of this package by kind, for
// [loops.Parts]. runner may be nil.
func Stops(policy command.Policy, runner *command.Runner) map[string]loops.StopCondition {
	return map[string]loops.StopCondition{
		loops.StopPredicate: &Predicate{},
		loops.StopCommand:   &Command{Policy: policy, Runner: runner},
	}
}
