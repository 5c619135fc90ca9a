// Package judge holds the stop conditions that a host can ask by itself:
// predicates, commands and models. [Stops] puts them together for an engine.
// Conditions that a person or the body's own claim decides need no code here.
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
//
// # Models
//
// [Model] asks a language model about criteria, and takes its word for nothing.
// One judgement goes like this:
//
//  1. The host collects the evidence that the spec names, fresh: it runs
//     commands, reads files, takes the output. Each item is observed by the
//     host or the worker's own. An output that is empty or boilerplate reaches
//     no model; the same evidence gets the verdict that it got.
//  2. One call: fixed instructions, goal and criteria, then the evidence, each
//     line of it marked as data, between markers of this call. The worker's
//     words beside the evidence come last, at most 1,000 characters of them, and
//     not at all when they speak to the judge. Its reasoning is never shown.
//  3. The answer is one JSON object: for each criterion quotes, then a status,
//     then what is missing; then the verdict. Anything else is asked for once
//     more and then is an error. Prose is never read as yes.
//  4. Rules in code. "done" stands only when every criterion is met and each has
//     a quote that is found in its item, verbatim but for white space. Where the
//     spec names a command or a file, only quotes from those count, for every
//     criterion; else the output is the product and can be quoted. A quote
//     counts for nothing when it is too short (less than eight bytes of letters
//     and digits, and no whole line), cut out of a word, a number or a denial,
//     about the verdict instead of the work, or, out of the worker's output, a
//     bare claim or the criterion repeated. Rules only take away.
//  5. done and impossible are asked again, of another model where there is a
//     fallback, else of the same one with the evidence in another order, and
//     both times told to look for what speaks against it. Votes that differ mean
//     continue, with the dissent as feedback.
//
// What each call brought is stored in the step that settles it, so that a crash
// buys nothing twice. A criterion about the output and one about files are
// judged by two conditions: beside evidence of the host, the output proves
// nothing.
//
// The rules that look at words (boilerplate, claims, what speaks to a judge)
// know English best. They are there to cost a cheat more than they cost honest
// work; where they fail, the quotes and the second vote are left.
//
// [Corpus] holds true and false claims with their answers, and what fooled
// judges say about them; [Evaluate] puts a real model through it.
package judge
