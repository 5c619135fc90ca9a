// Package agent is the body that thinks with a model: one iteration is one call
// of the model and the tool calls that it asked for. An answer without tool
// calls ends the pass, and so does the built-in tool finish; both are claims.
//
// # What the model is shown
//
// Every request begins with the same bytes: instructions, tools, goal and
// context. A cache of the provider keeps them from pass to pass. The
// conversation follows and only grows until a pass ends (history: fresh) or it
// is compacted. What changes comes last: feedback, steering, a person's answer,
// and the numbers that are left of the limits, one line at the end of the last
// message. With history: fresh each pass begins again with what is carried
// over: the note, the summary and the last result, each of bounded size, so that
// the cost of a loop grows with its passes and not with their square.
//
// What tools, feedback and the agent's own notes say stands between markers
// that it can't close ([loops.Marked]) and is called data. Results are cut to
// 12,000 bytes, head and tail; the whole is kept beside the loop, and the tool
// read_more gives the rest.
//
// # What is kept
//
// The memory of a loop is the agent's own JSON: the conversation, the calls
// that the last answer asked for with their state, the note, what the provider
// counted. Parts that never change again are kept beside the loop under the
// hash of their content and held by reference, so that a commit stays small
// however long the conversation is.
//
// It is stored with each step that costs something: with the settlement of the
// model's call, with the reservation of a tool's call ("started") and with its
// settlement ("done"). A start that was cut off goes on there: an answer is not
// bought twice, a finished tool does not run twice. A call that was started and
// has no result may have happened. A tool that is read-only or idempotent runs
// again; for another one a person is asked.
//
// # Several calls in one answer
//
// They run one after the other, in the model's order, with two exceptions: ask
// waits until the others have run, finish comes last. finish does not count
// when another call of the same answer failed or asked a person, because the
// model had not seen that yet. Nothing of an answer that was cut off runs: the
// last call may be half of what was meant.
package agent
