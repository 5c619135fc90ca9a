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
			search: "start, run, delegate or repeat long work in the background until tests pass or a goal is met",
			hints:  hints{openWorld: true},
			text: `Starts a durable loop: a worker repeats until a stop condition holds or a limit is reached. It outlives the conversation. body client: you are the worker, the answer has the brief, loop_continue hands in. body command: a program that the operator allowed.
{"goal":"Write CHANGES.md","until":{"all":[{"kind":"human","question":"Good?"}]}}
{"goal":"Make the tests pass","body":{"kind":"command","run":["claude","-p"]},"until":{"all":[{"kind":"command","run":["make","test"]}]}}`,
		}),
		offer(t, t.wait, entry{
			name: "loop_wait", title: "Wait for a loop", output: answerSchema(), always: true,
			search: "wait for, watch or poll the progress and result of a background loop",
			hints:  hints{readOnly: true, idempotent: true},
			text:   `Waits until a loop needs attention, settles or changes; returns its state and the events since cursor. Answers at once when that holds already. timed_out is normal: call again with the new cursor.`,
		}),
		offer(t, t.inspect, entry{
			name: "loop_inspect", title: "Look into a loop", output: answerSchema(),
			search: "status, output, history, transcript, diff, cost and reasons of a loop",
			hints:  hints{readOnly: true, idempotent: true},
			text:   `Shows a loop in any status and changes nothing. view chooses the items, such as why (rule, evidence, next calls), transcript, diff of two iterations. Lists go on with page.`,
		}),
		offer(t, t.resume, entry{
			name: "loop_continue", title: "Hand in, answer, steer or resume", output: answerSchema(),
			search: "hand in work, answer a question, steer, resume or reopen a loop",
			hints:  hints{openWorld: true},
			text:   `Moves a loop on. submit hands in your iteration, answer passes on the user's answer, steer guides the worker. resume continues a paused, stalled, blocked or failed loop, reopen sends a completed one back.`,
		}),
		offer(t, t.approve, entry{
			name: "loop_approve", title: "Record a person's decision", output: answerSchema(),
			search: "approve, deny or raise limits for the user",
			hints:  hints{destructive: true, openWorld: true},
			text:   `Records a person's decision: approve or deny what a loop asks, or set_limits, which resumes a capped loop. Ask the user first. Never decide for them.`,
		}),
		offer(t, t.fork, entry{
			name: "loop_fork", title: "Fork a loop", output: answerSchema(),
			search: "branch, copy or retry a loop from an earlier iteration with another goal or worker",
			hints:  hints{openWorld: true},
			text:   `Starts a new loop where another was after an iteration: its spec but for what you replace, its output, memory and feedback, a ledger of its own. The original stays, whatever its status. Files are not restored.`,
		}),
		offer(t, t.pause, entry{
			name: "loop_pause", title: "Pause a loop", output: answerSchema(),
			search: "pause or hold a running loop",
			hints:  hints{idempotent: true},
			text:   `Pauses a loop at its next safe point. It then never moves by itself, not even after a restart. loop_continue resumes it.`,
		}),
		offer(t, t.cancel, entry{
			name: "loop_cancel", title: "Cancel a loop", output: answerSchema(),
			search: "stop, abort, kill or cancel a loop",
			hints:  hints{destructive: true, idempotent: true, openWorld: true},
			text:   `Ends a loop and its running program for good. Calling again is safe. Output and verdicts stay; loop_pause stops for a while.`,
		}),
		offer(t, t.list, entry{
			name: "loop_list", title: "List loops", output: outputSchema(List{}, "items", "next"),
			search: "list or find earlier and running loops, background jobs",
			hints:  hints{readOnly: true, idempotent: true},
			text:   `Lists loops, one line each: those that need you or the user, then live, then settled ones. Loops outlive conversations. Look here for earlier ones.`,
		}),
	}
}

func answerSchema() []byte { return outputSchema(Answer{}, "loop_id", "status", "summary", "next") }

// entry is what tools/list says about a tool.
type entry struct {
	name, title, text string
	search            string // words that a client finds the tool by that loads it on demand
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
	meta := map[string]any{"anthropic/searchHint": e.search}
	if e.always {
		meta["anthropic/alwaysLoad"] = true
	}
	tool.Meta = &mcp.Meta{AdditionalFields: meta}
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
		answer, err := handle(ctx, &call{tools: t, notify: notifier(ctx, r), person: newPerson(ctx, e.name, raw, r)}, args)
		if err != nil {
			return nil, err
		}
		return result(answer)
	}
	return server.ServerTool{Tool: tool, Handler: run}
}
