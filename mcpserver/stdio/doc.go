// Package stdio serves an mcp-go server over a pair of byte streams: newline-delimited JSON-RPC in,
// answers and notifications out. It owns the transport and nothing else; methods, schemas and the two
// protocol eras stay in [server.MCPServer.HandleMessage].
//
// # Why not mcp-go's own transport
//
// Measured on mcp-go v1.2.1: five tool calls at a time, the next hundred queued and no longer
// cancellable, then calls on the reading goroutine, so that nothing is read; progress written after
// the answer it belongs to, or dropped above 100 in a burst; all calls cancelled at end of input, so
// that a script of 13 requests got as few as 4 answers; answers to cancelled requests; lines of any
// length buffered (382 MB for 128 MB of junk); a last line without newline ignored; one session
// object for the whole process.
//
// # What this does
//
//   - One goroutine a request; four stay for the next ones. At most Options.MaxInFlight of them and four times Options.MaxLine
//     bytes of their messages; while all are busy the reader waits as long as some finish within
//     100 ms, then refuses with code [CodeBusy], because a cancellation must still be read. So a
//     script may pipe thousands of short requests, and 256 long waits don't make the server deaf.
//   - One session object a request. Its notifications go out in the order they were sent, all of
//     them, before the answer and never after it. A sender that is faster than the client waits.
//   - notifications/cancelled cancels the request's context. Nothing more is written for that
//     request, not even what was queued. Ids are compared by value: 1 and "1" differ, 1 and 1.0 don't.
//   - initialize can't be cancelled; requests read after it wait for its answer, so that they see
//     the client's name, capabilities and version.
//   - End of input: long-lived streams end, everything else may finish within Options.Grace, then
//     contexts are cancelled and handlers have 250 ms for their last words. Answers are written as
//     long as the client reads them.
//   - A line longer than Options.MaxLine is answered at once with one error and skipped unbuffered.
//
// # Eras
//
// The era is a property of a request, never of the stream: mcp-go reads it from params._meta. What
// initialize established (name, capabilities, version, resource subscriptions) is shown to legacy
// requests only; a modern request shows what its own _meta says. Requests before initialize are
// served, as scripts send them: the client is then nameless and has no capabilities.
//
// Notifications outside a request go to a legacy client after its notifications/initialized, and to
// each subscriptions/listen stream of a modern one: filtered, tagged with the subscription's id,
// after the acknowledgement. Both are registered with [server.MCPServer.RegisterSession] and
// implement [server.SessionWithResourceSubscriptions], so that hooks can find subscribers. Such
// notifications are dropped while 128 of them wait for a client that doesn't read.
//
// # Questions to the client
//
// A request's session can ask the person at a legacy client ([server.SessionWithElicitation]): only
// one that declared the mode, at most 64 questions at a time. The reader hands a response to whoever
// waits for its id; the first one counts, others answer nothing. A question ends with its context,
// and so with its call: the client gets notifications/cancelled for it. At the end of input all of
// them end at once. Modern requests have no such questions: their tools answer input_required.
//
// # What is refused
//
// Not JSON: -32700 with id null. JSON that is no JSON-RPC 2.0 request, a batch, an id that is
// neither string nor number, or an id still in flight: -32600, with the id where it has one. Blank
// lines, a leading byte order mark, \r\n and responses that nobody waits for are passed over in
// silence. A line with invalid UTF-8 is dispatched: the tool layer can name the field, this
// one could not. Member names are matched as encoding/json matches them, so that this package and
// mcp-go always read the same message.
//
// # Output
//
// Everything is queued, up to 1 MiB, and written by one goroutine in whole lines. Requests wait for
// room there; the reader never does for longer than 100 ms, and drops (and logs) its refusals when
// another MiB of them is unread.
//
// # Locks
//
// table.mu, outbox.mu, mailbox.mu, asks.mu, Session.mu and uris.mu are each held for a few lines, never
// across I/O, a wait or another package's code, and never one under another.
package stdio
