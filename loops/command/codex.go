package command

import (
	"encoding/json"
	"errors"
	"slices"

	"example.com/loop-mcp/loops"
)

// codexEvent is the part of codex exec --json that matters here.
type codexEvent struct {
	Type   string `json:"type"`
	Thread string `json:"thread_id"`
	Item   struct {
		Type string `json:"type"`
		Text string `json:"text"`
	} `json:"item"`
	Usage *struct {
		Input  count `json:"input_tokens"` // cached ones included
		Output count `json:"output_tokens"`
	} `json:"usage"`
	Error struct {
		Message string `json:"message"`
	} `json:"error"`
}

// codexThread is what a thread had used by the end of its last turn.
type codexThread struct {
	ID     string `json:"id"`
	Input  int64  `json:"input_tokens"`
	Output int64  `json:"output_tokens"`
}

const maxThreads = 8 // remembered, the latest last

var codexTools = []string{"command_execution", "mcp_tool_call", "web_search", "file_change"}

// readCodex reads the events of one codex exec.
func readCodex(stdout string, memory json.RawMessage) (loops.Result, error) {
	thread := codexThread{ID: "?"}
	var result loops.Result
	var failure string
	var sum counts
	answered, reported := false, false
	events(stdout, func(raw json.RawMessage) {
		var e codexEvent
		if json.Unmarshal(raw, &e) != nil {
			return
		}
		switch {
		case e.Type == "thread.started":
			thread.ID = e.Thread
		case e.Type == "item.completed" && e.Item.Type == "agent_message":
			result.Output, answered, failure = e.Item.Text, true, ""
		case e.Type == "item.completed" && slices.Contains(codexTools, e.Item.Type):
			result.Usage.ToolCalls++
		case e.Type == "turn.failed":
			failure = "codex reports: " + Tail(e.Error.Message, feedbackTail)
		}
		if e.Type == "turn.completed" && e.Usage != nil {
			thread.Input = sum.add("usage.input_tokens", e.Usage.Input)
			thread.Output = sum.add("usage.output_tokens", e.Usage.Output)
			reported = true
		}
	})
	if sum.err != nil {
		return loops.Result{Usage: loops.Usage{ToolCalls: result.Usage.ToolCalls}}, sum.err
	}
	if reported {
		chargeThread(&result, thread, memory)
	}
	switch {
	case failure != "":
		result.Output = ""
		return result, &ReportedError{Text: failure}
	case !answered:
		return result, errors.New("stdout has no agent message of Codex: run it as codex exec --json")
	}
	result.Done = true
	return result, nil
}

// chargeThread puts into the result what thread used since it was last seen.
func chargeThread(result *loops.Result, thread codexThread, memory json.RawMessage) {
	fields := make(map[string]json.RawMessage)
	if json.Unmarshal(memory, &fields) != nil || fields == nil {
		fields = make(map[string]json.RawMessage)
	}
	var known []codexThread
	if json.Unmarshal(fields["codex_threads"], &known) != nil {
		known = nil
	}
	input, output := thread.Input, thread.Output
	if at := slices.IndexFunc(known, func(k codexThread) bool { return k.ID == thread.ID }); at >= 0 {
		// Less than before: the count began anew.
		if before := known[at]; before.Input <= input && before.Output <= output {
			input, output = input-before.Input, output-before.Output
		}
		known = slices.Delete(known, at, at+1)
	}
	known = append(known, thread)
	known = known[max(0, len(known)-maxThreads):]
	result.Usage.InputTokens, result.Usage.OutputTokens = input, output
	result.Usage.TotalTokens = input + output
	list, _ := json.Marshal(known) // strings and numbers always have a JSON form
	fields["codex_threads"] = list
	result.Memory, _ = json.Marshal(fields)
}
