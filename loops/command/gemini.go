package command

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// geminiEvent is the part of what gemini -p prints that matters here: an event
// of stream-json, or the one object of json.
type geminiEvent struct {
	Type    string `json:"type"`
	Session string `json:"session_id"`

	Role    string `json:"role"`
	Content string `json:"content"`

	Status   string       `json:"status"`
	Response *string      `json:"response"`
	Stats    *geminiStats `json:"stats"`
	Error    *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// geminiStats holds the figures of both formats. The total is more than the sum
// of input and output: it has the model's thoughts, which are billed as output.
type geminiStats struct {
	Input  count `json:"input_tokens"` // cached ones included
	Output count `json:"output_tokens"`
	Total  count `json:"total_tokens"`
	Calls  count `json:"tool_calls"`

	Models map[string]struct {
		Tokens struct {
			Prompt count `json:"prompt"` // cached ones included
			Output count `json:"candidates"`
			Total  count `json:"total"`
		} `json:"tokens"`
	} `json:"models"`
	Tools struct {
		Calls count `json:"totalCalls"`
	} `json:"tools"`
}

// readGemini reads what one gemini -p printed.
func readGemini(stdout string) report {
	var r report
	var sum counts
	var said strings.Builder // since the last tool call
	var failure string
	ended := false
	eventsOf(stdout, func(e geminiEvent) {
		r.session = orElse(e.Session, r.session)
		switch {
		case e.Type == "message" && e.Role == "assistant":
			said.WriteString(e.Content)
		case e.Type == "tool_use":
			said.Reset()
		case e.Type == "result" || e.Type == "" && (e.Response != nil || e.Error != nil):
			ended = true
			if e.Response != nil {
				said.WriteString(*e.Response)
			}
			if e.Error != nil || e.Status == "error" {
				failure = "gemini reports an error"
			}
			if e.Error != nil && e.Error.Message != "" {
				failure = e.Error.Message
			}
			if e.Stats != nil {
				e.Stats.into(&r, &sum)
			}
		}
	})
	r.Output = said.String()
	if failure != "" && sum.err == nil {
		r.fault = geminiFault(failure)
		r.reported("gemini reports: " + Tail(failure, feedbackTail))
		return r
	}
	r.ended(sum.err, ended, "stdout has no result of Gemini CLI: run it with -p and --output-format stream-json")
	return r
}

func (s *geminiStats) into(r *report, sum *counts) {
	input, output, total := sum.add("stats.input_tokens", s.Input), sum.add("stats.output_tokens", s.Output), sum.add("stats.total_tokens", s.Total)
	for _, model := range slices.Sorted(maps.Keys(s.Models)) {
		tokens := s.Models[model].Tokens
		input += sum.add("stats.models.tokens.prompt", tokens.Prompt)
		output += sum.add("stats.models.tokens.candidates", tokens.Output)
		total += sum.add("stats.models.tokens.total", tokens.Total)
	}
	r.Usage.InputTokens, r.Usage.OutputTokens = input, max(output, total-input)
	r.Usage.TotalTokens = r.Usage.InputTokens + r.Usage.OutputTokens
	r.Usage.ToolCalls = sum.add("stats.tool_calls", s.Calls, s.Tools.Calls)
}

var geminiStatus = regexp.MustCompile(`\A\[API Error: \{"error":\{"code":\s*(\d{3})\b`)

// geminiFault reads the provider's status where the message still has it, and
// what Gemini CLI itself puts around the provider's words.
func geminiFault(message string) fault {
	if m := geminiStatus.FindStringSubmatch(message); m != nil {
		status, _ := strconv.Atoi(m[1]) // three digits
		return faultOf(status)
	}
	_, advice, found := strings.Cut(message, "]\n")
	if found && (strings.HasPrefix(advice, "Please wait and try again later") || strings.HasPrefix(advice, "Possible quota limitations")) {
		return faultPassing
	}
	if strings.HasPrefix(message, "[API Error: exception TypeError: fetch failed") {
		return faultPassing
	}
	return faultOther
}
