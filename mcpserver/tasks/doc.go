// Package tasks is the extension io.modelcontextprotocol/tasks (SEP-2663) as a layer around an
// mcp-go server: a tools/call may be answered with a task, which the client then reads, answers and
// cancels by its id, on any connection and in any process that has the same backend.
//
// mcp-go has tasks of an older form only, in memory, and they end with the request that began them.
// A [Layer] needs nothing of that. It is what a transport runs around the dispatch of a request:
//
//   - server/discover names the extension, and never the tasks of the older form.
//   - tools/call: the context says whether the client takes a task for an answer ([Offered]). The
//     tool that makes one says so ([Accept]) once the task is durable; what it returns is then
//     dropped for the task. Arguments, refusals and quick answers stay the tool's business. A tool
//     that can't do without says [Require].
//   - tasks/get, tasks/update and tasks/cancel are answered here, from the [Backend].
//   - subscriptions/listen with taskIds: mcp-go serves the stream; the acknowledgement names the
//     tasks as well, and each of them is pushed as notifications/tasks, see below.
//
// Whatever is not of protocol 2026-07-28 or later goes its usual way: to older clients the extension
// means nothing. So does a request that lacks what every request of that protocol needs, so that one
// place words those errors. What a client declared on another request is never looked at.
//
// # Who may see a task
//
// A task id is a secret, and the backend may want more: it finds the caller in the context. For a
// task that does not exist, is gone or is not the caller's there is one answer, -32602 with the same
// text, and in an acknowledgement it is simply missing.
//
// # Input
//
// A task that waits for its client's person carries inputRequests. Requests of a kind that the
// client did not declare are not shown to it; when none is left, the task shows as working, because
// for this client nothing is to be done but wait. Responses to keys that are unknown or already
// answered are ignored, also all of them.
//
// # Pushes
//
// One goroutine for each task of a stream. The first notification tells how the task stands, so that
// nothing is missed between creation and subscription; then at most one each [Options].Interval,
// always the newest state. The last state is never left out: a sender waits for its client. Pushes
// begin after the acknowledgement and end with the stream or at the task's end; the stream itself is
// the client's to end.
package tasks
