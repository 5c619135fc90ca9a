package judge

import (
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
	"example.com/loop-mcp/loops/modelcall"
)

// Stops returns the stop conditions of this package by kind, for
// [loops.Parts]. runner may be nil. Without a book there is no judge.
func Stops(policy command.Policy, runner *command.Runner, book modelcall.Book) map[string]loops.StopCondition {
	stops := map[string]loops.StopCondition{
		loops.StopPredicate: &Predicate{},
		loops.StopCommand:   &Command{Policy: policy, Runner: runner},
	}
	if book != nil {
		stops[loops.StopJudge] = &Model{Book: book, Policy: policy, Runner: runner}
	}
	return stops
}
