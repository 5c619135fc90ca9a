package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// claudeEvent is the part of Claude Code's messages that matters here.
type claudeEvent struct {
	Type    string `json:"type"`
	Subtype string `json:"subtype"`
	Session string `json:"session_id"`
	Message struct {
		ID      string      `json:"id"`
		Usage   claudeUsage `json:"usage"`
		Content content     `json:"content"`
	} `json:"message"`
	Limit claudeLimit `json:"rate_limit_info"`

	IsError    bool            `json:"is_error"`
	Status     int             `json:"api_error_status"`
	Ended      string          `json:"terminal_reason"`
	Result     string          `json:"result"`
	Structured json.RawMessage `json:"structured_output"`
	Errors     json.RawMessage `json:"errors"`
	Cost       json.RawMessage `json:"total_cost_usd"`
	Usage      claudeUsage     `json:"usage"`
	ModelUsage claudeModels    `json:"modelUsage"`
	Since      claudeModels    `json:"model_usage_since_last_result"` // of the run; newer versions, stream-json alone
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

// claudeLimit is what a subscription's limits say.
type claudeLimit struct {
	Status string  `json:"status"`
	Resets float64 `json:"resetsAt"` // seconds since 1970
}

// reset returns when the limit that stands in the way ends.
func (l claudeLimit) reset() time.Time {
	if l.Status != "rejected" || l.Resets <= 0 || l.Resets > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(l.Resets), 0)
}

// readClaude reads the last result message. A run that was cut off has none;
// then the usage of the messages so far is what is known.
func readClaude(stdout string) report {
	var r report
	var last *claudeEvent
	var since claudeSum
	tools := make(map[string]bool)
	messages := make(map[string]claudeUsage) // by id: a message comes once for each of its blocks
	eventsOf(stdout, func(e claudeEvent) {
		switch e.Type {
		case "system":
			r.session = orElse(e.Session, r.session)
		case "result":
			last, r.session = &e, orElse(e.Session, r.session)
			since.models("model_usage_since_last_result", e.Since)
		case "rate_limit_event":
			r.until = e.Limit.reset()
		case "assistant":
			messages[e.Message.ID] = e.Message.Usage
			for _, block := range e.Message.Content {
				if block.Type == "tool_use" {
					tools[block.ID] = true
				}
			}
		}
	})
	var said claudeSum
	for _, usage := range messages {
		said.tokens("message.usage", usage)
	}
	err := r.claudeUsage(last, since, said)
	r.Usage.ToolCalls = int64(len(tools))
	if err == nil && last != nil && (last.IsError || last.Subtype != "" && last.Subtype != "success") {
		last.fail(&r)
		return r
	}
	if last != nil {
		r.Output = last.text()
	}
	r.ended(err, last != nil, "stdout has no result message of Claude Code: run it with -p --output-format json")
	return r
}

func (e *claudeEvent) text() string {
	if e.Result == "" && len(e.Structured) > 0 && string(e.Structured) != "null" {
		return compact(e.Structured)
	}
	return e.Result
}

// unknownSession begins what Claude Code says of a session that is not there.
const unknownSession = "No conversation found"

func (e *claudeEvent) fail(r *report) {
	switch {
	case e.Status != 0:
		r.fault = faultOf(e.Status)
	case e.Ended == "api_error": // no answer at all
		r.fault = faultPassing
	}
	if strings.Contains(compact(e.Errors), `"`+unknownSession) {
		r.session = ""
	}
	r.reported(e.failure())
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

type claudeUsage struct {
	Input      count `json:"input_tokens"`
	CacheWrite count `json:"cache_creation_input_tokens"`
	CacheRead  count `json:"cache_read_input_tokens"`
	Output     count `json:"output_tokens"`
}

type claudeModels map[string]struct {
	Input      count           `json:"inputTokens"`
	CacheWrite count           `json:"cacheCreationInputTokens"`
	CacheRead  count           `json:"cacheReadInputTokens"`
	Output     count           `json:"outputTokens"`
	Cost       json.RawMessage `json:"costUSD"`
}

// claudeSum adds up. Cached tokens were read and billed, so they count as input.
type claudeSum struct {
	loops.Usage
	told bool // there was something to add, be it nothing
	counts
}

func (s *claudeSum) tokens(field string, u claudeUsage) {
	s.InputTokens += s.add(field+".input_tokens", u.Input, u.CacheWrite, u.CacheRead)
	s.OutputTokens += s.add(field+".output_tokens", u.Output)
}

func (s *claudeSum) models(field string, models claudeModels) {
	s.told = s.told || models != nil
	for _, name := range slices.Sorted(maps.Keys(models)) {
		m := models[name]
		s.InputTokens += s.add(field+".inputTokens", m.Input, m.CacheWrite, m.CacheRead)
		s.OutputTokens += s.add(field+".outputTokens", m.Output)
		cost, err := optionalMoney(field+".costUSD", m.Cost)
		if err != nil && s.err == nil {
			s.err = err
		}
		s.CostUSD += cost
	}
}

// claudeUsage fills in what the run used. What is told since the last result is
// exact. Else modelUsage holds the subagents too; from 2.1.277 on, that and the
// money are the session's. The top-level usage is the run's main model's, and
// zero when a budget ended the run.
func (r *report) claudeUsage(last *claudeEvent, since, said claudeSum) error {
	if last == nil {
		r.Usage = said.Usage
		return r.checked(said.err)
	}
	var whole, main claudeSum
	whole.models("modelUsage", last.ModelUsage)
	main.tokens("usage", last.Usage)
	total, err := optionalMoney("total_cost_usd", last.Cost)
	err = errors.Join(err, whole.err, main.err, since.err)
	switch {
	case since.told:
		r.Usage = since.Usage
	case whole.InputTokens+whole.OutputTokens > 0:
		r.Usage, r.total = whole.Usage, true
		r.least.InputTokens = max(main.InputTokens, said.InputTokens)
		r.least.OutputTokens = max(main.OutputTokens, said.OutputTokens)
	default:
		r.Usage = main.Usage
	}
	if !since.told {
		r.Usage.CostUSD = max(total, whole.CostUSD)
	}
	return r.checked(err)
}

// checked sums the tokens up, and takes back what a wrong report said.
func (r *report) checked(err error) error {
	if err != nil {
		r.Usage, r.total = loops.Usage{}, false
	}
	r.Usage.TotalTokens = r.Usage.InputTokens + r.Usage.OutputTokens
	return err
}
