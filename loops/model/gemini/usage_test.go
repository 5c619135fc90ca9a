package gemini

import (
	"testing"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

// TestUsageThatCannotBe: whatever stands where a count belongs, it counts as not
// reported or ends the call, which is then charged at what was set aside for it.
func TestUsageThatCannotBe(t *testing.T) {
	for _, count := range []string{"1e308", "1e999", "99999999999999999999", `"NaN"`, "-5", "null", "[5]"} {
		stream := event(`{"candidates":[{"content":{"parts":[{"text":"ok"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":` + count + `,"candidatesTokenCount":5}}`)
		a, err := open(t, modeltest.New(t, modeltest.Stream(stream))).Generate(t.Context(), modeltest.Ask("hi"), nil)
		t.Logf("%s: %+v, %v", count, a.Usage, err)
		if modeltest.Check(t, a, err); err == nil && a.Usage != (model.Usage{Output: 5}) {
			t.Errorf("%s: %+v", count, a.Usage)
		}
	}
}
