package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

// claudeEvent is the part of Claude Code's messages that matters here.
type claudeEvent struct {
	Type    string `json:"type"`
	Subtype string `json:"subtype"`
	Message struct {
		ID      string      `json:"id"`
		Usage   claudeUsage `json:"usage"`
		Content content     `json:"content"`
	} `json:"message"`

	IsError    bool                   `json:"is_error"`
	Result     string                 `json:"result"`
	Structured json.RawMessage        `json:"structured_output"`
	Errors     json.RawMessage        `json:"errors"`
	Cost       json.RawMessage        `json:"total_cost_usd"`
	Usage      claudeUsage            `json:"usage"`
	ModelUsage map[string]claudeModel `json:"modelUsage"`
}

// content is a list of blocks; a user's message may have a text in its place.
type content []struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

func (c *content) UnmarshalJSON(raw []byte) error {
	type blocks content
	var list blocks
	if json.Unmarshal(raw, &list) == nil {
		*c = content(list)
	}
	return nil
}

type claudeUsage struct {
	Input      count `json:"input_tokens"`
	CacheWrite count `json:"cache_creation_input_tokens"`
	CacheRead  count `json:"cache_read_input_tokens"`
	Output     count `json:"output_tokens"`
}

type claudeModel struct {
	Input      count           `json:"inputTokens"`
	CacheWrite count           `json:"cacheCreationInputTokens"`
	CacheRead  count           `json:"cacheReadInputTokens"`
	Output     count           `json:"outputTokens"`
	Cost       json.RawMessage `json:"costUSD"`
}

// readClaude reads the last result message. A run that was cut off has none;
// then the usage of the messages so far is what is known.
func readClaude(stdout string) (loops.Result, error) {
	var last *claudeEvent
	tools := make(map[string]bool)
	messages := make(map[string]claudeUsage) // by id: a message comes once for each of its blocks
	events(stdout, func(raw json.RawMessage) {
		var e claudeEvent
		if json.Unmarshal(raw, &e) != nil {
			return
		}
		switch e.Type {
		case "result":
			last = &e
		case "assistant":
			messages[e.Message.ID] = e.Message.Usage
			for _, block := range e.Message.Content {
				if block.Type == "tool_use" {
					tools[block.ID] = true
				}
			}
		}
	})
	var usage loops.Usage
	var err error
	if last == nil {
		usage, err = claudeSum(messages)
	} else {
		usage, err = last.usage()
	}
	usage.ToolCalls = int64(len(tools))
	result := loops.Result{Usage: usage}
	switch {
	case err != nil:
		return result, err
	case last == nil:
		return result, errors.New("stdout has no result message of Claude Code: run it with -p --output-format json")
	case last.IsError || last.Subtype != "" && last.Subtype != "success":
		return result, &ReportedError{Text: last.failure()}
	}
	result.Output, result.Done = last.Result, true
	if result.Output == "" && len(last.Structured) > 0 && string(last.Structured) != "null" {
		result.Output = compact(last.Structured)
	}
	return result, nil
}

func (e *claudeEvent) failure() string {
	text := "claude reports " + e.Subtype
	if e.Subtype == "" || e.Subtype == "success" {
		text = "claude reports an error"
	}
	if said := strings.TrimSpace(e.Result); said != "" {
		return text + ": " + Tail(said, feedbackTail)
	}
	if said := compact(e.Errors); said != "" && said != "null" && said != "[]" {
		return text + ": " + Tail(said, feedbackTail)
	}
	return text
}

// usage prefers modelUsage: when a budget ends a run, the top-level usage is
// zero. Cached tokens were read and billed, so they count as input.
func (e *claudeEvent) usage() (loops.Usage, error) {
	var u loops.Usage
	var sum counts
	var costs loops.USD
	for _, model := range slices.Sorted(maps.Keys(e.ModelUsage)) {
		m := e.ModelUsage[model]
		u.InputTokens += sum.add("modelUsage.inputTokens", m.Input, m.CacheWrite, m.CacheRead)
		u.OutputTokens += sum.add("modelUsage.outputTokens", m.Output)
		cost, err := optionalMoney("modelUsage.costUSD", m.Cost)
		if err != nil {
			return loops.Usage{}, err
		}
		costs += cost
	}
	if u.InputTokens+u.OutputTokens == 0 {
		u.InputTokens = sum.add("usage.input_tokens", e.Usage.Input, e.Usage.CacheWrite, e.Usage.CacheRead)
		u.OutputTokens = sum.add("usage.output_tokens", e.Usage.Output)
	}
	u.TotalTokens = u.InputTokens + u.OutputTokens
	total, err := optionalMoney("total_cost_usd", e.Cost)
	u.CostUSD = max(total, costs)
	if err = errors.Join(err, sum.err); err != nil {
		return loops.Usage{}, err
	}
	return u, nil
}

func claudeSum(messages map[string]claudeUsage) (loops.Usage, error) {
	var u loops.Usage
	var sum counts
	for _, m := range messages {
		u.InputTokens += sum.add("message.usage.input_tokens", m.Input, m.CacheWrite, m.CacheRead)
		u.OutputTokens += sum.add("message.usage.output_tokens", m.Output)
	}
	if sum.err != nil {
		return loops.Usage{}, sum.err
	}
	u.TotalTokens = u.InputTokens + u.OutputTokens
	return u, nil
}

func optionalMoney(field string, raw json.RawMessage) (loops.USD, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return 0, nil
	}
	cost, err := money(raw)
	if err != nil {
		return 0, fieldError(field, err)
	}
	return cost, nil
}

func fieldError(field string, err error) error {
	return fmt.Errorf("stdout: %s %w", field, err)
}
