package mcpserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

// The arguments of the tools. Field order is the order in the schemas; what a
// pointer points to tells an explicit zero from a field that was left out.

type startArgs struct {
	Goal          string            `json:"goal,omitempty" jsonschema_description:"What must be true at the end"`
	Body          *loops.BodySpec   `json:"body,omitempty" jsonschema_description:"Who works; left out: you, {\"kind\":\"client\"}"`
	Until         *loops.Until      `json:"until,omitempty" jsonschema_description:"When the goal is met, e.g. {\"any\":[{\"kind\":\"claim\"}]}"`
	Limits        loops.Limits      `json:"limits,omitzero" jsonschema_description:"Hard caps, e.g. {\"max_passes\":5}"`
	Context       string            `json:"context,omitempty" jsonschema_description:"Background"`
	Protect       []string          `json:"protect,omitempty" jsonschema_description:"Globs never to change"`
	Delay         loops.Duration    `json:"delay,omitempty" jsonschema_description:"Between iterations (\"1s\")"`
	Retry         loops.Retry       `json:"retry,omitzero" jsonschema_description:"max_attempts, initial, max, on_crash"`
	Stall         *loops.Stall      `json:"stall,omitempty" jsonschema_description:"{\"passes\":3}; 0: off"`
	AnswerTimeout loops.Duration    `json:"answer_timeout,omitempty" jsonschema_description:"For a person (\"24h\")"`
	Result        string            `json:"result,omitempty" jsonschema:"enum=last,enum=best" jsonschema_description:"Which output counts"`
	Name          string            `json:"name,omitempty" jsonschema_description:"Begins the id"`
	LoopFile      string            `json:"loop_file,omitempty" jsonschema_description:"Its name; of the above only limits"`
	Inputs        map[string]any    `json:"inputs,omitempty" jsonschema_description:"Of the loop file"`
	Labels        map[string]string `json:"labels,omitempty" jsonschema_description:"To find it by"`
	RequestID     string            `json:"request_id,omitempty" jsonschema_description:"Same id, same loop"`
	WaitSeconds   *int              `json:"wait_seconds,omitempty" jsonschema_description:"0, at most 50"`
	DryRun        bool              `json:"dry_run,omitempty" jsonschema_description:"Store nothing"`
}

type waitArgs struct {
	LoopID      string        `json:"loop_id" jsonschema_description:"Its id"`
	Cursor      uint64        `json:"cursor,omitempty" jsonschema_description:"Events after it (0)"`
	WaitSeconds *int          `json:"wait_seconds,omitempty" jsonschema_description:"20, up to 50"`
	For         loops.WaitFor `json:"for,omitempty" jsonschema:"enum=change,enum=attention,enum=settled" jsonschema_description:"attention (default): your_turn, needs_input, paused, settled"`
}

type inspectArgs struct {
	LoopID    string `json:"loop_id" jsonschema_description:"Its id"`
	View      string `json:"view,omitempty" jsonschema:"enum=summary,enum=output,enum=iterations,enum=iteration,enum=verdicts,enum=events,enum=usage,enum=spec,enum=why,enum=transcript,enum=diff,enum=live" jsonschema_description:"What items are"`
	Iteration *int   `json:"iteration,omitempty" jsonschema_description:"Which one (the last)"`
	CompareTo any    `json:"compare_to,omitempty" jsonschema:"type=string" jsonschema_description:"diff: \"3\", or \"other-id/3\""`
	Page      string `json:"page,omitempty" jsonschema_description:"next_page"`
	Limit     *int   `json:"limit,omitempty" jsonschema_description:"20, up to 100"`
	MaxChars  *int   `json:"max_chars,omitempty" jsonschema_description:"Of all items"`
}

type forkArgs struct {
	LoopID    string     `json:"loop_id" jsonschema_description:"The original"`
	Iteration *int       `json:"iteration,omitempty" jsonschema_description:"After which (the last); 0: afresh"`
	Goal      string     `json:"goal,omitempty" jsonschema_description:"Another one"`
	Body      *bodyArgs  `json:"body,omitempty" jsonschema_description:"As in loop_start"`
	Until     *untilArgs `json:"until,omitempty" jsonschema_description:"As in loop_start"`
	Limits    limitsArgs `json:"limits,omitzero" jsonschema_description:"Those that differ"`
	Message   string     `json:"message,omitempty" jsonschema_description:"Guidance"`
	RequestID string     `json:"request_id,omitempty" jsonschema_description:"Same id, same fork"`
}

// bodyArgs and untilArgs are a body and stop conditions that a schema names and
// loop_start describes.
type (
	bodyArgs  loops.BodySpec
	untilArgs loops.Until
)

