package anthropic

import (
	"strings"
	"testing"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

// TestUsageThatCannotBe: whatever stands where a count belongs, it counts as not
// reported or ends the call; it is never a count below what was reported.
func TestUsageThatCannotBe(t *testing.T) {
	for name, test := range map[string]struct {
		input string
		want  model.Usage
	}{
		"beyond numbers":  {`1e308`, model.Usage{Output: 2}},
		"beyond all":      {`1e999`, model.Usage{Output: 2}},
		"NaN in words":    {`"NaN"`, model.Usage{Output: 2}},
		"negative":        {`-5`, model.Usage{Output: 2}},
		"nothing":         {`null`, model.Usage{Output: 2}},
		"a list":          {`[5]`, model.Usage{Output: 2}},
		"a deep object":   {strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), model.Usage{Output: 2}},
		"a count in text": {`"5"`, model.Usage{Input: 5, Output: 2}},
	} {
		p := modeltest.New(t, modeltest.Stream(events(strings.Replace(start, `"input_tokens":5`, `"input_tokens":`+test.input, 1), text, piece, end, stopped)))
		a, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), nil)
		t.Logf("%s: %+v, %v", name, a.Usage, err)
		if modeltest.Check(t, a, err); err == nil && a.Usage != test.want {
			t.Errorf("%s: %+v, want %+v", name, a.Usage, test.want)
		}
	}
}
