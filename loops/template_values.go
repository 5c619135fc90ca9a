package loops

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// maxTemplateValue bounds what a body or a condition wrote where a template
// puts it into a text; head and tail stay.
const maxTemplateValue = 64 << 10

// templateValue is what a known name stands for in the start that comes next.
func templateValue(name string, s State) string {
	group, key, _ := strings.Cut(name, ".")
	switch group {
	case "inputs":
		return s.Origin.Inputs[key]
	case "limits":
		return jsonText(fieldByKey(s.Limits, key))
	case "usage":
		return jsonText(fieldByKey(s.Ledger, key))
	case "left":
		return leftOf(s, strings.TrimPrefix(key, "max_"))
	case "loop_id":
		return string(s.ID)
	case "iteration":
		return strconv.Itoa(s.Iteration + 1)
	case "pass":
		return strconv.Itoa(s.Pass)
	case "goal":
		return s.Goal()
	case "context":
		return s.expandedContext()
	case "feedback":
		return clipEnds(s.Feedback, maxTemplateValue)
	case "steer":
		return s.joinedSteers()
	case "output":
		return clipEnds(s.Output.Text, maxTemplateValue)
	}
	return ""
}

// Goal is the goal of the spec with its templates expanded.
func (s *State) Goal() string { return s.specText(s.Origin.Spec.Goal) }

// expandedContext is the context with its templates expanded.
func (s *State) expandedContext() string { return s.specText(s.Origin.Spec.Context) }

// specText expands a text of the spec. Only inputs can make it too long, and
// then it is better shown as it was written than not at all.
func (s *State) specText(text string) string {
	if isPlain(text, MaxGoalSize) {
		return text
	}
	if out, err := expandIn(text, *s, scopeSettings, MaxPromptSize); err == nil {
		text = out
	}
	return clipEnds(text, MaxGoalSize)
}

// joinedSteers is all guidance that no committed iteration has seen.
func (s *State) joinedSteers() string {
	texts := make([]string, len(s.Steers))
	for i, one := range s.Steers {
		texts[i] = one.Text
	}
	return strings.Join(texts, "\n\n")
}

// leftOf is what remains of a limit, never below nothing: a number, or for a
// limit in time a text.
func leftOf(s State, key string) string {
	l, used := s.Limits, s.Ledger
	active := Duration(used.ActiveSeconds * float64(time.Second))
	switch key {
	case "iterations":
		return leftText(l.MaxIterations, Count(used.Starts))
	case "passes":
		return leftText(l.MaxPasses, Count(used.Passes))
	case "total_tokens":
		return leftText(l.MaxTotalTokens, Count(used.TotalTokens))
	case "tool_calls":
		return leftText(l.MaxToolCalls, Count(used.ToolCalls))
	case "failures":
		return leftText(l.MaxFailures, Count(used.Failures))
	case "cost_usd":
		return leftText(l.MaxCostUSD, used.CostUSD)
	case "duration":
		return leftText(l.MaxDuration, s.Elapsed)
	case "active":
		return leftText(l.MaxActive, active)
	}
	return ""
}

func leftText[T ~int64](limit, used T) string { return jsonText(max(0, limit-used)) }

// jsonText is the JSON form of a number or duration, without quotes.
func jsonText(value any) string {
	if f, ok := value.(float64); ok {
		return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64)
	}
	b, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return strings.Trim(string(b), `"`)
}

// fieldByKey returns the field of a struct that has the JSON key.
func fieldByKey(v any, key string) any { return fieldsByKey(v)(key) }

// fieldsByKey is fieldByKey for several fields of v.
func fieldsByKey(v any) func(key string) any {
	all, value := structFields(reflect.TypeOf(v)).byName, reflect.ValueOf(v)
	return func(key string) any {
		f, ok := all[key]
		if !ok {
			return nil
		}
		return fieldAt(value, f.index).Interface()
	}
}

// structFieldNames lists the JSON keys of a struct.
func structFieldNames[T any]() []string { return structFields(reflect.TypeFor[T]()).names }

// clipEnds shortens a text to limit bytes and keeps its head and tail.
func clipEnds(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	note := "\n… " + strconv.Itoa(len(text)-limit) + " bytes or more left out …\n"
	if limit < len(note) {
		return strings.TrimSuffix(clip(text, limit), "…")
	}
	keep := limit - len(note)
	head := strings.TrimSuffix(clip(text, keep/2), "…")
	tail := len(text) - (keep - keep/2)
	for tail < len(text) && text[tail]&0xC0 == 0x80 {
		tail++
	}
	return head + note + text[tail:]
}
