// Package judge holds the stop conditions that a host can ask by itself:
// predicates and commands. [Stops] puts them together for an engine. Conditions
// that a person or the body's own claim decides need no code here.
//
// # Predicates
//
// [Predicate] evaluates a CEL expression. Its variables are typed, so that a
// misspelt name or field is refused at the start of a loop and not at its end:
//
//	output           string                the output of the iteration
//	json             dyn                   the output parsed as JSON, else null; its numbers are doubles
//	score            double or null
//	memory           dyn                   what the body kept, else null
//	history          list(string)          earlier outputs, newest last
//	iteration, pass  int
//	usage            starts, iterations, passes, input_tokens, output_tokens, total_tokens, tool_calls, failures: int;
//	                 active_seconds, cost_usd: double
//	limits           max_iterations, max_passes, max_total_tokens, max_tool_calls, max_failures: int;
//	                 max_duration, max_active, iteration_timeout: double, in seconds; max_cost_usd: double
//	inputs           map(string, dyn)
//	elapsed_seconds  double                wall clock since the start
//
// Durations are seconds, because CEL can neither divide durations nor compare
// them with elapsed_seconds. The extensions Strings, Lists, Math, Regex and
// Bindings and the optional types are there (json.?score.orValue(0) > 90), and
// numbers of different types compare.
//
// A model may write the expression, so it is taken as hostile: at most 4 KiB of
// source, a limit on cost (a million steps), on the size of every value that
// comes up (two million elements, ten bytes of text being one), and on time
// (250 ms, looked at in loops). Calls whose work or result grows with the
// product of their arguments are estimated before they are made. Texts over
// 8 MiB are out of a predicate's reach.
//
// # Commands
//
// [Command] runs a program under the policy of package command. The verdict
// rests on the exit code alone; what the program prints is feedback and
// evidence.
package judge
