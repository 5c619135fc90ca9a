// Package mcpserver offers an engine's loops to MCP clients as tools: start,
// wait, inspect, continue, approve, pause, cancel, list; as resources to read
// and follow; and as prompts. [New] returns an mcp-go server; which transport
// serves it is the caller's choice.
//
// # One snapshot
//
// Every tool that concerns a loop answers with the same [Answer], built by
// [Snapshot] from the loop's checkpoint, so that a model that has read one
// answer can read them all. It ends with next: the call that makes sense now,
// with its ids and cursor filled in.
//
// # Two halves, one text
//
// A tool result has structuredContent and content. Claude Code and Codex show
// their models the first alone, Gemini CLI and opencode the second alone.
// content[0].text is therefore the very same JSON: neither half can lack what
// the other has, a script may parse either, and there is no second rendering
// that drifts. Answers stay at about 2 KB: long texts are clipped by what they
// cost as JSON, and say so (output_truncated, feedback_truncated). Only a brief
// (16 KiB), the events after a cursor and what loop_inspect is asked for take
// more.
//
// # Errors
//
// Bad arguments, unknown ids and refused requests are tool results with isError
// and one line that names every field and what to do: a protocol error would
// never reach the model. They carry no structuredContent, because SDK clients
// hold whatever is there against the tool's output schema and then replace the
// line by a complaint of their own. Programs find {code, message, fields} in
// the result's _meta under [ErrorKey]. What is nobody's mistake but ours is
// logged under a short id, which the line names.
//
// # Arguments
//
// They are decoded by [loops.Decode] from the bytes the client sent, not from
// what a JSON library made of them: 1e400, repeated keys, invalid UTF-8 and
// integers above 2^53 are then problems of a named field. Transports that can
// do so hand those bytes over with [KeepArguments]. The schemas in tools/list
// come from the same Go types; mcp-go's own validation is off.
//
// # Resources, prompts and completion
//
// mcp-go lists what is registered; loops and loop files come and go. So hooks
// put them into its answers, and one prompt that is never listed answers for all
// loop files. What is wrong is a JSON-RPC error there, because programs ask and
// not models; [Around], a layer of the transport, gives it the code of its era.
//
// mcp-go acknowledges subscriptions and sends nothing. A [hub] does, for all
// sessions of a server: see there. Those who only look never make a store
// (Options.HasStore).
//
// # Lazy engine
//
// Clients start servers to look at their tools and kill them again.
// initialize, server/discover and tools/list never ask for the engine; the
// first call that concerns a loop does.
//
// # Waiting
//
// A call that waits never outlasts Options.MaxWait, and its end, whatever the
// cause, never touches the loop. When it carries a progress token, one [meter]
// turns the changes of the loop into notifications: see there.
//
// # Asking the person
//
// Where the client of a request declares forms (elicitation), loop_approve and
// the waits ask its user: see [Question] and [Reply]. The user's word is what
// the engine gets, By "person", whatever the model's arguments say. Everything
// but a plain answer (a closed form, an error, one that nothing was filled in)
// means that nobody is there: nothing is recorded, the loop keeps waiting, and
// the answer is a normal one. The form ends with the wait, with the call, and
// when somebody else was faster.
//
// Before 2026-07-28 the request's session asks while the call goes on
// ([server.SessionWithElicitation]). From then on the call is answered with
// input_required and the client repeats it. mcp-go can turn such an answer into
// requests for older clients by itself; that is not used, because it asks
// clients that never declared forms, knows no time limit, calls the handler
// from its beginning and can't withdraw a question that was answered elsewhere.
// In the new era loop_start and loop_continue do not ask: they have changed
// something by then, which their answer has to tell even if the client never
// comes back. The loop_wait that follows asks.
//
// requestState comes from outside. It says which question of which loop is
// answered and until when (24 hours: people sleep), and is signed with a key
// that the store keeps ([loops.Engine.Key]), because the repeated call may reach
// another process, or this one after a restart. The signature covers tool, owner
// and arguments, too; these are not in the text. An attention id is answered
// once; the repeated request has an id made of the state, so that an answer that
// is brought again changes nothing.
//
// # Tasks
//
// A wait that no call may last becomes a task where the client takes one: see
// [NewTasks]. The task is the loop and nothing is stored besides, so whatever
// shows loops shows it, and a crash takes it nowhere.
package mcpserver
