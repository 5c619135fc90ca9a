package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"example.com/loop-mcp/loops"
)

// ReportedError is a failure that the program itself reported in its output.
type ReportedError struct{ Text string }

// Error returns the program's words.
func (e *ReportedError) Error() string { return e.Text }

// Read makes a result of what a process printed, by the reporting format of
// [loops.BodySpec] Usage. memory is what the last iteration kept.
//
//   - none, json: a JSON object with no other keys than output, memory, done,
//     score and usage (and at least one of them) is taken apart; without the key
//     output its own text is the output. Anything else is the output as it is.
//   - claude-json: what claude -p prints with --output-format json or
//     stream-json. The result's text is the output.
//   - codex-json: what codex exec --json prints. The last agent message is the
//     output.
//   - gemini-json: what gemini -p prints with --output-format json or
//     stream-json. What the model said after its last tool call is the output.
//   - opencode-json: what opencode run --format json prints. The text of the last
//     step is the output.
//
// The memory of the last four holds the id of the agent's session, and what
// sessions had used: Claude Code and Codex report the total of a session, and
// what it had before is subtracted.
//
// Done is true unless the object says false. An error names the field, or is a
// [*ReportedError]; the Result beside it holds the usage that was readable.
func Read(usage, stdout string, memory json.RawMessage) (loops.Result, error) {
	r := read(usage, stdout)
	r.account(memory, "")
	return r.Result, r.err
}

var resultKeys = []string{"output", "memory", "done", "score", "usage"}

// resultObject returns the fields of a JSON object that has only result keys.
func resultObject(stdout string) (map[string]json.RawMessage, bool) {
	text := strings.TrimSpace(stdout)
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
		return nil, false
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &fields) != nil || len(fields) == 0 {
		return nil, false
	}
	for key := range fields {
		if !slices.Contains(resultKeys, key) {
			return nil, false
		}
	}
	return fields, true
}

func readObject(stdout string, fields map[string]json.RawMessage) (loops.Result, error) {
	result := loops.Result{Done: true}
	// Usage first: it counts, whatever else is wrong.
	var err error
	if raw, ok := given(fields, "usage"); ok {
		if result.Usage, err = readUsage(raw); err != nil {
			return loops.Result{Usage: result.Usage}, err
		}
	}
	failed := func(field, want string) (loops.Result, error) {
		return loops.Result{Usage: result.Usage}, fmt.Errorf("stdout: %s must be %s, got %s", field, want, clip(string(fields[field]), 60))
	}
	switch raw, ok := fields["output"]; {
	case !ok:
		result.Output = stdout
	case json.Unmarshal(raw, &result.Output) == nil:
	default:
		result.Output = compact(raw)
	}
	if raw, ok := given(fields, "done"); ok && json.Unmarshal(raw, &result.Done) != nil {
		return failed("done", "true or false")
	}
	if raw, ok := given(fields, "score"); ok {
		var score float64
		if json.Unmarshal(raw, &score) != nil {
			return failed("score", "a number")
		}
		result.Score = &score
	}
	if raw, ok := given(fields, "memory"); ok {
		result.Memory = raw
	}
	return result, nil
}

// given returns a field that is there and not null.
func given(fields map[string]json.RawMessage, key string) (json.RawMessage, bool) {
	raw, ok := fields[key]
	return raw, ok && string(raw) != "null"
}

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// What one run can spend at most. More is a mistake in the report, and would
// make sums overflow.
const (
	maxTokens = 1e12
	maxCalls  = 1e9
	maxCost   = 1_000_000 * loops.Dollar
)

// readUsage reads a usage object strictly: a misspelt field would go uncounted.
func readUsage(raw json.RawMessage) (loops.Usage, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return loops.Usage{}, fmt.Errorf("stdout: usage must be an object, got %s", clip(string(raw), 60))
	}
	var u loops.Usage
	total := false
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		raw, ok := given(fields, key)
		if !ok {
			continue
		}
		var err error
		switch key {
		case "input_tokens":
			u.InputTokens, err = whole(raw, maxTokens)
		case "output_tokens":
			u.OutputTokens, err = whole(raw, maxTokens)
		case "total_tokens":
			u.TotalTokens, err = whole(raw, maxTokens)
			total = true
		case "tool_calls":
			u.ToolCalls, err = whole(raw, maxCalls)
		case "cost_usd":
			u.CostUSD, err = money(raw)
		default:
			err = fmt.Errorf("is not known; usage has input_tokens, output_tokens, total_tokens, cost_usd and tool_calls")
		}
		if err != nil {
			return loops.Usage{}, fmt.Errorf("stdout: usage.%s %w", clip(key, 40), err)
		}
	}
	if sum := u.InputTokens + u.OutputTokens; !total || u.TotalTokens < sum {
		u.TotalTokens = sum
	}
	return u, nil
}

// whole reads a count. 1e3 and 12.0 are whole numbers too.
func whole(raw json.RawMessage, limit float64) (int64, error) {
	text := string(bytes.TrimSpace(raw))
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !isRange(err) || err == nil && f != math.Trunc(f):
		return 0, fmt.Errorf("must be a whole number, got %s", clip(text, 60))
	case f < 0:
		return 0, fmt.Errorf("must not be negative, got %s", clip(text, 60))
	case err != nil || f > limit:
		return 0, fmt.Errorf("is too large, got %s", clip(text, 60))
	}
	return int64(f), nil
}

func isRange(err error) bool {
	number, ok := err.(*strconv.NumError)
	return ok && number.Err == strconv.ErrRange
}

func money(raw json.RawMessage) (loops.USD, error) {
	var cost loops.USD
	if err := cost.UnmarshalJSON(raw); err != nil {
		return 0, err
	}
	if cost > maxCost {
		return 0, fmt.Errorf("is too large, got %s", clip(string(raw), 60))
	}
	return cost, nil
}

func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:utf8Border(text, limit)] + "…"
}
