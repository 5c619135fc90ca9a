package mcpserver

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// all is the catalog of the tools.
func (t *tools) all() []server.ServerTool {
	return []server.ServerTool{
		offer(t, t.start, entry{
			name: "loop_start", title: "Start a loop", output: outputSchema(Answer{}, "next"), always: true,
			hints: hints{openWorld: true},
			text: `Starts a durable loop: a worker repeats until a stop condition finds the goal met or a hard limit is reached. It is stored before this answers and goes on after the call and the conversation. body client makes you the worker: the brief comes in this answer, you hand in with loop_continue; body command runs a program that the operator allowed.
Client: {"goal":"Write CHANGES.md for v2","until":{"all":[{"kind":"human","question":"Is CHANGES.md good?"}]}}
Command: {"goal":"Make the tests pass","body":{"kind":"command","run":["claude","-p"]},"until":{"all":[{"kind":"command","run":["go","test","./..."]}]},"limits":{"max_passes":5}}`,
		}),
		offer(t, t.wait, entry{
			name: "loop_wait", title: "Wait for a loop", output: answerSchema(), always: true,
			hints: hints{readOnly: true, idempotent: true},
			text:  `Waits until a loop needs attention, settles or changes, and returns its state and the events since cursor. It answers at once when that holds already. Running out of time (timed_out) is normal: call again with the new cursor. The loop goes on whatever happens to this call.`,
		}),
		offer(t, t.inspect, entry{
			name: "loop_inspect", title: "Look into a loop", output: answerSchema(),
			hints: hints{readOnly: true, idempotent: true},
			text:  `Shows a loop in any status and changes nothing. view chooses the items: the whole output, iterations, one iteration, verdicts with their evidence, events, the spec, why it is where it is and what would move it, or the live text of a running body. Long lists continue with page.`,
		}),
		offer(t, t.resume, entry{
			name: "loop_continue", title: "Hand in, answer, steer or resume", output: answerSchema(),
			hints: hints{openWorld: true},
			text:  `Moves a loop on. submit hands in your iteration of a client loop, answer passes on the user's answer to a question, steer gives the worker guidance, resume continues a paused, stalled, blocked or failed loop, reopen sends a completed one back with what is missing. The request is stored before this answers.`,
		}),
		offer(t, t.approve, entry{
			name: "loop_approve", title: "Record a person's decision", output: answerSchema(),
			hints: hints{destructive: true, openWorld: true},
			text:  `Records what a person decided: approve or deny what a loop asks approval for, or change its limits (which resumes a loop that this limit had ended). Ask the user first; never decide for them. An approval counts only for the attention_id that was shown.`,
		}),
		offer(t, t.pause, entry{
			name: "loop_pause", title: "Pause a loop", output: answerSchema(),
			hints: hints{idempotent: true},
			text:  `Pauses a loop at its next safe point; nothing is lost. A paused loop never moves by itself, not even after a restart. loop_continue with action resume lets it go on.`,
		}),
		offer(t, t.cancel, entry{
			name: "loop_cancel", title: "Cancel a loop", output: answerSchema(),
			hints: hints{destructive: true, idempotent: true, openWorld: true},
			text:  `Ends a loop for good and ends its running program with it. The wish is stored before this answers, and calling again is safe. The output, iterations and verdicts so far stay readable; to stop only for a while use loop_pause.`,
		}),
		offer(t, t.list, entry{
			name: "loop_list", title: "List loops", output: outputSchema(List{}, "items", "next"),
			hints: hints{readOnly: true, idempotent: true},
			text:  `Lists loops with one line each: first those that need you or the user, then live ones, then the newest settled ones. Loops outlive conversations, so look here for earlier ones. Narrow it with status or labels.`,
		}),
	}
}

func answerSchema() []byte { return outputSchema(Answer{}, "loop_id", "status", "summary", "next") }

// entry is what tools/list says about a tool.
type entry struct {
	name, title, text string
	output            []byte
	always            bool // clients that load tools on demand should have this one from the start
	hints             hints
}

type hints struct{ readOnly, destructive, idempotent, openWorld bool }

// offer makes a tool of a handler with typed arguments. Whatever the handler
// comes to, even a panic, is a tool result: a protocol error would not reach
// the model.
func offer[A any, P interface {
	*A
	checker
}](t *tools, handle func(context.Context, *call, A) (any, error), e entry) server.ServerTool {
	var zero A
	tool := mcp.Tool{
		Name: e.name, Title: e.title, Description: e.text,
		RawInputSchema: inputSchema(zero), RawOutputSchema: e.output,
		Annotations: mcp.ToolAnnotation{
			Title: e.title, ReadOnlyHint: &e.hints.readOnly, DestructiveHint: &e.hints.destructive,
			IdempotentHint: &e.hints.idempotent, OpenWorldHint: &e.hints.openWorld,
		},
	}
	if e.always {
		tool.Meta = &mcp.Meta{AdditionalFields: map[string]any{"anthropic/alwaysLoad": true}}
	}
	run := func(ctx context.Context, r mcp.CallToolRequest) (res *mcp.CallToolResult, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			if err != nil {
				res, err = t.errorResult(ctx, e.name, err), nil
			}
		}()
		raw, err := rawArguments(ctx, r)
		if err != nil {
			return nil, err
		}
		var args A
		if err := decode(raw, P(&args)); err != nil {
			return nil, err
		}
		answer, err := handle(ctx, &call{tools: t, notify: notifier(ctx, r)}, args)
		if err != nil {
			return nil, err
		}
		return result(answer)
	}
	return server.ServerTool{Tool: tool, Handler: run}
}
