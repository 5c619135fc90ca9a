// Package program makes a program a handler: one process for each start.
//
// The process gets the call ([remote.Call]) as JSON on its standard input, which
// then ends. On its standard output it prints messages ([remote.Message] without
// v, key and by), one JSON object a line: emit and save as often as it likes, and
// one result. Nothing else may stand there: a line that is no message fails the
// start, with its number in the error. What it prints on standard error is live
// text; the tail of that explains a failure.
//
// The process need not send heartbeats: whoever runs it does. It has to exit with
// 0 after its result. Without a result, or with any other exit code, the start has
// failed, whatever was printed before; exit 75 is transient, as for the body of the
// kind command.
//
// One process a start, and not one for many: a start that is cancelled, hangs or
// crashes takes no other with it, and whatever it started ends with it. A handler
// for which the start of a process is too dear speaks the wire itself
// (docs/handlers.md).
package program