type continueArgs struct {
	LoopID      string          `json:"loop_id" jsonschema_description:"Its id"`
	Action      string          `json:"action,omitempty" jsonschema:"enum=submit,enum=answer,enum=steer,enum=resume,enum=reopen" jsonschema_description:"Left out: output submits, message answers or steers, nothing resumes"`
	AttentionID string          `json:"attention_id,omitempty" jsonschema_description:"attention.id"`
	Output      *string         `json:"output,omitempty" jsonschema_description:"submit: your result, in full"`
	Done        *bool           `json:"done,omitempty" jsonschema_description:"submit: attempt finished (true)"`
	Memory      json.RawMessage `json:"memory,omitempty" jsonschema_description:"submit: notes for your next brief"`
	Usage       *usageArgs      `json:"usage,omitempty" jsonschema_description:"submit: input_tokens, output_tokens, cost_usd, tool_calls"`
	Message     string          `json:"message,omitempty" jsonschema_description:"answer, steer, reopen: text"`
	RequestID   string          `json:"request_id,omitempty" jsonschema_description:"Safe to repeat"`
	WaitSeconds *int            `json:"wait_seconds,omitempty" jsonschema_description:"submit 20, else 0"`
}

// usageArgs is loops.Usage with units that refuse negative numbers.
type usageArgs struct {
	InputTokens  loops.Count `json:"input_tokens,omitempty" jsonschema_description:"Tokens read"`
	OutputTokens loops.Count `json:"output_tokens,omitempty" jsonschema_description:"Tokens written"`
	TotalTokens  loops.Count `json:"total_tokens,omitempty" jsonschema_description:"All tokens (the sum)"`
	CostUSD      loops.USD   `json:"cost_usd,omitempty" jsonschema_description:"Dollars"`
	ToolCalls    loops.Count `json:"tool_calls,omitempty" jsonschema_description:"Tool calls"`
}

// limitsArgs are loops.Limits that a schema names and loop_start describes.
type limitsArgs loops.Limits

type approveArgs struct {
	LoopID      string     `json:"loop_id" jsonschema_description:"Its id"`
	Decision    string     `json:"decision" jsonschema:"enum=approve,enum=deny,enum=set_limits" jsonschema_description:"What the user decided"`
	AttentionID string     `json:"attention_id,omitempty" jsonschema_description:"attention.id"`
	Message     string     `json:"message,omitempty" jsonschema_description:"deny: what is wrong"`
	Limits      limitsArgs `json:"limits,omitzero" jsonschema_description:"set_limits, e.g. {\"max_cost_usd\":5}"`
}

type pauseArgs struct {
	LoopID string `json:"loop_id" jsonschema_description:"Its id"`
	Reason string `json:"reason,omitempty" jsonschema_description:"Why"`
}

type cancelArgs struct {
	LoopID      string `json:"loop_id" jsonschema_description:"Its id"`
	Reason      string `json:"reason,omitempty" jsonschema_description:"Why"`
	Mode        string `json:"mode,omitempty" jsonschema:"enum=graceful,enum=now" jsonschema_description:"graceful by default"`
	WaitSeconds *int   `json:"wait_seconds,omitempty" jsonschema_description:"10, up to 50"`
}

type listArgs struct {
	Status []loops.Status    `json:"status,omitempty" jsonschema_description:"Only these, e.g. [\"your_turn\"]"`
	Labels map[string]string `json:"labels,omitempty" jsonschema_description:"Only with all of these"`
	Limit  *int              `json:"limit,omitempty" jsonschema_description:"20, up to 100"`
	Page   string            `json:"page,omitempty" jsonschema_description:"next_page"`
}

// problems gathers what is wrong with a tool's arguments.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, &loops.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
}

func (p problems) err() error { return errors.Join(p...) }

func (p *problems) loopID(id string) {
	switch {
	case id == "":
		p.add("loop_id", "is missing; loop_list shows the ids")
	case !loops.ValidID(loops.ID(id)):
		p.add("loop_id", "must be an id such as fix-build-7k3q, got %q; loop_list shows the ids", clip(id, 60))
	}
}

func (p *problems) oneOf(field, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		p.add(field, "must be one of %s, got %q%s", strings.Join(allowed, ", "), clip(value, 60), loops.DidYouMean(value, allowed))
	}
}

func (p *problems) needed(field, value, why string) {
	if strings.TrimSpace(value) == "" {
		p.add(field, "is missing: %s", why)
	}
}

func (p *problems) between(field string, n *int, low, high int) {
	if n != nil && (*n < low || *n > high) {
		p.add(field, "must be between %d and %d, got %d", low, high, *n)
	}
}

// notBelow leaves the upper end to the engine, which clamps it.
func (p *problems) notBelow(field string, n *int, low int) {
	if n != nil && *n < low {
		p.add(field, "must be at least %d, got %d", low, *n)
	}
}

// maxShort bounds texts that nobody writes at length: page tokens, reasons,
// attention ids.
const maxShort = 1000

func (p *problems) short(field, text string) {
	if len(text) > maxShort {
		p.add(field, "must be at most %d bytes, got %d bytes", maxShort, len(text))
	}
}
