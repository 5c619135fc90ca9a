package command

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
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

var codexTools = []string{"command_execution", "mcp_tool_call", "web_search", "file_change"}

// readCodex reads the events of one codex exec. Errors that it reports beside
// the end of a turn are those that it got over.
func readCodex(stdout string) report {
	var r report
	var failure string
	var sum counts
	answered := false
	eventsOf(stdout, func(e codexEvent) {
		switch {
		case e.Type == "thread.started":
			r.session = e.Thread
		case e.Type == "item.completed" && e.Item.Type == "agent_message":
			r.Output, answered, failure = e.Item.Text, true, ""
		case e.Type == "item.completed" && slices.Contains(codexTools, e.Item.Type):
			r.Usage.ToolCalls++
		case e.Type == "turn.failed":
			failure = e.Error.Message
		}
		if e.Type == "turn.completed" && e.Usage != nil {
			r.Usage.InputTokens = sum.add("usage.input_tokens", e.Usage.Input)
			r.Usage.OutputTokens = sum.add("usage.output_tokens", e.Usage.Output)
			r.total = true
		}
	})
	r.Usage.TotalTokens = r.Usage.InputTokens + r.Usage.OutputTokens
	if failure != "" && sum.err == nil {
		r.fault = codexFault(failure)
		r.reported("codex reports: " + Tail(failure, feedbackTail))
		return r
	}
	r.total = r.total && sum.err == nil
	r.ended(sum.err, answered, "stdout has no agent message of Codex: run it as codex exec --json")
	return r
}

var codexStatus = regexp.MustCompile(`\A(?:unexpected status|exceeded retry limit, last status:) (\d{3})\b`)

// codexFault reads Codex's own words at the beginning of a message; what comes
// behind them is the provider's.
func codexFault(message string) fault {
	if m := codexStatus.FindStringSubmatch(message); m != nil {
		status, _ := strconv.Atoi(m[1]) // three digits
		return faultOf(status)
	}
	for _, unreachable := range []string{"Connection failed", "stream disconnected", "timeout waiting for"} {
		if strings.HasPrefix(message, unreachable) {
			return faultPassing
		}
	}
	return faultOther
}
